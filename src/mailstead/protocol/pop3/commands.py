"""Commands of POP3 (RFC 1939 sections 5 to 7; RFC 2449, 2595, 5034, 6856), and how they are read.

A message number is any positive number here; whether there is such a message is not known here.
"""

from collections.abc import Callable

import msgspec

from mailstead.protocol import sasl

NUMBER_LIMIT = 10  # digits
NAME_LIMIT = sasl.FIELD_LIMIT


class Quit(msgspec.Struct, frozen=True):
    """QUIT."""


class Stat(msgspec.Struct, frozen=True):
    """STAT."""


class List(msgspec.Struct, frozen=True):
    """LIST, of one message or of all (0)."""

    number: int = 0


class Uidl(msgspec.Struct, frozen=True):
    """UIDL, of one message or of all (0)."""

    number: int = 0


class Retr(msgspec.Struct, frozen=True):
    """RETR."""

    number: int


class Top(msgspec.Struct, frozen=True):
    """TOP: the header and so many lines of the body."""

    number: int
    lines: int


class Dele(msgspec.Struct, frozen=True):
    """DELE."""

    number: int


class Noop(msgspec.Struct, frozen=True):
    """NOOP."""


class Rset(msgspec.Struct, frozen=True):
    """RSET."""


class User(msgspec.Struct, frozen=True):
    """USER."""

    name: str


class Pass(msgspec.Struct, frozen=True):
    """PASS; spaces belong to the password."""

    password: str

    def __repr__(self) -> str:
        return "Pass()"


class Capa(msgspec.Struct, frozen=True):
    """CAPA."""


class Stls(msgspec.Struct, frozen=True):
    """STLS."""


class Auth(msgspec.Struct, frozen=True):
    """AUTH; `initial` is decoded. Without a mechanism it asks which there are (RFC 1734's use)."""

    mechanism: str = ""
    initial: bytes | None = None

    def __repr__(self) -> str:
        return f"Auth({self.mechanism!r})"


class Utf8(msgspec.Struct, frozen=True):
    """UTF8."""


class Lang(msgspec.Struct, frozen=True):
    """LANG, with a language range or without."""

    language: str = ""


class SaslResponse(msgspec.Struct, frozen=True):
    """A line of the client within AUTH, decoded; None if it gave up with `*`."""

    data: bytes | None

    def __repr__(self) -> str:
        return "SaslResponse()"


class Malformed(msgspec.Struct, frozen=True):
    """What was sent is no command; `text` says why."""

    text: str


Command = (
    Quit | Stat | List | Uidl | Retr | Top | Dele | Noop | Rset | User | Pass | Capa | Stls | Auth
    | Utf8 | Lang
)  # fmt: skip
Event = Command | SaslResponse | Malformed

UNKNOWN = Malformed("Unknown command")
BAD_BASE64 = Malformed("That is not base64")
_NO_ARGUMENT = Malformed("No argument is wanted")


def parse(line: bytes) -> Command | Malformed:
    """The command of a line without its end. Words are in any case, parted by one space."""
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError:
        return Malformed("That is not UTF-8")
    name, space, argument = text.partition(" ")
    parser = _PARSERS.get(name.upper())
    if parser is None:
        return UNKNOWN
    # PASS is the one whose argument may be, or end in, spaces.
    return parser(argument if space and parser is _pass else argument.strip(" "))


def _plain(command: Command) -> Callable[[str], Command | Malformed]:
    return lambda argument: _NO_ARGUMENT if argument else command


def _numbered(kind: type[Retr] | type[Dele]) -> Callable[[str], Command | Malformed]:
    def parser(argument: str) -> Command | Malformed:
        number = _number(argument)
        return kind(number) if number else Malformed("A message number is wanted")

    return parser


def _listing(kind: type[List] | type[Uidl]) -> Callable[[str], Command | Malformed]:
    def parser(argument: str) -> Command | Malformed:
        number = _number(argument) if argument else 0
        return Malformed("A message number is wanted") if number is None else kind(number)

    return parser


def _top(argument: str) -> Command | Malformed:
    first, _, second = argument.partition(" ")
    number, lines = _number(first), _number(second.strip(" "), least=0)
    if not number or lines is None:
        return Malformed("A message number and a number of lines are wanted")
    return Top(number, lines)


def _user(argument: str) -> Command | Malformed:
    if not argument or len(argument.encode()) > NAME_LIMIT:
        return Malformed("A name is wanted")
    return User(argument)


def _pass(argument: str) -> Command | Malformed:
    if not argument or len(argument.encode()) > NAME_LIMIT:
        return Malformed("A password is wanted")
    return Pass(argument)


def _auth(argument: str) -> Command | Malformed:
    name, space, rest = argument.partition(" ")
    if not space:
        return Auth(name.upper())
    data = b"" if rest == "=" else sasl.decode(rest.encode("utf-8"))
    return BAD_BASE64 if data is None else Auth(name.upper(), data)


def _lang(argument: str) -> Command | Malformed:
    return Malformed("One language is wanted") if " " in argument else Lang(argument)


def _number(text: str, least: int = 1) -> int | None:
    if not text.isascii() or not text.isdecimal() or len(text) > NUMBER_LIMIT:
        return None
    number = int(text)
    return number if number >= least else None


_PARSERS: dict[str, Callable[[str], Command | Malformed]] = {
    "QUIT": _plain(Quit()),
    "STAT": _plain(Stat()),
    "LIST": _listing(List),
    "UIDL": _listing(Uidl),
    "RETR": _numbered(Retr),
    "TOP": _top,
    "DELE": _numbered(Dele),
    "NOOP": _plain(Noop()),
    "RSET": _plain(Rset()),
    "USER": _user,
    "PASS": _pass,
    "CAPA": _plain(Capa()),
    "STLS": _plain(Stls()),
    "AUTH": _auth,
    "UTF8": _plain(Utf8()),
    "LANG": _lang,
}
