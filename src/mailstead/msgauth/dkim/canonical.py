"""The one form of a message that signer and verifier agree on (RFC 6376 section 3.4).

"simple" keeps nearly every octet; "relaxed" forgives what relays do to white space. Header fields
are taken whole; the body is taken in pieces as it comes, with its state between them.
Holds: how a body was cut into pieces changes nothing, and the work is linear in its size.
"""

import enum
import hashlib
import re
from collections.abc import Iterator

_SLICE = 32 * 1024  # empty lines that are written out at once
_NOT_JUST_ONE_SPACE = re.compile(rb"\t[ \t]*| [ \t]+")
_EMPTY_LINES_BACKWARDS = re.compile(rb"(?:\n\r)*")


class Form(enum.StrEnum):
    """A canonicalisation, as c= names it."""

    SIMPLE = "simple"
    RELAXED = "relaxed"


def canonical_field(raw: bytes, form: Form) -> bytes:
    """The whole header field in its form, with its CRLF (RFC 6376 sections 3.4.1 and 3.4.2)."""
    return raw if form is Form.SIMPLE else relaxed_field(raw)


def relaxed_field(raw: bytes) -> bytes:
    """Name in lower case, value on one line, white space only where it parts words."""
    name, _, value = raw.partition(b":")
    unfolded = value.replace(b"\r\n", b"")
    return b"%s:%s\r\n" % (name.rstrip(b" \t").lower(), one_space(unfolded).strip(b" "))


def one_space(data: bytes) -> bytes:
    """Each run of spaces and tabs as one space."""
    if b"\t" in data or b"  " in data:  # nearly never so, and ten times faster to find out
        return _NOT_JUST_ONE_SPACE.sub(b" ", data)
    return data


class CanonicalBody:
    """The body in its form, piece by piece (RFC 6376 sections 3.4.3 and 3.4.4)."""

    __slots__ = ("_empty_lines", "_form", "_held", "_something")

    def __init__(self, form: Form) -> None:
        self._form = form
        self._held = b""  # the end of a piece that the next one may turn into something else
        self._empty_lines = 0  # CRLFs that count only if more follows
        self._something = False

    def add(self, data: bytes) -> Iterator[bytes]:
        """What is certain of the canonical body, now that this piece is known too."""
        data = self._take_certain(self._held + data if self._held else data)
        if self._form is Form.RELAXED:
            data = one_space(data).replace(b" \r\n", b"\r\n")
        yield from self._without_last_lines(data)

    def finish(self) -> Iterator[bytes]:
        """The rest, which ends with the CRLF that every canonical body but an empty one has.

        An empty one is a CRLF in the simple form, and nothing in the relaxed.
        """
        last = self._held.strip(b" \t") if self._form is Form.RELAXED else self._held
        if last:  # a lone CR
            yield from self._without_last_lines(self._held)
        if self._something or self._form is Form.SIMPLE:
            yield b"\r\n"

    def _take_certain(self, data: bytes) -> bytes:
        """Hold back a CR, which may begin a line end, and white space, which may stand before."""
        certain = data[:-1] if data.endswith(b"\r") else data
        self._held = data[len(certain) :]
        if self._form is Form.RELAXED and certain.endswith((b" ", b"\t")):
            certain = certain.rstrip(b" \t")
            self._held = b" " + self._held
        return certain

    def _without_last_lines(self, data: bytes) -> Iterator[bytes]:
        """All but the CRLFs at the end, which are counted: empty last lines are none."""
        ending = data[len(data.rstrip(b"\r\n")) :]
        found = _EMPTY_LINES_BACKWARDS.match(ending[::-1])
        size = found.end() if found else 0
        if content := data[: len(data) - size]:
            yield from self._write_empty_lines()
            yield content
            self._something = True
        self._empty_lines += size // 2

    def _write_empty_lines(self) -> Iterator[bytes]:
        while self._empty_lines:
            count = min(self._empty_lines, _SLICE)
            yield b"\r\n" * count
            self._empty_lines -= count


class BodyHash:
    """The SHA-256 of a body in its form, computed while the body comes in (bh=)."""

    __slots__ = ("_body", "_hash")

    def __init__(self, form: Form = Form.RELAXED) -> None:
        self._body = CanonicalBody(form)
        self._hash = hashlib.sha256()

    def add(self, data: bytes) -> None:
        """The next piece."""
        for piece in self._body.add(data):
            self._hash.update(piece)

    def finish(self) -> bytes:
        """The hash of the whole body."""
        for piece in self._body.finish():
            self._hash.update(piece)
        return self._hash.digest()
