"""Text of a message for SEARCH: decoded and case-folded (RFC 9051 section 6.4.4, RFC 5051).

All charsets and transfer encodings; HTML is searched as it is written. Attachments that are no
text are not searched. Holds: never raises; gives not more than it is asked for.
"""

import re
import unicodedata
from collections.abc import Iterator

from mailstead.message.charset import decode_text
from mailstead.message.header import decode, fields, get_all
from mailstead.message.mime import Buffer, Part, decode_body
from mailstead.message.parameters import decode_parameter

ENCODED_FACTOR = 4  # encoded octets that are looked at for each character asked for

# A character with its marks. Normalising is quadratic in a run of combining marks, so runs are
# taken in bites (RFC 5051 asks for the canonical form; it does not foresee a hostile text).
_RUN = re.compile(r"[\x00-\x7f]?[^\x00-\x7f]{1,64}")


def fold_case(text: str) -> str:
    """The text with case and compatible forms made one, so that equal means equal to people."""
    if text.isascii():
        return text.lower()
    return _RUN.sub(_normal, text.casefold())


def _normal(run: "re.Match[str]") -> str:
    return unicodedata.normalize("NFKC", run[0])


def header_text(header: bytes, name: str) -> list[str]:
    """The values of all fields of that name, decoded and folded."""
    return [fold_case(decode(value)) for value in get_all(header, name)]


def searchable(header: bytes, part: Part, body: Buffer, limit: int) -> Iterator[str]:
    """First one text of all headers, then one for each part, `limit` characters in all.

    What SEARCH TEXT looks at; SEARCH BODY leaves the first one out. The headers are the message's
    and those of its parts, with the names of files (RFC 9051 section 6.4.4, TEXT).
    """
    for text in _texts(header, part, body, limit):
        yield text[:limit]
        limit -= len(text)
        if limit <= 0:
            return


def _texts(header: bytes, part: Part, body: Buffer, limit: int) -> Iterator[str]:
    texts, room = [_whole_header(header[: limit * ENCODED_FACTOR])], limit
    for one in _with_header(part):
        room -= len(texts[-1])
        if room <= 0:
            break
        size = min(one.header_size, room * ENCODED_FACTOR)
        texts.append(_whole_header(body[one.header_start : one.header_start + size]))
        texts.append(fold_case(_file_name(one)[:room]))
    yield "\r\n".join(filter(None, texts))
    yield from _part_texts(part, body, limit)


def _with_header(part: Part) -> Iterator[Part]:
    """All parts of multiparts, whose headers are no message's."""
    for child in part.children:
        if not part.is_message and child.header_size > 0:
            yield child
        yield from _with_header(child)


def _file_name(part: Part) -> str:
    """What of the name of a file is not there to be read in the header (RFC 2231)."""
    for parameters, name in ((part.disposition_params, "filename"), (part.params, "name")):
        if any(key == f"{name}*" for key, _ in parameters):
            return decode_parameter(parameters, name) or ""
    return ""


def _part_texts(part: Part, body: Buffer, limit: int) -> Iterator[str]:
    if part.type == "text":
        data = decode_body(part, body, limit * ENCODED_FACTOR)
        charset = decode_parameter(part.params, "charset") or "us-ascii"
        yield fold_case(decode_text(data, charset))
    for child in part.children:
        if part.is_message:
            size = min(child.header_size, limit * ENCODED_FACTOR)
            yield _whole_header(body[child.header_start : child.header_start + size])
        yield from _part_texts(child, body, limit)


def _whole_header(header: bytes) -> str:
    """All fields, each on its line; names and values both are searched."""
    if header.isascii() and b"=?" not in header and b"\0" not in header:
        unfolded = _FOLD.sub(rb"\1", header) if _FOLD.search(header) else header
        return unfolded.decode("ascii").lower()
    lines = [f"{field.name}: {decode(field.value)}" for field in fields(header)]
    return fold_case("\r\n".join(lines))


_FOLD = re.compile(rb"\r?\n([ \t])")
