"""A few words of a message, to show in a list beside its subject (RFC 8970 section 3.3).

The first text that a reader would see, decoded, with its white space folded; of HTML what stands
between the tags. Not here: where the octets come from. Holds: never raises; looks at a bounded
beginning of the text only; gives no control characters.
"""

import html
import re
from collections.abc import Iterator

from mailstead.message.charset import decode_text
from mailstead.message.mime import Part
from mailstead.message.parameters import decode_parameter
from mailstead.message.transfer import Decoder

PREVIEW_LIMIT = 200  # characters
ENCODED_LIMIT = 64 * 1024  # octets of the part that are looked at, still encoded

_HIDDEN = re.compile(r"<(style|script|title)\b.*?(?:</\1\s*>|\Z)", re.I | re.S)
_INLINE = re.compile(
    r"</?(?:a|b|i|u|em|strong|span|font|small|big|sup|sub)\b[^<>]*>", re.I
)  # these part no words
_TAG = re.compile(r"<!--.*?(?:-->|\Z)|</?[a-z!?][^<>]*(?:>|\Z)", re.I | re.S)
_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\xad\u034f\u200b-\u200f\u2028-\u202e\u2060-\u2064\ufeff]+")


def find_text(part: Part) -> Part | None:
    """The part to look into: plain text rather than HTML, no attachment, None if there is none."""
    found = [one for one in _texts(part) if one.body_size]
    plain = (one for one in found if one.subtype != "html")
    return next(plain, None) or next(iter(found), None)


def _texts(part: Part) -> Iterator[Part]:
    """The texts of what is shown first: other messages in this one are not looked into."""
    if part.type == "text" and part.disposition != "attachment":
        yield part
    elif part.is_multipart and part.subtype != "encrypted":
        for child in part.children:
            found = list(_texts(child))
            yield from found
            if found and part.subtype != "alternative":
                return


def preview(part: Part, encoded: bytes) -> str:
    """The preview of a text, of which these are the first octets, ENCODED_LIMIT at most."""
    decoder = Decoder(part.encoding)
    octets = decoder.feed(encoded[:ENCODED_LIMIT])
    if min(len(encoded), ENCODED_LIMIT) >= part.body_size:
        octets += decoder.finish()
    else:  # not in the middle of a character
        octets = octets[: octets.rfind(b"\n") + 1] or octets
    text = decode_text(octets, decode_parameter(part.params, "charset") or "us-ascii")
    if part.subtype == "html":
        text = html.unescape(_TAG.sub(" ", _INLINE.sub("", _HIDDEN.sub(" ", text))))
    words = _UNSEEN.sub(" ", text).split()
    return " ".join(words)[:PREVIEW_LIMIT].rstrip()
