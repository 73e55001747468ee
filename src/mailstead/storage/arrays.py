"""Columns of values as PostgreSQL arrays in binary: one parameter for all rows of a statement.

psycopg's own dumper asks every item for its type; here the column is known, and a whole column is
packed at once. Layout: dimensions, has-null flag, element type, length, lower bound, then each
item with its length, -1 for NULL (PostgreSQL: array_send).
"""

import struct
from collections.abc import Sequence
from typing import Any

from psycopg import Connection
from psycopg.adapt import Dumper
from psycopg.pq import Format
from psycopg.types.numeric import Int8BinaryDumper, NumericBinaryLoader
from psycopg.types.string import StrDumper

_BIGINT, _TEXT, _BYTEA = 20, 25, 17  # pg_type.oid
_BIGINTS, _TEXTS, _BYTEAS = 1016, 1009, 1001
_HEAD = struct.Struct(">iiIii")
_LENGTH = struct.Struct(">i").pack
_NULL = _LENGTH(-1)


class Column:
    """The values of one column; the type is as PostgreSQL names it."""

    __slots__ = ("type", "values")

    def __init__(self, type_: str, values: Sequence[Any]) -> None:
        self.type, self.values = type_, values


class ColumnDumper(Dumper):
    """A Column as the array of its type."""

    format = Format.BINARY

    def __init__(self, cls: type, context: Any = None) -> None:
        super().__init__(cls, context)
        self.oid = _TEXTS

    def get_key(self, obj: Column, format: Any) -> Any:
        """One dumper for each type of column."""
        return (self.cls, obj.type)

    def upgrade(self, obj: Column, format: Any) -> "ColumnDumper":
        """The dumper for this column's type."""
        dumper = ColumnDumper(self.cls)
        dumper.oid = {"bigint": _BIGINTS, "text": _TEXTS, "bytea": _BYTEAS}[obj.type]
        return dumper

    def dump(self, obj: Column) -> bytes:
        """The octets of the array."""
        if obj.type == "bigint":
            return _numbers(obj.values)
        if obj.type == "text":
            texts = [None if text is None else _octets(text) for text in obj.values]
            return _strings(_TEXT, texts)
        return _strings(_BYTEA, obj.values)


def _numbers(values: Sequence[int | None]) -> bytes:
    if None in values:
        items = [
            None if value is None else value.to_bytes(8, "big", signed=True) for value in values
        ]
        return _strings(_BIGINT, items)
    flat = [8] * (2 * len(values))
    flat[1::2] = values  # type: ignore[assignment]
    head = _HEAD.pack(1, 0, _BIGINT, len(values), 1)
    return head + struct.pack(">" + "iq" * len(values), *flat)


def _strings(oid: int, values: Sequence[bytes | None]) -> bytes:
    parts = [_HEAD.pack(1, int(None in values), oid, len(values), 1)]
    for value in values:
        if value is None:
            parts.append(_NULL)
        else:
            parts += (_LENGTH(len(value)), value)
    return b"".join(parts)


def _octets(text: str) -> bytes:
    return text.replace("\0", "\ufffd").encode() if "\0" in text else text.encode()


class TextDumper(StrDumper):
    """A text without NUL, which PostgreSQL does not keep."""

    def dump(self, obj: str) -> Any:
        """The octets."""
        return super().dump(obj.replace("\0", "\ufffd") if "\0" in obj else obj)


class WholeNumberLoader(NumericBinaryLoader):
    """A sum of bigints, which PostgreSQL makes a numeric, as the whole number that it is."""

    def load(self, data: Any) -> Any:
        """The number."""
        return int(super().load(data))


def teach(connection: Connection[Any]) -> None:
    """Make the connection understand what our SQL gives and takes."""
    adapters = connection.adapters
    adapters.register_dumper(int, Int8BinaryDumper)  # one prepared statement, whatever the size
    adapters.register_dumper(str, TextDumper)
    adapters.register_dumper(Column, ColumnDumper)
    adapters.register_loader("numeric", WholeNumberLoader)
