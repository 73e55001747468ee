"""An index of words over kept texts, for searches that need not be exact (RFC 6203).

In the file of the texts, and a cache like them: FTS5 without content and without places, so that
it says which words a message has where, and no more. Brought up to date by who searches.
A word is found whole, as a beginning, and if nobody has it, with one letter wrong.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

import apsw

SCHEMA = """
CREATE VIRTUAL TABLE word USING fts5(
    subject, author, recipient, copied, blind, body,
    content='', contentless_delete=1, detail=column, tokenize="unicode61 remove_diacritics 2"
);
CREATE VIRTUAL TABLE vocabulary USING fts5vocab(word, 'row');
CREATE TABLE worded (key INTEGER PRIMARY KEY);
"""
# Header field -> column.
FIELDS = {
    "subject": "subject",
    "from": "author",
    "to": "recipient",
    "cc": "copied",
    "bcc": "blind",
}
ANYWHERE = (*FIELDS.values(), "body")
TEXT_LIMIT = 128 * 1024  # characters of a field or a body whose words are known
WORDS_LIMIT = 8  # of one text that is asked for
WHOLE, BEGINNING, MISSPELT = 1.0, 0.7, 0.4  # what a word counts that is found so
PREFIX_LEAST = 3  # letters that stand for longer words
TYPO_LEAST = 4  # letters of which one may be wrong
VOCABULARY_LIMIT = 50_000  # words that are looked at for one with a wrong letter
NEAR_LIMIT = 20

# What a word counts that is found there.
_PLACES = (
    (("subject",), 1.0),
    (("author", "recipient", "copied", "blind"), 0.8),
    (("body",), 0.5),
)


def index(connection: apsw.Connection, entries: Iterable[tuple[int, bytes, bytes]]) -> int:
    """Take in the words of texts (key, header, body) that are not known yet; how many were not."""
    fresh = [entry for entry in entries if not _is_known(connection, entry[0])]
    connection.executemany(
        "INSERT INTO word (rowid, subject, author, recipient, copied, blind, body)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        [(key, *_columns(header, body)) for key, header, body in fresh],
    )
    connection.executemany("INSERT INTO worded VALUES (?)", [(entry[0],) for entry in fresh])
    return len(fresh)


def drop(connection: apsw.Connection, keys: Collection[int]) -> None:
    """Forget these messages; their words go with the next `optimise`."""
    known = [(key,) for key in keys if _is_known(connection, key)]
    connection.executemany("DELETE FROM word WHERE rowid = ?", known)
    connection.executemany("DELETE FROM worded WHERE key = ?", known)


def optimise(connection: apsw.Connection) -> None:
    """Write the index anew, without what was dropped."""
    connection.execute("INSERT INTO word (word) VALUES ('optimize')")


def rank(
    connection: apsw.Connection, wanted: Collection[int], text: str, columns: Collection[str]
) -> dict[int, float]:
    """Which of the wanted messages have all words of the text there, and how well, up to 1."""
    words = _tokens(connection, text)[:WORDS_LIMIT]
    found: dict[int, float] = {}
    for number, word in enumerate(words):
        weights = _weights(connection, wanted, word, columns)
        if number:
            weights = {key: found[key] + weights[key] for key in found.keys() & weights.keys()}
        found = weights
    return {key: weight / len(words) for key, weight in found.items()}


def _weights(
    connection: apsw.Connection, wanted: Collection[int], word: str, columns: Collection[str]
) -> dict[int, float]:
    forms = [(f'"{word}"', WHOLE)]
    if len(word) >= PREFIX_LEAST:
        forms.insert(0, (f'"{word}"*', BEGINNING))
    found = _matching(connection, wanted, forms, columns)
    if found or len(word) < TYPO_LEAST:
        return found
    near = [(f'"{one}"', MISSPELT) for one in _near(connection, word)]
    return _matching(connection, wanted, near, columns)


def _matching(
    connection: apsw.Connection,
    wanted: Collection[int],
    forms: Sequence[tuple[str, float]],
    columns: Collection[str],
) -> dict[int, float]:
    found: dict[int, float] = {}
    for place, weight in reversed(_PLACES):  # what counts more comes later, and stays
        names = " ".join(name for name in place if name in columns)
        for form, quality in forms if names else ():
            question = f"{{{names}}} : {form}"
            rows = _rows(connection, "SELECT rowid FROM word WHERE word MATCH ?", question)
            value = weight * quality
            for (key,) in rows:
                if key in wanted and found.get(key, 0.0) < value:
                    found[key] = value
    return found


def _near(connection: apsw.Connection, word: str) -> list[str]:
    """Known words that begin alike and differ by one letter: more, less, other, or exchanged."""
    rows = _rows(
        connection,
        "SELECT term FROM vocabulary WHERE term >= ? AND term < ? LIMIT ?",
        word[0],
        word[0] + chr(0x10FFFF),
        VOCABULARY_LIMIT,
    )
    return [term for (term,) in rows if _differs_little(word, term)][:NEAR_LIMIT]


def _differs_little(one: str, other: str) -> bool:
    if abs(len(one) - len(other)) > 1 or one == other:
        return False
    start = 0
    while start < min(len(one), len(other)) and one[start] == other[start]:
        start += 1
    one, other = one[start:], other[start:]
    exchanged = one[:2] == other[1::-1] and one[2:] == other[2:]
    return exchanged or one[1:] == other or one == other[1:] or one[1:] == other[1:]


def _columns(header: bytes, body: bytes) -> tuple[str, ...]:
    """The texts of the columns, made of the lines `name: value` of the header."""
    values: dict[str, list[str]] = {column: [] for column in FIELDS.values()}
    for line in header.decode("utf-8", "replace").split("\r\n"):
        name, _, value = line.partition(":")
        if column := FIELDS.get(name):
            values[column].append(value)
    texts = ("\n".join(values[column])[:TEXT_LIMIT] for column in FIELDS.values())
    return (*texts, body[: 4 * TEXT_LIMIT].decode("utf-8", "replace")[:TEXT_LIMIT])


def _tokens(connection: apsw.Connection, text: str) -> list[str]:
    """The words as the index has them, each once."""
    tokenizer = connection.fts5_tokenizer("unicode61", ["remove_diacritics", "2"])
    octets = text[:TEXT_LIMIT].encode("utf-8", "replace")
    found = tokenizer(octets, apsw.FTS5_TOKENIZE_QUERY, None, include_offsets=False)
    return list(dict.fromkeys(str(word) for words in found for word in words))


def _is_known(connection: apsw.Connection, key: int) -> bool:
    return any(_rows(connection, "SELECT 1 FROM worded WHERE key = ?", key))


def _rows(connection: apsw.Connection, sql: str, *values: int | str) -> Iterator[tuple[Any, ...]]:
    return connection.execute(sql, values)
