"""An e-mail address: local-part and domain (RFC 5321 section 4.1.2).

The local-part is kept without quotes, as its owner means it; the domain is lower case with
A-labels (RFC 5890), or an address literal in brackets. Where the quotes are needed on the wire,
str() puts them back. Grammar of paths: protocol.smtp.grammar; of header fields: message.addresses.
"""

import re
from typing import NewType

import idna
import msgspec

Domain = NewType("Domain", str)  # A-labels, lower case; or an address literal "[192.0.2.1]"

LOCAL_PART_LIMIT = 64  # octets (RFC 5321 section 4.5.3.1.1)
DOMAIN_LIMIT = 255  # octets (RFC 5321 section 4.5.3.1.2)

_ATEXT = r"A-Za-z0-9!#$%&'*+/=?^_`{|}~\-\u0080-\U0010ffff"
_DOT_STRING = re.compile(rf"[{_ATEXT}]+(?:\.[{_ATEXT}]+)*\Z")
_QUOTED_STRING = re.compile(r'"(?:[^"\\\x00-\x1f\x7f]|\\[\x20-\x7e])*"\Z')
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\Z")
_LITERAL = re.compile(r"\[[A-Za-z0-9:.\-]{1,80}\]\Z")


class Address(msgspec.Struct, frozen=True, order=True):
    """One mailbox address. Equal addresses are one address: the domain is normalised."""

    local_part: str
    domain: Domain

    def __str__(self) -> str:
        local_part = quote_local_part(self.local_part)
        return f"{local_part}@{self.domain}" if self.domain else local_part  # bare <postmaster>

    @property
    def is_ascii(self) -> bool:
        """False if the address needs SMTPUTF8 to travel (RFC 6531)."""
        return self.local_part.isascii()


def quote_local_part(local_part: str) -> str:
    """The local-part as it stands on the wire, quoted only if it must be."""
    if _DOT_STRING.match(local_part):
        return local_part
    return '"' + re.sub(r'(["\\])', r"\\\1", local_part) + '"'


def parse_address(text: str) -> Address:
    """The address in `local-part@domain`.

    Raises ValueError, with a sentence for people, if it is none (RFC 5321 section 4.1.2).
    """
    local_part, at, domain = text.rpartition("@")
    if not at:
        raise ValueError(f"{text!r} has no @ and so is no address")
    return Address(parse_local_part(local_part), parse_domain(domain))


def parse_local_part(text: str) -> str:
    """The local-part without its quotes; ValueError if it is none."""
    if len(text.encode("utf-8", "surrogatepass")) > LOCAL_PART_LIMIT:
        raise ValueError(f"the local-part is longer than {LOCAL_PART_LIMIT} octets")
    if _DOT_STRING.match(text):
        return text
    if _QUOTED_STRING.match(text):
        return re.sub(r"\\(.)", r"\1", text[1:-1])
    raise ValueError(f"{text!r} is no local-part")


def parse_domain(text: str) -> Domain:
    """The domain in A-labels and lower case, or the address literal; ValueError if it is none."""
    if text.startswith("["):
        if not _LITERAL.match(text):
            raise ValueError(f"{text!r} is no address literal")
        return Domain(text)
    name = text.lower()
    if not name.isascii():
        name = _to_a_labels(name)
    if len(name) > DOMAIN_LIMIT or not all(map(_LABEL.match, name.split("."))):
        raise ValueError(f"{text!r} is no domain name")
    return Domain(name)


def _to_a_labels(name: str) -> str:
    try:
        return idna.encode(name, uts46=True).decode("ascii")
    except idna.IDNAError as error:
        raise ValueError(f"{name!r} is no domain name: {error}") from None
