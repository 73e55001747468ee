"""The arguments of SMTP commands (RFC 5321 sections 4.1.1 and 4.1.2, RFC 6531 section 3.3).

Lenient where practice is: a space after the colon, HELO names of any shape, a domain-less
<postmaster>. Strict where guessing would hurt: no path without angle brackets, no unknown or
repeated parameter. What cannot be read is answered with the reply that each function returns.
"""

import ipaddress
import re
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta

from mailstead.model.address import Address, Domain, parse_address
from mailstead.model.envelope import NO_WISH, BodyType, Release, Wish
from mailstead.model.reply import Reply
from mailstead.protocol.smtp import replies
from mailstead.protocol.smtp.events import Helo, Mail, Rcpt, Xclient

CLIENT_NAME_LIMIT = 255  # octets (RFC 5321 section 4.5.3.1.2)
PARAMETERS_LIMIT = 20  # of one command
ENVID_LIMIT = 100  # characters (RFC 3461 section 4.4)
ORCPT_LIMIT = 500  # characters (RFC 3461 section 4.2)
BDAT_SIZE_DIGITS = 20  # RFC 1870 section 4 says so of SIZE

# "<", a source route to be ignored (RFC 5321 appendix C), mailbox, ">", parameters.
_PATH = re.compile(
    r' *<(?:@[^:"<> ]*+:)?((?:"(?:[^"\\]|\\.)*+"|[^"<> ])*+)>(?: +([^ ].*?))? *\Z', re.DOTALL
)
_KEYWORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*\Z")
_VALUE = re.compile(r"[!-<>-~\u0080-\U0010ffff]+\Z")  # esmtp-value, with RFC 6531 section 3.3
_SIZE = re.compile(r"[0-9]{1,20}\Z")
_SECONDS = re.compile(r"[1-9][0-9]{0,8}\Z")  # RFC 4865 section 3
_UTC = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?(?:Z|[+-]00:00)\Z", re.IGNORECASE)
_PORT = re.compile(r"[0-9]{1,5}\Z")
_XTEXT = re.compile(r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})*\Z")
_NOTIFY = frozenset(("SUCCESS", "FAILURE", "DELAY"))
# An address type (RFC 3464 section 2.1.2, RFC 6533 section 3), and the rest.
_ORCPT = re.compile(r"([A-Za-z0-9][A-Za-z0-9-]*);([!-*,-<>-~\u0080-\U0010ffff]|\+[0-9A-F]{2})*\Z")
_BDAT = re.compile(rf"([0-9]{{1,{BDAT_SIZE_DIGITS}}})(?: +(LAST))? *\Z", re.IGNORECASE)

BAD_SENDER = replies.syntax_error("5.1.7", "The sender is no address; the form is <name@domain>")
BAD_RECIPIENT = replies.syntax_error(
    "5.1.3", "The recipient is no address; the form is <name@domain>"
)
MAIL_SYNTAX = replies.syntax_error("5.5.4", "The syntax is: MAIL FROM:<address>")
RCPT_SYNTAX = replies.syntax_error("5.5.4", "The syntax is: RCPT TO:<address>")
BAD_PARAMETER = replies.syntax_error("5.5.4", "A parameter is malformed or given twice")
UNKNOWN_PARAMETER = Reply(555, "5.5.4", "A parameter is not known here; EHLO lists what is")


def parse_helo(argument: str, extended: bool) -> Helo | Reply:
    """The client's name; any printable text will do, as it proves nothing.

    A client that gives a bad name must not be refused for it alone (RFC 5321 section 4.1.4).
    """
    name = argument.strip(" ")
    if not name or len(name) > CLIENT_NAME_LIMIT or not name.isprintable():
        return replies.BAD_CLIENT_NAME
    return Helo(name, extended)


def parse_mail(argument: str, offered: frozenset[str]) -> Mail | Reply:
    """MAIL FROM with its parameters (RFC 5321 section 4.1.1.2).

    Those of SMTPUTF8, DSN, REQUIRETLS and FUTURERELEASE are known where they are offered.
    """
    if argument[:5].upper() != "FROM:":
        return MAIL_SYNTAX
    found = _PATH.match(argument, 5)
    if found is None:
        return BAD_SENDER
    mailbox, text = found.groups()
    parameters = _parse_parameters(text) if text else {}
    if parameters is None:
        return BAD_PARAMETER
    try:
        reverse_path = parse_address(mailbox) if mailbox else None
    except ValueError:
        return BAD_SENDER
    event: Mail | Reply = Mail(reverse_path)
    if parameters:
        event = _with_parameters(reverse_path, parameters, offered)
    if isinstance(event, Mail) and not mailbox.isascii() and not event.smtputf8:
        return replies.NON_ASCII_ADDRESS
    return event


def parse_rcpt(argument: str, smtputf8: bool, dsn_offered: bool = False) -> Rcpt | Reply:
    """RCPT TO; `smtputf8` if the transaction asked for it (RFC 5321 section 4.1.1.3)."""
    if argument[:3].upper() != "TO:":
        return RCPT_SYNTAX
    found = _PATH.match(argument, 3)
    if found is None:
        return BAD_RECIPIENT
    mailbox, text = found.groups()
    wish = _parse_wish(text, smtputf8, dsn_offered) if text else NO_WISH
    if isinstance(wish, Reply):
        return wish
    if not smtputf8 and not mailbox.isascii():
        return replies.NON_ASCII_ADDRESS
    if mailbox.lower() == "postmaster":
        return Rcpt(Address(mailbox, Domain("")), wish)
    try:
        return Rcpt(parse_address(mailbox), wish)
    except ValueError:
        return BAD_RECIPIENT


def parse_bdat(argument: str) -> tuple[int, bool] | None:
    """The size of the chunk and whether it is the last (RFC 3030 section 2); None if malformed."""
    found = _BDAT.match(argument)
    return (int(found.group(1)), bool(found.group(2))) if found else None


def decode_xtext(text: str) -> str | None:
    """The text behind xtext (RFC 3461 section 4), or None if it is malformed."""
    if not _XTEXT.match(text):
        return None
    return re.sub(r"\+(..)", lambda m: chr(int(m.group(1), 16)), text)


def encode_xtext(text: str) -> str:
    """ASCII text as xtext (RFC 3461 section 4)."""
    return re.sub(r"[^!-*,-<>-~]", lambda m: f"+{ord(m.group()):02X}", text)


def _parse_wish(text: str, smtputf8: bool, dsn_offered: bool) -> Wish | Reply:
    """NOTIFY and ORCPT (RFC 3461 sections 4.1 and 4.2)."""
    parameters = _parse_parameters(text)
    if parameters is None:
        return BAD_PARAMETER
    taken = _take_wishes(parameters, ("NOTIFY", "ORCPT")) if dsn_offered else {}
    if parameters:
        return UNKNOWN_PARAMETER
    if taken is None or not (smtputf8 or taken.get("ORCPT", "").isascii()):
        return BAD_PARAMETER
    return Wish(taken.get("NOTIFY", ""), taken.get("ORCPT", ""))


def _take_wishes(
    parameters: dict[str, str | None], names: tuple[str, ...]
) -> dict[str, str] | None:
    """These parameters, taken out of the others; None if one is malformed."""
    taken: dict[str, str] = {}
    for name in names:
        if name in parameters:
            value = parameters.pop(name) or ""
            if name != "ORCPT" and name != "ENVID":
                value = value.upper()
            if not _WELL_FORMED[name](value):
                return None
            taken[name] = value
    return taken


def _is_notify(value: str) -> bool:
    words = value.split(",")
    return value == "NEVER" or (set(words) <= _NOTIFY and len(set(words)) == len(words))


_WELL_FORMED: dict[str, Callable[[str], bool]] = {
    "NOTIFY": _is_notify,
    "ORCPT": lambda value: len(value) <= ORCPT_LIMIT and bool(_ORCPT.match(value)),
    "ENVID": lambda value: 0 < len(value) <= ENVID_LIMIT and decode_xtext(value) is not None,
    "RET": lambda value: value in ("FULL", "HDRS"),
}


def _parse_parameters(text: str) -> dict[str, str | None] | None:
    """Keyword in capitals -> value; None if one is malformed or given twice."""
    parameters: dict[str, str | None] = {}
    for word in text.split():
        keyword, equals, value = word.partition("=")
        name = keyword.upper()
        malformed = not _KEYWORD.match(keyword) or (equals and not _VALUE.match(value))
        if malformed or name in parameters or len(parameters) == PARAMETERS_LIMIT:
            return None
        parameters[name] = value if equals else None
    return parameters


def _with_parameters(
    reverse_path: Address | None, parameters: dict[str, str | None], offered: frozenset[str]
) -> Mail | Reply:
    wishes = _take_wishes(parameters, ("ENVID", "RET")) if "DSN" in offered else {}
    release = _take_release(parameters) if "FUTURERELEASE" in offered else None
    if wishes is None or isinstance(release, Reply):
        return BAD_PARAMETER
    size, body_type = None, BodyType.SEVEN_BIT
    flags: set[str] = set()
    for keyword, value in parameters.items():
        match keyword:
            case "SIZE" if value and _SIZE.match(value):
                size = int(value)
            case "BODY" if value and value.upper() in ("7BIT", "8BITMIME"):
                body_type = BodyType(value.upper())
            case "BODY" if value and value.upper() == "BINARYMIME":
                return UNKNOWN_PARAMETER  # RFC 3030 section 3: only where it is offered
            case "SMTPUTF8" | "REQUIRETLS" if value is None and keyword in offered:
                flags.add(keyword)
            case "AUTH" if value and decode_xtext(value) is not None:
                pass  # we trust nobody's word on who wrote it (RFC 4954 section 5)
            case "SIZE" | "BODY" | "AUTH":
                return BAD_PARAMETER
            case "SMTPUTF8" | "REQUIRETLS" if keyword in offered:
                return BAD_PARAMETER
            case _:
                return UNKNOWN_PARAMETER
    return Mail(
        reverse_path,
        size,
        body_type,
        smtputf8="SMTPUTF8" in flags,
        envid=wishes.get("ENVID", ""),
        ret=wishes.get("RET", ""),
        require_tls="REQUIRETLS" in flags,
        release=release,
    )


def _take_release(parameters: dict[str, str | None]) -> Release | Reply | None:
    """HOLDFOR or HOLDUNTIL, but not both (RFC 4865 section 3)."""
    for_, until = parameters.pop("HOLDFOR", ""), parameters.pop("HOLDUNTIL", "")
    if for_ == until == "":
        return None
    if for_ and not until and _SECONDS.match(for_):
        return Release(f"for;{for_}", after=timedelta(seconds=int(for_)))
    if until and not for_ and _UTC.match(until):
        with suppress(ValueError):
            at = datetime.fromisoformat(until.upper().replace("Z", "+00:00"))
            return Release(f"until;{until}", at=at)
    return BAD_PARAMETER


XCLIENT_ATTRIBUTES = ("NAME", "ADDR", "PORT", "PROTO", "HELO", "LOGIN")  # that we take


def parse_xclient(argument: str) -> Xclient | Reply:
    """Whom a trusted host speaks for; the name that it found in the DNS proves nothing to us."""
    parameters = _parse_parameters(argument)
    if not parameters or not set(parameters) <= {*XCLIENT_ATTRIBUTES, "DESTADDR", "DESTPORT"}:
        return BAD_PARAMETER
    values = {name: _attribute(value or "") for name, value in parameters.items()}
    address = values.get("ADDR", "")
    if address is None or None in values.values():
        return BAD_PARAMETER
    ip = _address(re.sub("^ipv6:", "", address, flags=re.IGNORECASE)) if address else ""
    port = values.get("PORT") or "0"
    if ip is None or not _PORT.match(port) or int(port) > 65535:
        return BAD_PARAMETER
    return Xclient(ip, int(port), values.get("HELO") or "", values.get("LOGIN") or "")


def _attribute(value: str) -> str | None:
    """The value behind xtext; what its sender does not know is empty."""
    if value.upper() in ("[UNAVAILABLE]", "[TEMPUNAVAIL]"):
        return ""
    text = decode_xtext(value)
    return text if text and len(text) <= CLIENT_NAME_LIMIT and text.isprintable() else None


def _address(text: str) -> str | None:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return None
