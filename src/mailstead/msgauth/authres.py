"""Authentication-Results: what was checked of a message, and what came of it (RFC 8601).

Writes the field, reads those of others, and takes out the ones that claim to be ours. The same
for ARC-Authentication-Results, which has a number in front (RFC 8617 section 4.1.1).
Holds: reading never raises, is linear, and gives what writing was given.
"""

import re

import msgspec

from mailstead.message import header as fields
from mailstead.message.header import Field, strip_comments, unfold
from mailstead.model.address import DOMAIN_LIMIT, parse_domain

NAME = "Authentication-Results"
ARC_NAME = "ARC-Authentication-Results"

FIELD_LIMIT = 64 * 1024  # octets of a field that are looked at
RESULTS_LIMIT = 100  # results of one field; what follows is passed over
PROPERTIES_LIMIT = 50  # properties of one result
VALUE_LIMIT = 400  # octets of a value that we write
INSTANCE_LIMIT = 50  # RFC 8617 section 3.9
LINE_LENGTH = 78  # RFC 5322 section 2.1.1


class Property(msgspec.Struct, frozen=True):
    """What a method looked at: `smtp.mailfrom=example.net` (RFC 8601 section 2.3)."""

    type: str
    name: str
    value: str


class Result(msgspec.Struct, frozen=True):
    """What one method came to; words in lower case."""

    method: str
    result: str
    properties: tuple[Property, ...] = ()
    reason: str = ""


class AuthenticationResults(msgspec.Struct, frozen=True):
    """One field; without results it says "none": nothing was checked."""

    authserv_id: str
    results: tuple[Result, ...] = ()


class ArcResults(msgspec.Struct, frozen=True):
    """The value of an ARC-Authentication-Results field."""

    instance: int
    results: AuthenticationResults


# ---------------------------------------------------------------------- writing


def format(results: AuthenticationResults) -> bytes:
    """The whole field with its line ends; ValueError if a method or result is no keyword.

    Values may be a stranger's words: they are quoted where they must be, and lose what is not
    printable and what goes beyond VALUE_LIMIT.
    """
    return _fold(f"{NAME}:", _payload(results))


def format_arc(arc: ArcResults) -> bytes:
    """The whole ARC-Authentication-Results field with its line ends."""
    first, *rest = _payload(arc.results)
    return _fold(f"{ARC_NAME}:", [f"i={arc.instance};{_GAP}{first}", *rest])


def _payload(results: AuthenticationResults) -> list[str]:
    """The authserv-id and each result, in the words between which a line may end."""
    statements = [_statement(result) for result in results.results] or ["none"]
    return [_value(results.authserv_id), *statements]


def _statement(result: Result) -> str:
    words = [f"{_keyword(result.method)}={_keyword(result.result)}"]
    if result.reason:
        words.append(f"reason={_value(result.reason)}")
    words += [
        f"{_keyword(one.type)}.{_keyword(one.name)}={_pvalue(one.value)}"
        for one in result.properties
    ]
    return _GAP.join(words)


_GAP = "\n"  # where a line may end; no value has one
_KEYWORD = re.compile(r"[a-z0-9](?:[a-z0-9_-]{0,62}[a-z0-9])?")
_TOKEN = r"[!#$%&'*+.0-9A-Z^_`a-z{|}~-]+"  # RFC 2045 section 5.1
_BARE = re.compile(_TOKEN)
_ADDRESS = re.compile(rf'(?:{_TOKEN}|"[ !#-\[\]-~]*")?@[A-Za-z0-9_.-]+')
_CONTROL = re.compile(r"[\x00-\x1f\x7f]+")


def _keyword(text: str) -> str:
    if not _KEYWORD.fullmatch(text):
        raise ValueError(f"{text!r} is no keyword")
    return text


def _value(text: str) -> str:
    """The text as a value: bare if it is a token, else quoted."""
    octets = _CONTROL.sub(" ", text).encode("utf-8", "replace")[:VALUE_LIMIT]
    text = octets.decode("utf-8", "ignore")
    if _BARE.fullmatch(text):
        return text
    return '"' + re.sub(r'(["\\])', r"\\\1", text) + '"'


def _pvalue(text: str) -> str:
    """The same, but an address stays bare too (RFC 8601 section 2.2)."""
    return text if len(text) <= VALUE_LIMIT and _ADDRESS.fullmatch(text) else _value(text)


def _fold(start: str, statements: list[str]) -> bytes:
    """Each statement on its own line but the first, and on more lines if it is long."""
    lines = [start]
    for number, statement in enumerate(statements):
        words = statement.split(_GAP)
        if number + 1 < len(statements):
            words[-1] += ";"
        if number:
            lines.append("")
        for word in words:
            if len(lines[-1]) + len(word) + 1 > LINE_LENGTH and lines[-1] not in ("", start):
                lines.append("")
            lines[-1] += f" {word}"
    return "\r\n".join(lines).encode("utf-8") + b"\r\n"


# ---------------------------------------------------------------------- reading

# After comments have become spaces. An authserv-id need not be the token that it should be: what
# claims to be ours has to be found.
_ID = re.compile(r'\s*+(?:"((?:[^"\\]|\\.)*+)"?|([^\s;"]++))', re.S)
_VERSION = re.compile(r"\s++([0-9]{1,9})(?![^\s;])")
_METHOD = re.compile(
    r"\s*+;\s*+([A-Za-z0-9_-]++)\s*+(?:/\s*+([0-9]{1,9})\s*+)?=\s*+([A-Za-z0-9_-]++)"
)
_VALUE = r'("(?:[^"\\]|\\.)*+"(?:@[^\s;"]++)?|[^\s;"]++)'
_REASON = re.compile(rf"\s*+reason\s*+=\s*+{_VALUE}", re.I | re.S)
_PROPERTY = re.compile(rf"\s*+([A-Za-z0-9_-]++)\s*+\.\s*+([A-Za-z0-9_-]++)\s*+=\s*+{_VALUE}", re.S)
_REST = re.compile(r'(?:[^;"]++|"(?:[^"\\]|\\.)*+"?)*+', re.S)
_INSTANCE = re.compile(r"\s*+i\s*+=\s*+([0-9]{1,2})\s*+;")
_ESCAPED = re.compile(r"\\(.)", re.S)


def parse(value: bytes) -> AuthenticationResults | None:
    """What the field's value says; None if it names no authserv-id, or is of another version.

    A result that breaks the syntax is passed over, and so is one of a method's other version
    (RFC 8601 section 2.6).
    """
    return _parse(_text(value))


def parse_arc(value: bytes) -> ArcResults | None:
    """What the value of an ARC-Authentication-Results field says, or None."""
    text = _text(value)
    found = _INSTANCE.match(text)
    if found is None or not 1 <= int(found[1]) <= INSTANCE_LIMIT:
        return None
    results = _parse(text[found.end() :])
    return ArcResults(int(found[1]), results) if results else None


def _text(value: bytes) -> str:
    return strip_comments(unfold(value[:FIELD_LIMIT])).decode("utf-8", "replace")


def _parse(text: str) -> AuthenticationResults | None:
    found = _ID.match(text)
    if found is None or "=" in (found[2] or ""):  # as some do who name no service at all
        return None
    at = found.end()
    if version := _VERSION.match(text, at):
        at = version.end()
        if int(version[1]) != 1:
            return None
    return AuthenticationResults(_id(found), _results(text, at))


def _id(found: "re.Match[str]") -> str:
    quoted: str | None = found[1]
    bare: str = found[2]
    return bare if quoted is None else _ESCAPED.sub(r"\1", quoted)


def _results(text: str, at: int) -> tuple[Result, ...]:
    results: list[Result] = []
    while at < len(text) and len(results) < RESULTS_LIMIT:
        method = _METHOD.match(text, at)
        if method is None:
            at = _end_of_statement(text, at)
            continue
        result, at = _result(text, method)
        if int(method[2] or 1) == 1:
            results.append(result)
    return tuple(results)


def _end_of_statement(text: str, at: int) -> int:
    """Where the next semicolon stands that no quotes hide, past the one here."""
    start = at + 1 if text.startswith(";", at) else at
    found = _REST.match(text, start)
    return max(found.end() if found else start, at + 1)


def _result(text: str, method: "re.Match[str]") -> tuple[Result, int]:
    """The result that begins here, and where it ends."""
    at, reason = method.end(), ""
    if found := _REASON.match(text, at):
        at, reason = found.end(), _unquote(found[1])
    properties: list[Property] = []
    while found := _PROPERTY.match(text, at):
        at = found.end()
        if len(properties) < PROPERTIES_LIMIT:
            properties.append(Property(found[1].lower(), found[2].lower(), _unquote(found[3])))
    end = _REST.match(text, at)
    result = Result(method[1].lower(), method[3].lower(), tuple(properties), reason)
    return result, end.end() if end else at


def _unquote(value: str) -> str:
    if value.startswith('"') and value.endswith('"') and len(value) > 1:
        return _ESCAPED.sub(r"\1", value[1:-1])
    return value  # with a domain behind it, the quotes are a local-part's


# ---------------------------------------------------------------------- what claims to be ours


def remove_own(header: bytes, authserv_id: str) -> bytes:
    """The header without the fields that bear our authserv-id (RFC 8601 section 5), and only them.

    Whatever version they claim to be of, and whether the rest of them can be read.
    """
    ours = _normal(authserv_id)

    def is_own(field: Field) -> bool:
        return field.name.lower() == NAME.lower() and _claimed_id(field.value) == ours

    return fields.remove_where(header, is_own)


def _claimed_id(value: bytes) -> str | None:
    found = _ID.match(_text(value))
    return _normal(_id(found)) if found else None


def _normal(authserv_id: str) -> str:
    """One form of ids that mean the same: case, A-labels and U-labels, a final dot."""
    text = authserv_id.strip().removesuffix(".")
    try:
        return parse_domain(text) if len(text) <= DOMAIN_LIMIT else text.lower()
    except ValueError:
        return text.lower()
