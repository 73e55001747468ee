"""The tables of a store, page by page, for a copy in another store.

The copy notes how far it is in the transaction that writes a page, so a broken one goes on where it
was. Digests of pages say whether both stores hold the same.
Not here: packs, which are files (services.copying).
"""

import hashlib
import re
from collections.abc import Sequence
from typing import Any

import msgspec

from mailstead.model.errors import Refusal
from mailstead.storage import schema
from mailstead.storage.store import Tx

PAGE = 500  # rows
HEAVY_PAGE = 64  # rows of a table that holds octets: parts of bodies have 256 KiB
NOT_COPIED = {"copied"}
TELLTALES = {"sequence", "account", "queue"}  # some row of these changes with whatever happens

_TABLE = re.compile(r"CREATE TABLE (\w+) \((.*?)\n\)", re.DOTALL)
_COLUMN = re.compile(r"^    (\w+) (@\w+|TEXT)", re.MULTILINE)
_ADDED = re.compile(r"^ALTER TABLE (\w+) ADD COLUMN (\w+) (@\w+|TEXT)", re.MULTILINE)
_KEY = re.compile(r"PRIMARY KEY \(([^)]*)\)")
_INLINE_KEY = re.compile(r"^    (\w+) (?:@id|[^,\n]*PRIMARY KEY)", re.MULTILINE)


class Table(msgspec.Struct, frozen=True):
    """A table: its columns, and those that its rows are ordered by."""

    name: str
    columns: tuple[str, ...]
    key: tuple[str, ...]
    heavy: bool

    @property
    def page(self) -> int:
        """Rows that are copied at once."""
        return HEAVY_PAGE if self.heavy else PAGE


Row = tuple[Any, ...]


def tables() -> list[Table]:
    """Every table that the migrations make, in their order."""
    whole = "\n".join(schema.migrations().values())
    added: dict[str, list[tuple[str, str]]] = {}
    for table, column, type_ in _ADDED.findall(whole):
        added.setdefault(table, []).append((column, type_))
    return [
        _table(name, body, added.get(name, []))
        for name, body in _TABLE.findall(whole)
        if name not in NOT_COPIED
    ]


def _table(name: str, body: str, added: list[tuple[str, str]]) -> Table:
    columns = _COLUMN.findall(body) + added
    found = _KEY.search(body)
    key = tuple(re.findall(r"\w+", found[1])) if found else (_INLINE_KEY.findall(body)[0],)
    heavy = any(type_ == "@bytes" for _, type_ in columns)
    return Table(name, tuple(column for column, _ in columns), key, heavy)


def read_page(tx: Tx, table: Table, after: Row | None) -> list[Row]:
    """The next rows behind this key, in the order of the key."""
    where, values = "", {}
    if after is not None:
        names = [f"k{number}" for number in range(len(after))]
        values = dict(zip(names, after, strict=True))
        parameters = ", ".join(f":{name}" for name in names)
        where = f" WHERE ({', '.join(table.key)}) > ({parameters})"
    return tx.rows(
        f"SELECT {', '.join(table.columns)} FROM {table.name}{where}"
        f" ORDER BY {', '.join(table.key)} LIMIT :limit",
        limit=table.page,
        **values,
    )


def key_of(table: Table, row: Row) -> Row:
    """What the row is ordered by."""
    return tuple(row[table.columns.index(column)] for column in table.key)


def count(tx: Tx, table: Table) -> int:
    """How many rows there are."""
    number: int = tx.value(f"SELECT count(*) FROM {table.name}")
    return number


def digest(rows: Sequence[Row], before: bytes = b"") -> bytes:
    """A digest of these rows after others. NUL in a text, which PostgreSQL has not, is U+FFFD."""
    told = [[_told(value) for value in row] for row in rows]
    return hashlib.blake2b(before + msgspec.msgpack.encode(told), digest_size=32).digest()


def _told(value: Any) -> Any:
    return value.replace("\0", "\ufffd") if isinstance(value, str) else value


# ---------------------------------------------------------------------- the copy's own notes


def begin(tx: Tx) -> bool:
    """Make ready to write a copy here; False if mail is here that is no unfinished copy."""
    if tx.value("SELECT 1 FROM copied LIMIT 1"):
        return True
    if tx.value("SELECT 1 FROM organisation LIMIT 1"):
        return False
    tx.run("INSERT INTO copied (name, position) VALUES (:name, :none)", name="", none="")
    return True


def position(tx: Tx, table: Table) -> Row | None:
    """The key of the last row that was copied."""
    text = tx.value("SELECT position FROM copied WHERE name = :name", name=table.name)
    return None if text is None else tuple(msgspec.json.decode(text))


def write_page(tx: Tx, table: Table, after: Row | None, rows: Sequence[Row]) -> None:
    """Add the rows behind `after`, and note how far the copy is; nothing if they are there."""
    if position(tx, table) != after:
        return  # this runs again: the answer to its commit was lost
    names = ", ".join(f":{column}" for column in table.columns)
    tx.many(
        f"INSERT INTO {table.name} ({', '.join(table.columns)}) VALUES ({names})",
        [dict(zip(table.columns, row, strict=True)) for row in rows],
    )
    tx.run(
        "INSERT INTO copied (name, position) VALUES (:name, :position)"
        " ON CONFLICT (name) DO UPDATE SET position = excluded.position",
        name=table.name,
        position=msgspec.json.encode(key_of(table, rows[-1])).decode(),
    )


def check_finished(tx: Tx) -> None:
    """Refusal if this is a copy that was not finished."""
    if tx.value("SELECT 1 FROM copied LIMIT 1"):
        raise Refusal(
            "the store is an unfinished copy of another: run `mailstead store copy` again"
        )


def finish(tx: Tx) -> None:
    """It is a store like any other now."""
    tx.run("DELETE FROM copied")
