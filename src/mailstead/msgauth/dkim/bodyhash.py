"""The body hashes that several signatures want, from one pass over the body (RFC 6376 section 3.7).

However many signatures there are, the body is brought into each form once and hashed once in it:
a hash that ends early (l=) is a copy of the long one, taken on the way.
"""

import hashlib
from collections.abc import Iterable

import msgspec

from mailstead.msgauth.dkim.canonical import CanonicalBody, Form


class Cover(msgspec.Struct, frozen=True):
    """What of the body a signature covers: all, or the first `length` octets of this form."""

    form: Form
    length: int | None = None


class Digest(msgspec.Struct, frozen=True):
    """The SHA-256 of what is covered, and how long the whole body is in this form."""

    hash: bytes
    size: int


class BodyHashes:
    """Takes the body in pieces, as it comes."""

    __slots__ = ("_passes",)

    def __init__(self, covers: Iterable[Cover]) -> None:
        wanted: dict[Form, set[int]] = {}
        for cover in covers:
            lengths = wanted.setdefault(cover.form, set())
            if cover.length is not None:
                lengths.add(cover.length)
        self._passes = [_Pass(form, sorted(lengths)) for form, lengths in wanted.items()]

    def add(self, data: bytes) -> None:
        """The next piece."""
        for one in self._passes:
            one.add(data)

    def finish(self) -> dict[Cover, Digest]:
        """All that was wanted. A length beyond the end is hashed as if it were the end."""
        return {cover: digest for one in self._passes for cover, digest in one.finish().items()}


class _Pass:
    """One form of the body, with the lengths at which it is to be hashed, shortest first."""

    __slots__ = ("_body", "_done", "_form", "_hash", "_lengths", "_size")

    def __init__(self, form: Form, lengths: list[int]) -> None:
        self._form, self._body = form, CanonicalBody(form)
        self._lengths = lengths[::-1]  # the next one is the last
        self._hash, self._size = hashlib.sha256(), 0
        self._done: dict[int, bytes] = {}

    def add(self, data: bytes) -> None:
        for piece in self._body.add(data):
            self._take(piece)

    def _take(self, piece: bytes) -> None:
        while self._lengths and self._lengths[-1] <= self._size + len(piece):
            length = self._lengths.pop()
            early = self._hash.copy()
            early.update(piece[: length - self._size])
            self._done[length] = early.digest()
        self._hash.update(piece)
        self._size += len(piece)

    def finish(self) -> dict[Cover, Digest]:
        for piece in self._body.finish():
            self._take(piece)
        whole = self._hash.digest()
        late = dict.fromkeys(self._lengths, whole)
        found = {Cover(self._form): Digest(whole, self._size)}
        for length, early in (late | self._done).items():
            found[Cover(self._form, length)] = Digest(early, self._size)
        return found
