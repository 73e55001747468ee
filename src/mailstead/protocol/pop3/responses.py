"""Responses of POP3 as octets (RFC 1939 section 3), codes too (RFC 2449, RFC 3206, RFC 6856).

A response is one line; a listing goes on to a line with a dot.
"""

from collections.abc import Iterable

from mailstead.protocol import sasl

AUTH = "AUTH"
IN_USE = "IN-USE"
TEMPORARY = "SYS/TEMP"
PERMANENT = "SYS/PERM"
UTF8 = "UTF8"
END = b".\r\n"
LANGUAGE = "en"
LANGUAGES = ("en English",)


def ok(text: str = "") -> bytes:
    """+OK."""
    return f"+OK {text}\r\n".encode() if text else b"+OK\r\n"


def err(text: str, code: str = "") -> bytes:
    """-ERR, with a response code (RFC 2449 section 8) if programs are to know."""
    return f"-ERR [{code}] {text}\r\n".encode() if code else f"-ERR {text}\r\n".encode()


def count(messages: int) -> str:
    """So many messages, in words."""
    return "1 message" if messages == 1 else f"{messages} messages"


def challenge(data: bytes) -> bytes:
    """A challenge of SASL (RFC 5034 section 4)."""
    return b"+ " + sasl.encode(data) + b"\r\n"


def listing(text: str, lines: Iterable[str]) -> bytes:
    """+OK, these lines, and the dot; none of the lines begins with one."""
    return ok(text) + "".join(f"{line}\r\n" for line in lines).encode() + END


def capabilities(
    mechanisms: tuple[str, ...], stls: bool, expire: str, clear_text: bool
) -> list[str]:
    """What CAPA lists (RFC 2449 section 6; RFC 2595, 3206, 5034, 6856)."""
    names = ["TOP", "UIDL", "RESP-CODES", "AUTH-RESP-CODE", "PIPELINING", "UTF8 USER", "LANG"]
    names += ["USER"] * clear_text
    names += [f"SASL {' '.join(mechanisms)}"] * bool(mechanisms)
    names += ["STLS"] * stls
    return [*names, "LOGIN-DELAY 0", f"EXPIRE {expire}", "IMPLEMENTATION Mailstead"]
