"""The tokens of a message: the words, hosts and shapes that a learning filter counts.

A token is a text of a few characters with its place before it (`subject:offer`, `url:example.org`);
a word of the body has none. What is kept is its hash of 64 bits, so that counts are small.
Not here: what the counts say (bayes), and what a rule would see (features).
Holds: never raises; time is linear, and bounded by the limits below; the same message has the
same tokens for ever, since counts outlive the code.
"""

import hashlib
import itertools
import re
from collections.abc import Iterable, Iterator

from mailstead.message.addresses import mailboxes
from mailstead.message.charset import decode_text
from mailstead.message.header import decode, fields
from mailstead.message.mime import Buffer, Part, decode_body
from mailstead.message.parameters import decode_parameter
from mailstead.message.text import fold_case
from mailstead.spam.hypertext import Page, read

HEADER_TOKEN_LIMIT = 1000  # different tokens of the header
SHAPE_TOKEN_LIMIT = 200  # different tokens of the shape
TEXT_TOKEN_LIMIT = 4000  # different tokens of the text
HEADER_LIMIT = 32 * 1024  # octets of the header that are looked at
TEXT_LIMIT = 128 * 1024  # octets of all text parts together, as they are encoded
PART_LIMIT = 50  # parts that are looked at
WORD_LIMIT = 20_000  # words and pairs that are looked at, repeated ones too
HIDDEN_LIMIT = 200  # words of hidden text
VALUE_LIMIT = 1000  # octets of one header field
RECEIVED_LIMIT = 6  # Received fields, from the top
LINK_LIMIT = 100  # links of one message
TOKEN_LENGTH = 80  # characters of one token, its place included
LONGEST_WORD = 20  # characters; of a longer word only the size counts
SHORTEST_WORD = 2

# A hash nobody else computes by chance; BIGINT columns are signed.
_PERSON = b"mailstead token"


def tokens(header: bytes, part: Part, body: Buffer) -> dict[int, str]:
    """Hash -> text of each token of the message, in the order of reading."""
    found = _hashed(_header_tokens(header[:HEADER_LIMIT]), HEADER_TOKEN_LIMIT, of_header=True)
    found |= _hashed(_shape_tokens(part), SHAPE_TOKEN_LIMIT, of_header=True)
    found |= _hashed(_text_tokens(part, body), TEXT_TOKEN_LIMIT, of_header=False)
    return found


def hash_token(text: str, of_header: bool = False) -> int:
    """The 64 bits, signed, that stand for a token; the last one says where it is from."""
    data = text.encode("utf-8", "replace")
    digest = hashlib.blake2b(data, digest_size=8, person=_PERSON).digest()
    return int.from_bytes(digest, "big", signed=True) & -2 | of_header


def is_of_header(token: int) -> bool:
    """Whether the token is from the header or the shape of its message, not from the text."""
    return bool(token & 1)


def _hashed(texts: Iterable[str], limit: int, of_header: bool) -> dict[int, str]:
    found: dict[str, None] = {}
    for text in texts:
        found[text[:TOKEN_LENGTH]] = None
        if len(found) >= limit:
            break
    return {hash_token(text, of_header): text for text in found}


# Header

_Values = dict[str, list[bytes]]  # by lower-case name


def _header_tokens(header: bytes) -> Iterator[str]:
    values: _Values = {}
    for field in fields(header):
        values.setdefault(field.name.lower(), []).append(field.value[:VALUE_LIMIT])
    subject = decode(_first(values, "subject"))
    words = list(_words(fold_case(subject)))
    yield from _placed("subject", words)
    yield from _placed("subject", map(" ".join, itertools.pairwise(words)))
    yield from _capitals(subject)
    yield from _people(values)
    for name in ("x-mailer", "user-agent"):
        yield from _placed("mailer", _words(fold_case(decode(_first(values, name)))))
    yield from _presence(values)
    yield from _message_id(_first(values, "message-id"))
    for value in values.get("received", [])[:RECEIVED_LIMIT]:
        yield from _received(value)


def _first(values: _Values, name: str) -> bytes:
    return values.get(name, [b""])[0]


def _placed(place: str, words: Iterable[str]) -> Iterator[str]:
    return (f"{place}:{word}" for word in words)


_FEW_LETTERS = 8  # of which capitals say nothing


def _capitals(subject: str) -> Iterator[str]:
    """How many quarters of the letters are capitals."""
    letters = sum(map(str.isalpha, subject))
    if letters >= _FEW_LETTERS:
        yield f"subject-capitals:{sum(map(str.isupper, subject)) * 4 // letters}"


def _people(values: _Values) -> Iterator[str]:
    for place in ("from", "reply-to", "sender"):
        for one in mailboxes(_first(values, place))[:2]:
            yield f"{place}:{fold_case(one.addr_spec)}"
            yield from _placed(f"{place}-domain", _suffixes(fold_case(decode(one.domain))))
            yield from _placed(f"{place}-name", _words(fold_case(one.display_name)))
    for place in ("to", "cc"):
        found = mailboxes(_first(values, place))
        yield f"{place}-count:{min(len(found), 20).bit_length()}"
        if found:
            yield f"{place}-name:{'some' if found[0].name else 'none'}"


# Fields that writing programs and lists set; what receivers add says only who collected.
_FIELD_NAMES = """
list-id list-unsubscribe list-post list-unsubscribe-post precedence in-reply-to references
x-priority x-msmail-priority importance mime-version organization errors-to thread-index
dkim-signature auto-submitted x-originating-ip feedback-id x-mimeole date message-id to
"""
_FIELDS = tuple(_FIELD_NAMES.split())
_SHORT = frozenset(("precedence", "x-priority", "x-msmail-priority", "importance"))
_ZONE = re.compile(rb"([+-]\d{4}|[A-Z]{1,4})\)?\s*+\Z")


def _presence(values: _Values) -> Iterator[str]:
    for name in _FIELDS:
        if name not in values:
            yield f"without:{name}"
        elif name in _SHORT:
            yield f"{name}:{fold_case(decode(values[name][0][:30]))}"
        else:
            yield f"with:{name}"
    zone = _ZONE.search(_first(values, "date")[-20:])
    yield f"zone:{zone[1].decode('ascii') if zone else 'none'}"


_RUN = re.compile(r"[0-9]++|[A-Z]++|[a-z]++")


def _message_id(value: bytes) -> Iterator[str]:
    left, _, right = decode(value).strip("<> ").rpartition("@")
    shape = _RUN.sub(lambda run: "0" if run[0][0].isdigit() else run[0][0], left[:60])
    yield f"message-id:{shape[:30]}"
    yield from _placed("message-id-domain", _suffixes(fold_case(right[:60])))


_HOST = re.compile(rb"(?<![A-Za-z0-9.-])[A-Za-z0-9-]{1,63}+(?:\.[A-Za-z0-9-]{1,63}+){1,8}+")


def _received(value: bytes) -> Iterator[str]:
    """Names and addresses of hosts in the from clause (RFC 5321 section 4.4)."""
    clause = value.partition(b" by ")[0]
    for match in itertools.islice(_HOST.finditer(clause), 4):
        yield from _placed("received", _suffixes(match[0].decode("ascii").lower()))
    if clause.startswith(b"from") and b"unknown" in clause:
        yield "received:unknown"


_IPV4_LABELS = 4


def _suffixes(host: str) -> Iterator[str]:
    """The host and its parents down to two labels; of an IPv4 address its networks."""
    labels = host.strip(".").split(".")[-5:]
    if len(labels) == _IPV4_LABELS and all(map(str.isdigit, labels)):
        yield from (".".join(labels[:size]) for size in (4, 3, 2))
        return
    for start in range(max(1, len(labels) - 1)):
        yield ".".join(labels[start:])
    yield labels[-1]


# MIME


def _parts(part: Part) -> Iterator[Part]:
    yield part
    for child in part.children:
        yield from _parts(child)


def _shape_tokens(part: Part) -> Iterator[str]:
    kinds = [f"{child.type}/{child.subtype}" for child in part.children[:8]]
    yield f"shape:{part.subtype}({','.join(kinds)})"
    for one in itertools.islice(_parts(part), PART_LIMIT):
        yield f"part:{one.type}/{one.subtype}"
        yield f"encoding:{one.subtype}:{one.encoding}"
        if one.type == "text":
            yield f"charset:{_charset(one).lower()}"
        elif not one.is_multipart:
            yield f"size:{one.type}:{one.body_size.bit_length()}"
        yield from _file_name(one)


def _charset(part: Part) -> str:
    return decode_parameter(part.params, "charset") or "us-ascii"


def _file_name(part: Part) -> Iterator[str]:
    name = decode_parameter(part.disposition_params, "filename")
    name = name or decode_parameter(part.params, "name")
    if part.disposition is not None:
        yield f"disposition:{part.subtype}:{part.disposition}"
    if name:
        stem, _, extension = fold_case(name[-100:]).rpartition(".")
        yield f"extension:{extension[:10]}"
        yield from _placed("file", itertools.islice(_words(stem), 10))


# Text


def _text_tokens(part: Part, body: Buffer) -> Iterator[str]:
    """Links first: no padding with words pushes them out."""
    pages = list(_pages(part, body))
    for link in itertools.islice(itertools.chain.from_iterable(map(_links, pages)), LINK_LIMIT):
        yield from _link_tokens(link)
    for page in pages:
        yield from _placed("tag", page.traits)
        hidden = itertools.islice(_words(fold_case(page.hidden)), HIDDEN_LIMIT)
        yield from _placed("hidden", hidden)
    words = itertools.chain.from_iterable(_prose(page.shown) for page in pages)
    yield from itertools.islice(words, WORD_LIMIT)


def _pages(part: Part, body: Buffer) -> Iterator[Page]:
    room = TEXT_LIMIT
    for one in itertools.islice(_parts(part), PART_LIMIT):
        if one.type == "text" and room > 0:
            text = decode_text(decode_body(one, body, room), _charset(one))
            room -= one.body_size
            is_html = one.subtype == "html" or _MARKUP.search(text[:_MARKUP_LIMIT])
            yield read(text) if is_html else Page(text, "", (), ())


# Much is HTML that does not say so.
_MARKUP = re.compile(r"<(?:html|body|head|table|font|!doctype html)\b", re.I)
_MARKUP_LIMIT = 4096  # characters that are searched for it

_URL = re.compile(r"\b(?:https?://|www\.)[^\s<>\"']{1,300}", re.I)


def _links(page: Page) -> Iterator[str]:
    yield from page.links
    yield from (match[0] for match in _URL.finditer(page.shown))


def _prose(text: str) -> Iterator[str]:
    """The words, and each with the one before it: a phrase says more than its words."""
    previous = ""
    for word in _words(fold_case(_URL.sub(" ", text))):
        yield word
        if previous:
            yield f"{previous} {word}"
        previous = word


_WORD = re.compile(r"[\w$€£%][\w$€£%'’!-]*+")
# Scripts that put no spaces between words.
_UNSPACED = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u3040-\u30ff\u3400-\u9fff]")


def _words(text: str) -> Iterator[str]:
    for match in _WORD.finditer(text):
        word = match[0].rstrip("'’-_")
        if len(word) < SHORTEST_WORD:
            continue
        if not word.isascii() and _UNSPACED.search(word):
            yield from map("".join, itertools.pairwise(word))
        elif len(word) <= LONGEST_WORD:
            yield word
        else:
            yield f"long:{len(word).bit_length()}"


_LINK = re.compile(
    r"(?:([a-z]{2,10}):)?(?:/{2}+)?(?:[^/@]{0,100}(@))?([^/:?#]{1,100})(:\d+)?(.*)", re.S
)


def _link_tokens(link: str) -> Iterator[str]:
    """The host of a link, its parents, and what is odd about it."""
    match = _LINK.match(fold_case(link[:300]))
    if match is None:
        return
    scheme, login, host, port, path = match.groups()
    if scheme in ("cid", "mailto", "data", "javascript"):
        yield f"link:{scheme}"
        return
    yield from _placed("url", _suffixes(host))
    if login:
        yield "url-odd:login"
    if port:
        yield "url-odd:port"
    yield from _placed("url-path", itertools.islice(_words(path), 8))
