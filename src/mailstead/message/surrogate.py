"""Headers and strings for programs that have not asked for UTF-8 (RFC 6856, RFC 6858).

Words in UTF-8 become encoded-words (RFC 2047), also where they were not allowed: the reader sees
the text, and whoever wants the message as it is asks for UTF-8. Octets of old mail that are not
UTF-8 stay as they are: programs have guessed their charset for thirty years.
Holds: the time is linear in the octets, whatever they are.
"""

import base64
import re

ENCODED_WORD_OCTETS = 42  # of the text in one encoded-word, which has 75 characters at most

_SPACES = re.compile(rb"([ \t\r]+)")


def surrogate(header: bytes) -> bytes:
    """The header without UTF-8."""
    if header.isascii():
        return header
    return b"\n".join(map(_line, header.split(b"\n")))


def _line(line: bytes) -> bytes:
    """Words side by side are encoded as one: the space between two encoded-words is not shown."""
    if line.isascii():
        return line
    first, *others = _SPACES.split(line)
    runs = [[first]]
    for space, word in zip(others[::2], others[1::2], strict=True):
        if word.isascii() or runs[-1][-1].isascii():
            runs += [[space], [word]]
        else:
            runs[-1] += [space, word]
    words = map(b"".join, runs)
    return b"".join(word if word.isascii() else _encode(word) for word in words)


def _encode(word: bytes) -> bytes:
    try:
        text = word.decode("utf-8")
    except UnicodeDecodeError:
        return word
    pieces, piece = [], b""
    for character in text:
        octets = character.encode("utf-8")
        if len(piece) + len(octets) > ENCODED_WORD_OCTETS:
            pieces.append(piece)
            piece = b""
        piece += octets
    pieces.append(piece)
    return b" ".join(b"=?UTF-8?B?%b?=" % base64.b64encode(one) for one in pieces)
