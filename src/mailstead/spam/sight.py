"""What is looked at of a message, taken apart once for tokens and rules both.

Everything is cut to the limits below, so that the cost of a judgement does not grow with what a
stranger sends. Not here: what speaks for spam (features), what is counted (tokens).
Holds: never raises; time is linear, and bounded.
"""

import itertools
import re
from collections.abc import Iterable, Iterator

import msgspec

from mailstead.message.addresses import HeaderAddress, mailboxes
from mailstead.message.charset import decode_text
from mailstead.message.header import decode, fields, unfold
from mailstead.message.mime import Buffer, Part, decode_body
from mailstead.message.parameters import decode_parameter
from mailstead.message.text import fold_case
from mailstead.spam.hypertext import Page, read

HEADER_LIMIT = 32 * 1024  # octets of the header that are looked at
VALUE_LIMIT = 1000  # octets of one header field
FIELD_LIMIT = 300  # header fields
PART_LIMIT = 50  # parts that are looked at
TEXT_LIMIT = 128 * 1024  # octets of all text parts together, as they are encoded
LINK_LIMIT = 100  # different links of one message
LINK_LENGTH = 300  # characters of a link

Values = dict[str, list[bytes]]  # by lower-case name


class Link(msgspec.Struct, frozen=True):
    """A link taken apart; the host without port, as it is written."""

    scheme: str
    login: bool
    host: str
    port: str
    path: str


class Sight(msgspec.Struct, frozen=True):
    """A message as the filter sees it."""

    values: Values
    subject: str
    authors: list[HeaderAddress]
    parts: list[Part]
    pages: list[Page]
    texts: list[str]  # what the pages show, in small letters
    links: list[Link]
    body: Buffer

    def first(self, name: str) -> bytes:
        """The first field of that lower-case name, or nothing."""
        found = self.values.get(name)
        return found[0] if found else b""


def look(header: bytes, part: Part, body: Buffer) -> Sight:
    """The message of this header and this body, whose tree is `part`."""
    values = _values(header[:HEADER_LIMIT])
    parts = list(itertools.islice(_walk(part), PART_LIMIT))
    pages = list(_pages(parts, body))
    texts = [_small(page.shown) for page in pages]
    return Sight(
        values=values,
        subject=decode(values.get("subject", [b""])[0]),
        authors=mailboxes(values.get("from", [b""])[0]),
        parts=parts,
        pages=pages,
        texts=texts,
        links=list(_links(pages, texts)),
        body=body,
    )


def _values(header: bytes) -> Values:
    values: Values = {}
    for field in fields(header)[:FIELD_LIMIT]:
        raw = field.raw
        value = unfold(raw[raw.find(b":") + 1 :])[:VALUE_LIMIT]
        values.setdefault(field.name.lower(), []).append(value)
    return values


def _walk(part: Part) -> Iterator[Part]:
    yield part
    for child in part.children:
        yield from _walk(child)


# Text


def _small(text: str) -> str:
    """The text in small letters; compatible forms are made one only where there may be some."""
    if text.isascii():
        return text.lower()
    try:
        text.encode("latin-1")
    except UnicodeEncodeError:
        return fold_case(text)
    return text.casefold().replace("\u00a0", " ")


# Much is HTML that does not say so.
_MARKUP = re.compile(r"<(?:html|body|head|table|font|!doctype html)\b", re.I)
_MARKUP_LIMIT = 4096  # characters that are searched for it


def charset_of(part: Part) -> str:
    """The charset that the part says it is in."""
    params = part.params
    if len(params) == 1 and params[0][0] == "charset":
        return params[0][1].decode("latin-1")
    return decode_parameter(params, "charset") or "us-ascii"


def file_name(part: Part) -> str:
    """The name that a client would save the part under, or nothing."""
    if not part.params and not part.disposition_params:
        return ""
    name = decode_parameter(part.disposition_params, "filename")
    return name or decode_parameter(part.params, "name") or ""


def _pages(parts: Iterable[Part], body: Buffer) -> Iterator[Page]:
    room = TEXT_LIMIT
    for one in parts:
        if one.type == "text" and room > 0:
            text = decode_text(decode_body(one, body, room), charset_of(one))
            room -= one.body_size
            is_html = one.subtype == "html" or _MARKUP.search(text, 0, _MARKUP_LIMIT)
            yield read(text) if is_html else Page(text, "", (), ())


# Links

# A pattern that begins with a literal is searched for much faster.
_URL = re.compile(r"http(?:s?://[^\s<>\"']{1,300})")
_BARE_URL = re.compile(r"www\.[^\s<>\"']{1,300}")
_LINK = re.compile(
    r"(?:([a-z]{2,10}):)?(?:/{2}+)?(?:[^/@]{0,100}(@))?([^/:?#]{1,100})(:\d+)?(.*)", re.S
)


def _links(pages: Iterable[Page], texts: Iterable[str]) -> Iterator[Link]:
    found: dict[str, None] = {}
    for page, text in zip(pages, texts, strict=True):
        found |= dict.fromkeys(page.links)
        if "://" in text:
            found |= dict.fromkeys(_URL.findall(text)[:LINK_LIMIT])
        if "www." in text:
            found |= dict.fromkeys(_BARE_URL.findall(text)[:LINK_LIMIT])
    for one in itertools.islice(found, LINK_LIMIT):
        link = parse_link(one)
        if link is not None:
            yield link


def without_links(text: str) -> str:
    """The text in small letters with a space for each address of a web page."""
    if "://" in text:
        text = _URL.sub(" ", text)
    return _BARE_URL.sub(" ", text) if "www." in text else text


def parse_link(text: str) -> Link | None:
    """The link taken apart, in small letters."""
    match = _LINK.match(fold_case(text[:LINK_LENGTH]))
    if match is None:
        return None
    scheme, login, host, port, path = match.groups()
    return Link(scheme or "", login is not None, host, port or "", path)
