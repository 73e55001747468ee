"""Address lists of header fields (RFC 5322 sections 3.4 and 4.4), as the sender wrote them.

Names, local-parts and domains are raw octets without quotes and comments; encoded words stay
encoded, since an ENVELOPE wants them so (RFC 9051 section 7.5.2).
Holds: never raises, linear, at most ADDRESS_LIMIT addresses of one field. Garbage gives
addresses with an empty domain.
"""

import functools
import re
from typing import NamedTuple

import msgspec

from mailstead.message.header import comment_end, decode, get_all
from mailstead.model.address import Address, parse_domain, parse_local_part, quote_local_part

VALUE_LIMIT = 256 * 1024  # octets of one address list that are looked at
ADDRESS_LIMIT = 1000  # addresses of one field; what follows is passed over
REMEMBERED_LIMIT = 500  # octets of a From field whose addresses are remembered


class HeaderAddress(msgspec.Struct, frozen=True):
    """One mailbox of a header field; `route` is the obsolete source route, or None."""

    name: bytes | None
    route: bytes | None
    local_part: bytes
    domain: bytes

    @property
    def display_name(self) -> str:
        """The name as people read it, empty if there is none."""
        return decode(self.name) if self.name else ""

    @property
    def addr_spec(self) -> str:
        """`local-part@domain` as people read it."""
        return f"{decode(self.local_part)}@{decode(self.domain)}"


class Group(msgspec.Struct, frozen=True):
    """A named group of mailboxes (RFC 5322 section 3.4)."""

    name: bytes
    members: tuple[HeaderAddress, ...]


def author_addresses(header: bytes) -> list[Address]:
    """The addresses of From that are addresses, in order (RFC 5322 section 3.6.2)."""
    found: list[Address] = []
    for value in get_all(header, "From"):
        found += _remembered(value) if len(value) <= REMEMBERED_LIMIT else _addresses(value)
    return found


def _addresses(value: bytes) -> tuple[Address, ...]:
    return tuple(address for address in map(to_address, mailboxes(value)) if address)


@functools.lru_cache(maxsize=1024)
def _remembered(value: bytes) -> tuple[Address, ...]:
    """Who sends much writes the same From again and again, and each message asks three times."""
    return _addresses(value)


def mailboxes(value: bytes) -> list[HeaderAddress]:
    """All mailboxes of an address list, those within groups too."""
    flat: list[HeaderAddress] = []
    for item in parse_addresses(value):
        match item:
            case Group(members=members):
                flat += members
            case HeaderAddress():
                flat.append(item)
    return flat


def to_address(mailbox: HeaderAddress) -> Address | None:
    """The address that mail can be sent to, or None if it is malformed."""
    try:
        local_part = quote_local_part(mailbox.local_part.decode("utf-8"))
        domain = mailbox.domain.decode("utf-8")
        return Address(parse_local_part(local_part), parse_domain(domain))
    except ValueError:
        return None


# The nine in ten: `name <local@domain>`, `"name" <local@domain>`, `local@domain`, nothing else.
_ATOM = rb'[^\x00-\x20\x7f"()<>@,;:\\\[\]]+'
_SIMPLE = re.compile(
    rb'[ \t]*+(?:(?:"([^"\\\r\n\0]*+)"[ \t]*+|([^\x00-\x08\x0a-\x1f\x7f"()<>@,;:\\\[\]]*+))'
    rb"<(%b)@(%b)>|(%b)@(%b))[ \t]*+(?:,|\Z)" % (_ATOM, _ATOM, _ATOM, _ATOM)
)


def parse_addresses(value: bytes) -> tuple[HeaderAddress | Group, ...]:
    """The address list of an unfolded field value, best effort."""
    found: list[HeaderAddress | Group] = []
    value = value[:VALUE_LIMIT]
    at, end = 0, len(value)
    while at < end and len(found) < ADDRESS_LIMIT:
        simple = _SIMPLE.match(value, at)
        if simple is None:
            rest = _Parser().parse(_tokens(value, at))
            return (*found, *rest[: ADDRESS_LIMIT - len(found)])
        at = simple.end()
        quoted, phrase, local, domain, bare_local, bare_domain = simple.groups()
        if bare_local is not None:
            found.append(HeaderAddress(None, None, bare_local, bare_domain))
        else:
            name = quoted if quoted is not None else b" ".join(phrase.split())
            found.append(HeaderAddress(name or None, None, local, domain))
    return tuple(found)


class _Token(NamedTuple):
    kind: str  # "space", "comment", "quoted", "word", or the special character itself
    text: bytes


_TOKEN = re.compile(
    rb"(?P<space>[ \t\r\n]+)"
    rb'|"(?P<quoted>(?:[^"\\]|\\.)*+)(?:"|\\?\Z)'
    rb"|(?P<word>=\?[^?\s]{1,80}\?[bBqQ]\?[^?\s]*\?=|[^ \t\r\n\"()<>@,;:.\[\]\\]+"
    rb"|\[[^\[\]\\\r\n]*+\]|\\.|[\[\]\\)])"
    rb"|(?P<special>[<>@,;:.(])",
    re.S,
)
_ESCAPED = re.compile(rb"\\(.)", re.S)


def _tokens(value: bytes, at: int) -> list[_Token]:
    tokens: list[_Token] = []
    end = len(value)
    while at < end and (match := _TOKEN.match(value, at)):
        at = match.end()
        kind = match.lastgroup or "space"
        text = match[kind]
        if kind == "quoted":
            text = _ESCAPED.sub(rb"\1", text) if b"\\" in text else text
        elif kind == "special":
            kind = text.decode("ascii")
            if kind == "(":
                start, at = match.start(), comment_end(value, match.start())
                kind, text = "comment", value[start + 1 : at - value.endswith(b")", start, at)]
        tokens.append(_Token(kind, text))
    return tokens


class _Parser:
    """Sorts tokens into addresses: commas part them, angle brackets hold them, a colon groups."""

    def __init__(self) -> None:
        self._found: list[HeaderAddress | Group] = []
        self._members: list[HeaderAddress] = []
        self._group: bytes | None = None
        self._count = 0
        self._start()

    def _start(self) -> None:
        self._words: list[_Token] = []
        self._angle: list[_Token] | None = None
        self._open = False

    def parse(self, tokens: list[_Token]) -> list[HeaderAddress | Group]:
        """All that the tokens hold."""
        for token in tokens:
            if self._count >= ADDRESS_LIMIT:
                break
            if self._open and self._angle is not None:
                self._within(token, self._angle)
            else:
                self._outside(token)
        self._finish_mailbox()
        self._finish_group()
        return self._found

    def _within(self, token: _Token, angle: list[_Token]) -> None:
        if token.kind == ">":
            self._open = False
        else:
            angle.append(token)

    def _outside(self, token: _Token) -> None:
        if token.kind == "<" and self._angle is None:
            self._angle, self._open = [], True
        elif token.kind == ",":
            self._finish_mailbox()
        elif token.kind == ";":
            self._finish_mailbox()
            self._finish_group()
        elif token.kind == ":" and self._begins_group():
            self._group = _phrase(self._words)
            self._count += 1
            self._start()
        else:
            self._words.append(token)

    def _begins_group(self) -> bool:
        plain = all(word.kind != "@" for word in self._words)
        return self._group is None and self._angle is None and plain

    def _finish_group(self) -> None:
        if self._group is not None:
            self._found.append(Group(self._group, tuple(self._members)))
        self._group, self._members = None, []

    def _finish_mailbox(self) -> None:
        mailbox = _mailbox(self._words, self._angle)
        self._start()
        if mailbox is None:
            return
        self._count += 1
        (self._found if self._group is None else self._members).append(mailbox)


def _mailbox(words: list[_Token], angle: list[_Token] | None) -> HeaderAddress | None:
    if angle is not None:
        route, spec = _split_route(angle)
        local_part, domain = _addr_spec(spec)
        return HeaderAddress(_phrase(words) or _comment(words), route, local_part, domain)
    local_part, domain = _addr_spec(words)
    if not local_part and not domain:
        return None
    # `bob@example.net (Bob)` is how names were given before RFC 822; people still do.
    return HeaderAddress(_comment(words), None, local_part, domain)


def _split_route(angle: list[_Token]) -> tuple[bytes | None, list[_Token]]:
    """The obsolete route `@a,@b:` and what follows it (RFC 5322 section 4.4)."""
    kinds = [token.kind for token in angle]
    first = next((kind for kind in kinds if kind not in ("space", "comment")), "")
    if first != "@" or ":" not in kinds:
        return None, angle
    colon = kinds.index(":")
    return _join(angle[:colon]), angle[colon + 1 :]


def _addr_spec(tokens: list[_Token]) -> tuple[bytes, bytes]:
    kinds = [token.kind for token in tokens]
    if "@" not in kinds:
        return _join(tokens), b""
    at = len(kinds) - 1 - kinds[::-1].index("@")
    return _join(tokens[:at]), _join(tokens[at + 1 :])


def _join(tokens: list[_Token]) -> bytes:
    """The text without comments; two words stay two, so that `b c` does not become a domain."""
    joined: list[bytes] = []
    gap = word = False
    for kind, text in tokens:
        if kind in ("space", "comment"):
            gap = True
            continue
        is_word = kind in ("word", "quoted")
        if gap and word and is_word:
            joined.append(b" ")
        joined.append(text)
        gap, word = False, is_word
    return b"".join(joined)


def _phrase(tokens: list[_Token]) -> bytes:
    """The words of a phrase, one space where there was any."""
    parts = [b" " if kind in ("space", "comment") else text for kind, text in tokens]
    if all(kind in ("space", "quoted", "comment") for kind, _ in tokens) and len(tokens) <= 3:
        return b"".join(parts).strip()  # one quoted string keeps its own spaces
    return b" ".join(b"".join(parts).split())


def _comment(tokens: list[_Token]) -> bytes | None:
    texts = [text.strip() for kind, text in tokens if kind == "comment"]
    return _ESCAPED.sub(rb"\1", texts[-1]) or None if texts else None
