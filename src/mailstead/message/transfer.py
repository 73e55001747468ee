"""Transfer encodings taken off piece by piece (RFC 2045 section 6): big parts are never whole here.

Best effort, as everything that reads mail: what is no base64 is passed over, what is no
quoted-printable stays as it is. Holds: any split of the same octets gives the same octets.
"""

import binascii
import re
import string

from mailstead.message.header import decode_base64
from mailstead.message.mime import Part

IDENTITIES = frozenset(("7bit", "8bit", "binary"))
ENCODINGS = IDENTITIES | {"base64", "quoted-printable"}

_ALPHABET = (string.ascii_letters + string.digits + "+/").encode("ascii")
_NOT_ALPHABET = bytes(octet for octet in range(256) if octet not in _ALPHABET)
_CUT_ESCAPE = re.compile(rb"=[0-9A-Fa-f\r]?\Z")  # what may go on in the next piece


def encoding_of(part: Part) -> str:
    """The transfer encoding; what has parts of its own has none (RFC 2045 section 6.4)."""
    return "8bit" if part.children else part.encoding


class Decoder:
    """Decodes one part; of an encoding that is not known the octets stay."""

    def __init__(self, encoding: str) -> None:
        self._encoding = encoding
        self._kept = b""  # the beginning of what a piece did not end
        self._ended = False  # base64 ends where it is filled up

    def feed(self, data: bytes) -> bytes:
        """What the next octets decode to, as far as it can be told."""
        match self._encoding:
            case "base64":
                return self._feed_base64(data)
            case "quoted-printable":
                return self._feed_quoted(data)
        return data

    def finish(self) -> bytes:
        """What was kept back."""
        kept, self._kept = self._kept, b""
        if self._encoding == "base64":
            return decode_base64(kept)
        return binascii.a2b_qp(kept)

    def _feed_base64(self, data: bytes) -> bytes:
        if self._ended:
            return b""
        text, filled, _ = data.partition(b"=")
        self._ended = bool(filled)
        text = self._kept + text.translate(None, _NOT_ALPHABET)
        whole = len(text) - len(text) % 4
        self._kept = text[whole:]
        return binascii.a2b_base64(text[:whole])

    def _feed_quoted(self, data: bytes) -> bytes:
        data = self._kept + data
        cut = _CUT_ESCAPE.search(data, max(0, len(data) - 2))
        whole = cut.start() if cut else len(data)
        self._kept = data[whole:]
        return binascii.a2b_qp(data[:whole])
