"""The tokens of a message: the words, hosts and shapes that a learning filter counts.

A token is a word with its place (`subject:offer`, `url:example.org`), or two words of the text
that follow each other. What is kept is a number made of the hashes of word and place.
Not here: what the counts say (bayes), and what a rule would see (features).
Holds: never raises; time is linear, and bounded by the limits below; the same message has the
same tokens for ever, since counts outlive the code.
"""

import functools
import hashlib
import itertools
import re
from collections.abc import Callable, Iterable

from mailstead.message.addresses import HeaderAddress, mailboxes
from mailstead.message.header import decode
from mailstead.message.mime import Part
from mailstead.message.text import fold_case
from mailstead.spam.sight import Link, Sight, charset_of, file_name, without_links

HEADER_TOKEN_LIMIT = 1000  # different tokens of the header and the shape
TEXT_TOKEN_LIMIT = 3000  # different tokens of the text
WORD_LIMIT = 400  # words of the text that are looked at, repeated ones too; more teach nothing more
HIDDEN_LIMIT = 200  # words of hidden text
SUBJECT_LIMIT = 50  # words of the subject
RECEIVED_LIMIT = 6  # Received fields, from the top
LINK_LIMIT = 40  # links that tokens are made of
SHAPE_LIMIT = 20  # parts that tokens are made of
TOKEN_LENGTH = 100  # characters of one word
LONGEST_WORD = 20  # characters; of a longer word only the size counts
SHORTEST_WORD = 2
KNOWN_WORDS = 100_000  # whose hashes are remembered; some 10 MB

# A hash nobody else computes by chance. Words have 60 bits and are even, places are odd: sums of
# three and one of them stay within a BIGINT, and the last bit says where a token is from.
_PERSON = b"mailstead token"
_BITS = (1 << 60) - 2
_PAIR = 3  # what the first word of two counts, so that their order matters

Names = dict[int, str]  # token -> what it says, for people


def tokens(sight: Sight) -> list[int]:
    """The tokens of the message, each once: those of the header and the shape, then the text's."""
    return _Reading(None).read(sight)


def named_tokens(sight: Sight) -> Names:
    """The same with what they say."""
    names: Names = {}
    found = _Reading(names).read(sight)
    return {token: names[token] for token in found}


def token_of(word: str, place: str = "") -> int:
    """The number of a word in its place."""
    return _word_id(word) + (_place_id(place) if place else 0)


def pair_of(first: str, second: str, place: str = "") -> int:
    """The number of two words that follow each other."""
    return _PAIR * _word_id(first) + token_of(second, place)


def is_of_header(token: int) -> bool:
    """Whether the token is from the header or the shape of its message, not from the text."""
    return bool(token & 1)


def words_of(text: str) -> list[str]:
    """The words of a text that count, in small letters."""
    found = _words(fold_case(text))
    return [word for word, number in zip(found, _ids(found), strict=True) if number]


def _hash(text: str) -> int:
    data = text.encode("utf-8", "replace")
    return int.from_bytes(hashlib.blake2b(data, digest_size=8, person=_PERSON).digest(), "big")


def _word_id(word: str) -> int:
    return _hash(word[:TOKEN_LENGTH]) & _BITS


@functools.cache  # the places are few, and written below
def _place_id(place: str) -> int:
    return _hash(f"{place}:") & _BITS | 1


# The same words come again and again, and to hash one costs ten times what it costs to find it.
class _Known(dict[str, int]):
    """Numbers of words, each worked out by `number_of` when it is first asked for."""

    def __init__(self, number_of: Callable[[str], int]) -> None:
        self._number_of = number_of

    def __missing__(self, word: str) -> int:
        if len(self) >= KNOWN_WORDS:
            self.clear()
        number = self[word] = self._number_of(word)
        return number


def _ids(words: list[str]) -> list[int]:
    """The numbers of the words; 0 for what is no word."""
    return list(map(_known.__getitem__, words))


def _new_id(word: str) -> int:
    stem = _stem(word)
    return _word_id(stem) if len(stem) >= SHORTEST_WORD else 0


_known = _Known(_new_id)
_known_whole = _Known(_word_id)  # of what is a word whatever it looks like


def _stem(word: str) -> str:
    """The word as it is counted: without what stands around it, of a long one only the size."""
    stem = word.lstrip("'!-").rstrip("'’-_")
    return stem if len(stem) <= LONGEST_WORD else f"long:{len(stem).bit_length()}"


_WORD = re.compile(r"[\w$€£%][\w$€£%'’!-]*+")
_APART = {
    ord(one): " " for one in map(chr, range(128)) if not _WORD.match(one) and one not in "'!-"
}
# Scripts that put no spaces between words: each character with the next one is a word.
_UNSPACED = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u3040-\u30ff\u3400-\u9fff]{1,1000}")


def _words(text: str) -> list[str]:
    """What may be words, of text in small letters."""
    if text.isascii():
        return text.translate(_APART).split()
    return _WORD.findall(_UNSPACED.sub(_spaced, text))


def _spaced(run: "re.Match[str]") -> str:
    return f" {' '.join(map(''.join, itertools.pairwise(run[0])))} "


class _Reading:
    """Collects the tokens of one message; with `names` also what they say."""

    def __init__(self, names: Names | None) -> None:
        self._names = names
        self._found: list[int] = []

    def read(self, sight: Sight) -> list[int]:
        """All of them."""
        self._header(sight)
        self._shape(sight.parts)
        self._links(sight.links)
        found = list(itertools.islice(dict.fromkeys(self._found), HEADER_TOKEN_LIMIT))
        self._found = []
        self._text(sight)
        return found + list(itertools.islice(dict.fromkeys(self._found), TEXT_TOKEN_LIMIT))

    def _one(self, place: str, word: str) -> None:
        """A word that is one whatever it looks like."""
        token = _known_whole[word] + _place_id(place)
        self._found.append(token)
        if self._names is not None:
            self._names.setdefault(token, f"{place}:{word}")

    def _some(self, place: str, words: list[str]) -> list[int]:
        salt, ids = _place_id(place), _ids(words)
        self._found += [number + salt for number in ids if number]
        if self._names is not None:
            for word, number in zip(words, ids, strict=True):
                self._names.setdefault(number + salt, f"{place}:{_stem(word)}")
        return ids

    # ------------------------------------------------------------------ header

    def _header(self, sight: Sight) -> None:
        self._subject(sight.subject)
        self._people(sight)
        for name in ("x-mailer", "user-agent"):
            if value := sight.first(name):
                self._some("mailer", _words(fold_case(decode(value)))[:SUBJECT_LIMIT])
        self._presence(sight)
        self._message_id(sight.first("message-id"))
        for value in sight.values.get("received", [])[:RECEIVED_LIMIT]:
            self._received(value)

    def _subject(self, subject: str) -> None:
        words = words_of(subject)[:SUBJECT_LIMIT]
        ids = self._some("subject", words)
        salt = _place_id("subject")
        pairs = [_PAIR * one + next_ + salt for one, next_ in itertools.pairwise(ids)]
        self._found += pairs
        if self._names is not None:
            texts = map(" ".join, itertools.pairwise(words))
            self._names |= {
                pair: f"subject:{text}" for pair, text in zip(pairs, texts, strict=True)
            }
        letters = sum(map(str.isalpha, subject))
        if letters >= _FEW_LETTERS:
            self._one("subject-capitals", str(sum(map(str.isupper, subject)) * 4 // letters))

    def _people(self, sight: Sight) -> None:
        self._person("from", sight.authors)
        for place in ("reply-to", "sender"):
            if value := sight.first(place):
                self._person(place, mailboxes(value))
        for place in ("to", "cc"):
            found = mailboxes(sight.first(place))
            self._one(f"{place}-count", str(min(len(found), 20).bit_length()))
            if found:
                self._one(f"{place}-name", "some" if found[0].name else "none")

    def _person(self, place: str, found: list[HeaderAddress]) -> None:
        for one in found[:2]:
            self._one(place, fold_case(one.addr_spec)[:TOKEN_LENGTH])
            for suffix in _suffixes(fold_case(decode(one.domain))):
                self._one(f"{place}-domain", suffix)
            if one.name:
                self._some(f"{place}-name", _words(fold_case(one.display_name))[:10])

    def _presence(self, sight: Sight) -> None:
        values = sight.values
        for name in _FIELDS:
            found = values.get(name)
            if found is None:
                self._one("without", name)
            elif name in _SHORT:
                self._one(name, fold_case(decode(found[0][:30])))
            else:
                self._one("with", name)
        zone = _ZONE.search(sight.first("date")[-20:])
        self._one("zone", zone[1].decode("ascii") if zone else "none")

    def _message_id(self, value: bytes) -> None:
        left, _, right = decode(value).strip("<> ").rpartition("@")
        shape = _RUN.sub(lambda run: "0" if run[0][0].isdigit() else run[0][0], left[:60])
        self._one("message-id", shape[:30])
        for suffix in _suffixes(fold_case(right[:60])):
            self._one("message-id-domain", suffix)

    def _received(self, value: bytes) -> None:
        """Names and addresses of hosts in the from clause (RFC 5321 section 4.4)."""
        clause = value.partition(b" by ")[0]
        for match in itertools.islice(_HOST.finditer(clause), 4):
            for suffix in _suffixes(match[0].decode("ascii").lower()):
                self._one("received", suffix)
        if clause.startswith(b"from") and b"unknown" in clause:
            self._one("received", "unknown")

    # ------------------------------------------------------------------ MIME

    def _shape(self, parts: list[Part]) -> None:
        root = parts[0]
        kinds = [f"{child.type}/{child.subtype}" for child in root.children[:8]]
        self._one("shape", f"{root.subtype}({','.join(kinds)})"[:TOKEN_LENGTH])
        for one in parts[:SHAPE_LIMIT]:
            kind = f"{one.type}/{one.subtype}"[:TOKEN_LENGTH]
            self._one("part", kind)
            self._one("encoding", f"{kind}:{one.encoding}"[:TOKEN_LENGTH])
            if one.type == "text":
                self._one("charset", charset_of(one).lower()[:TOKEN_LENGTH])
            elif not one.is_multipart:
                self._one("size", f"{one.type[:20]}:{one.body_size.bit_length()}")
            if one.disposition is not None:
                self._one("disposition", f"{one.subtype[:30]}:{one.disposition[:30]}")
            self._file_name(file_name(one))

    def _file_name(self, name: str) -> None:
        if name:
            stem, _, extension = fold_case(name[-100:]).rpartition(".")
            self._one("extension", extension[:10])
            self._some("file", _words(stem)[:10])

    def _links(self, links: list[Link]) -> None:
        """Among those of the header: no padding with words pushes them out."""
        for link in links[:LINK_LIMIT]:
            if link.scheme in ("cid", "mailto", "data", "javascript"):
                self._one("link", link.scheme)
                continue
            for suffix in _suffixes(link.host):
                self._one("url", suffix)
            if link.login:
                self._one("url-odd", "login")
            if link.port:
                self._one("url-odd", "port")
            self._some("url-path", _words(link.path)[:8])

    # ------------------------------------------------------------------ text

    def _text(self, sight: Sight) -> None:
        room = WORD_LIMIT
        for page, text in zip(sight.pages, sight.texts, strict=True):
            for trait in page.traits:
                self._one("tag", trait)
            if page.hidden:
                self._some("hidden", _words(fold_case(page.hidden))[:HIDDEN_LIMIT])
            if room > 0:
                room -= self._prose(text, room)

    def _prose(self, text: str, room: int) -> int:
        """The words, and each with the one before it: a phrase says more than its words."""
        words = _words(without_links(text[: room * LONGEST_WORD]))[:room]
        ids = _ids(words)
        if 0 in ids:
            if self._names is not None:
                words = [word for word, number in zip(words, ids, strict=True) if number]
            ids = [number for number in ids if number]
        self._found += ids
        pairs = [_PAIR * one + next_ for one, next_ in itertools.pairwise(ids)]
        self._found += pairs
        if self._names is not None:
            words = list(map(_stem, words))
            self._names |= zip(ids, words, strict=True)
            self._names |= zip(pairs, map(" ".join, itertools.pairwise(words)), strict=True)
        return len(words)


_FEW_LETTERS = 8  # of which capitals say nothing

# Fields that writing programs and lists set; what receivers add says only who collected.
_FIELD_NAMES = """
list-id list-unsubscribe list-post list-unsubscribe-post precedence in-reply-to references
x-priority x-msmail-priority importance mime-version organization errors-to thread-index
dkim-signature auto-submitted x-originating-ip feedback-id x-mimeole date message-id to
"""
_FIELDS = tuple(_FIELD_NAMES.split())
_SHORT = frozenset(("precedence", "x-priority", "x-msmail-priority", "importance"))
_ZONE = re.compile(rb"([+-]\d{4}|[A-Z]{1,4})\)?\s*+\Z")
_RUN = re.compile(r"[0-9]++|[A-Z]++|[a-z]++")
_HOST = re.compile(rb"(?<![A-Za-z0-9.-])[A-Za-z0-9-]{1,63}+(?:\.[A-Za-z0-9-]{1,63}+){1,8}+")

_IPV4_LABELS = 4


def _suffixes(host: str) -> Iterable[str]:
    """The host and its parents down to two labels; of an IPv4 address its networks."""
    labels = host.strip(".").split(".")[-5:]
    if len(labels) == _IPV4_LABELS and all(map(str.isdigit, labels)):
        return [".".join(labels[:size]) for size in (4, 3, 2)]
    found = [".".join(labels[start:]) for start in range(max(1, len(labels) - 1))]
    return [*found, labels[-1]]
