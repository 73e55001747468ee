"""Where the databases differ: words of the migrations, and how PostgreSQL spells shared SQL.

SQL is written once, with `:named` parameters. SQLite takes it as it is. For PostgreSQL the
parameters become psycopg's, and what is done for many rows becomes one statement over arrays.
"""

import re
from collections.abc import Mapping
from functools import cache

import msgspec

SQLITE = {
    "@id": "INTEGER NOT NULL PRIMARY KEY",
    "@int": "INTEGER",
    "@bytes": "BLOB",
    "@clustered": "WITHOUT ROWID",
    "@postgres": "--",
}
POSTGRES = {
    "@id": "BIGINT NOT NULL PRIMARY KEY",
    "@int": "BIGINT",
    "@bytes": "BYTEA",
    "@clustered": "",
    "@postgres": "",
    " TEXT": ' TEXT COLLATE "C"',  # names are compared by their octets, as SQLite does
}

_PARAMETER = re.compile(r"(?<![:\w]):([a-z_]\w*)")
_INTO = re.compile(r"INSERT INTO (\w+) \(([^)]*)\) VALUES \((.*?)\)( ON CONFLICT .*)?", re.DOTALL)
_UPDATE = re.compile(r"UPDATE (\w+) SET (.*) WHERE (.*)", re.DOTALL)
_DELETE = re.compile(r"DELETE FROM (\w+) WHERE (.*)", re.DOTALL)
_ASSIGNED = re.compile(r"(\w+) (?:=|<=|>=|<|>) :([a-z_]\w*)")

Types = Mapping[tuple[str, str], str]  # (table, column) -> type


class Bulk(msgspec.Struct, frozen=True):
    """A statement for many rows at once; each name is the parameter for an array of the type."""

    sql: str
    columns: tuple[tuple[str, str], ...]


def spell(migration: str, words: dict[str, str]) -> str:
    """The migration as this database spells it."""
    for word, meaning in words.items():
        migration = migration.replace(word, meaning)
    return migration


@cache
def for_psycopg(sql: str) -> str:
    """The statement with psycopg's parameters."""
    return _PARAMETER.sub(r"%(\1)s", sql.replace("%", "%%"))


@cache
def each_for_psycopg(sql: str) -> str:
    """A statement about `id = :id`, for all ids of an array."""
    return for_psycopg(sql).replace("= %(id)s", "= ANY(%(id)s)")


def bulk(sql: str, types: Types) -> Bulk:
    """INSERT, UPDATE or DELETE of one row, for arrays of values."""
    if match := _INTO.fullmatch(sql):
        table, columns, values, rest = match.groups()
        named = list(zip(_split(values), _split(columns), strict=True))
        found = {value[1:]: column for value, column in named if value.startswith(":")}
        return _bulk(
            f"INSERT INTO {table} ({columns}) SELECT {values} FROM", "", rest, found, table, types
        )
    if match := _UPDATE.fullmatch(sql):
        table, changes, where = match.groups()
        return _bulk(f"UPDATE {table} SET {changes} FROM", where, "", _named(sql), table, types)
    if match := _DELETE.fullmatch(sql):
        table, where = match.groups()
        return _bulk(f"DELETE FROM {table} USING", where, "", _named(sql), table, types)
    raise ValueError(f"no statement for many rows: {sql}")


def _bulk(
    start: str, where: str, rest: str | None, found: dict[str, str], table: str, types: Types
) -> Bulk:
    """`found` is parameter -> column. A parameter `x` becomes the column `row.p_x`."""
    columns = tuple((name, types[table, column]) for name, column in found.items())
    arrays = ", ".join(f"%({name})s::{type_}[]" for name, type_ in columns)
    names = ", ".join(f"p_{name}" for name, _ in columns)
    text = f"{start} unnest({arrays}) AS row_ ({names})"
    if where:
        text += f" WHERE {where}"
    return Bulk(_PARAMETER.sub(r"row_.p_\1", text + (rest or "")), columns)


def _named(sql: str) -> dict[str, str]:
    return {name: column for column, name in _ASSIGNED.findall(sql)}


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",")]
