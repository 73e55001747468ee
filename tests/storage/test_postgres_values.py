"""What PostgreSQL is given and gives back: statements as it spells them, and all values."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailstead.net.clock import SystemClock
from mailstead.storage import dialect
from mailstead.storage.packfile import PackFolder
from mailstead.storage.postgres_tx import PLAIN, DatabaseClock, Link, PostgresTx
from mailstead.storage.sqlite import SqliteStore
from mailstead.storage.store import Tx

NUMBERS = st.none() | st.integers(-(2**63), 2**63 - 1)
TEXTS = st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
OCTETS = st.none() | st.binary(max_size=20)
ROWS = st.lists(st.tuples(NUMBERS, TEXTS, OCTETS), min_size=1, max_size=20)
EXTREMES: list[tuple[int | None, str | None, bytes | None]] = [
    (None, None, None),
    (0, "", b""),
    (-1, "\0", b"\0"),
    (2**63 - 1, "a\0b", bytes(range(256))),
    (-(2**63), "\u20ac \U0001f4ec \uffff", b"%s :name"),
    (2**32, "%(name)s :name ?", b"x" * 300_000),
]

TYPES = {("t", "id"): "bigint", ("t", "name"): "text", ("t", "data"): "bytea"}


@pytest.fixture
def tx(postgres: str, tmp_path: Path) -> Iterator[PostgresTx]:
    """A transaction on a table of one column of each kind."""
    clock = DatabaseClock(SystemClock(), follow=True)
    tx = PostgresTx(Link(postgres), clock, PackFolder(tmp_path).reader())
    tx.begin(PLAIN)
    tx.run("CREATE TABLE t (id bigint, name text, data bytea, at bigint)")
    tx.commit()
    tx.begin(PLAIN)
    yield tx
    tx.rollback()
    tx.close()


def kept(row: tuple[Any, Any, Any]) -> tuple[Any, Any, Any]:
    """As PostgreSQL keeps it, which has no NUL in a text."""
    number, text, octets = row
    return number, None if text is None else text.replace("\0", "\ufffd"), octets


INSERT = "INSERT INTO t (at, id, name, data) VALUES (:at, :id, :name, :data)"


@pytest.mark.postgres
@pytest.mark.parametrize("rows", [EXTREMES, *([row] for row in EXTREMES)])
def test_extreme_values_come_back(tx: PostgresTx, rows: list[tuple[Any, Any, Any]]) -> None:
    come_back(tx, rows)


@pytest.mark.postgres
def test_any_values_come_back(tx: PostgresTx) -> None:
    @settings(max_examples=200, deadline=None)
    @given(ROWS)
    def check(rows: list[tuple[Any, Any, Any]]) -> None:
        come_back(tx, rows)

    check()


def come_back(tx: PostgresTx, rows: list[tuple[Any, Any, Any]]) -> None:
    """In one statement over arrays, and in one for each."""
    expected = [kept(row) for row in rows]
    values = [
        {"at": at, "id": number, "name": text, "data": octets}
        for at, (number, text, octets) in enumerate(rows)
    ]
    tx.many(INSERT, values)
    assert tx.rows("SELECT id, name, data FROM t ORDER BY at") == expected
    tx.run("DELETE FROM t")
    for one in values:
        tx.run(INSERT, **one)
        found = tx.row("SELECT id, name, data FROM t WHERE at = :at", at=one["at"])
        assert found == expected[one["at"]]
    tx.run("DELETE FROM t")


@pytest.mark.postgres
@pytest.mark.parametrize("number", [2**63, -(2**63) - 1])
def test_a_number_that_is_too_big_is_not_cut(tx: PostgresTx, number: int) -> None:
    with pytest.raises(Exception, match="int"):
        tx.many(INSERT, [{"at": 0, "id": number, "name": "", "data": b""}])
    assert tx.value("SELECT count(*) FROM t") == 0


@pytest.mark.postgres
def test_a_sum_is_a_whole_number(tx: PostgresTx) -> None:
    tx.many(INSERT, [{"at": n, "id": 2**62, "name": "", "data": b""} for n in range(4)])
    total = tx.value("SELECT sum(id) FROM t")
    assert (total, type(total)) == (2**64, int)


@pytest.mark.postgres
def test_many_updates_and_deletes_the_rows_that_are_meant(tx: PostgresTx) -> None:
    tx.many(INSERT, [{"at": n, "id": n, "name": "old", "data": None} for n in range(5)])
    tx.many(
        "UPDATE t SET name = :name, data = :data WHERE id = :id AND at <= :upto",
        [{"id": n, "name": f"new {n}", "data": b"%d" % n, "upto": 2} for n in (1, 2, 3)],
    )
    tx.many("DELETE FROM t WHERE id = :id", [{"id": 0}, {"id": 7}])
    assert tx.rows("SELECT id, name, data FROM t ORDER BY id") == [
        (1, "new 1", b"1"),
        (2, "new 2", b"2"),
        (3, "old", None),
        (4, "old", None),
    ]
    assert sorted(tx.each("SELECT id FROM t WHERE id = :id", [1, 4, 9])) == [(1,), (4,)]
    assert tx.lock("SELECT id FROM t WHERE id = :id", [4, 1]) == [(1,), (4,)]
    assert tx.each("SELECT id FROM t WHERE id = :id", []) == []
    tx.many("DELETE FROM t WHERE id = :id", [])


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT 1", "SELECT 1"),
        ("a = :a AND b LIKE '%x'", "a = %(a)s AND b LIKE '%%x'"),
        ("a = :a::text", "a = %(a)s::text"),
        ("at > '12:30' AND x = :x_1", "at > '12:30' AND x = %(x_1)s"),
        ("x IN (:a, :a, :b)", "x IN (%(a)s, %(a)s, %(b)s)"),
    ],
)
def test_for_psycopg(sql: str, expected: str) -> None:
    assert dialect.for_psycopg(sql) == expected


@pytest.mark.parametrize(
    ("sql", "expected", "columns"),
    [
        (
            "INSERT INTO t (id, name) VALUES (:id, :name)",
            "INSERT INTO t (id, name) SELECT row_.p_id, row_.p_name FROM"
            " unnest(%(id)s::bigint[], %(name)s::text[]) AS row_ (p_id, p_name)",
            [("id", "bigint"), ("name", "text")],
        ),
        (
            "INSERT INTO t (id, name) VALUES (:key, '') ON CONFLICT DO NOTHING",
            "INSERT INTO t (id, name) SELECT row_.p_key, '' FROM"
            " unnest(%(key)s::bigint[]) AS row_ (p_key) ON CONFLICT DO NOTHING",
            [("key", "bigint")],
        ),
        (
            "UPDATE t SET data = :data, name = '' WHERE id = :id AND name IS NOT NULL",
            "UPDATE t SET data = row_.p_data, name = '' FROM"
            " unnest(%(data)s::bytea[], %(id)s::bigint[]) AS row_ (p_data, p_id)"
            " WHERE id = row_.p_id AND name IS NOT NULL",
            [("data", "bytea"), ("id", "bigint")],
        ),
        (
            "DELETE FROM t WHERE id = :id AND name >= :after",
            "DELETE FROM t USING unnest(%(id)s::bigint[], %(after)s::text[]) AS row_"
            " (p_id, p_after) WHERE id = row_.p_id AND name >= row_.p_after",
            [("id", "bigint"), ("after", "text")],
        ),
    ],
)
def test_bulk(sql: str, expected: str, columns: list[tuple[str, str]]) -> None:
    found = dialect.bulk(sql, TYPES)
    assert (found.sql, list(found.columns)) == (expected, columns)


def test_bulk_knows_no_other_statements() -> None:
    with pytest.raises(ValueError, match="no statement for many rows"):
        dialect.bulk("SELECT 1", TYPES)


@pytest.mark.postgres
async def test_names_are_ordered_as_sqlite_orders_them(tx: PostgresTx, tmp_path: Path) -> None:
    names = ["a", "B", "b", "", "\u00e4", "Z", "\U0001f4ec", "\uffff", "a ", "a\x01"]
    rows = [{"at": n, "id": n, "name": name, "data": None} for n, name in enumerate(names)]

    def order(tx: Tx, table: str) -> list[str]:
        tx.run(f"CREATE TABLE {table} (at bigint, id bigint, name TEXT, data bytea)")
        tx.many(INSERT.replace("INTO t ", f"INTO {table} "), rows)
        return [name for (name,) in tx.rows(f"SELECT name FROM {table} ORDER BY name")]

    store = SqliteStore(tmp_path / "mailstead.db", SystemClock())
    expected = await store.write(lambda tx: order(tx, "named"))
    await store.close()
    spelled = dialect.spell("(at @int, id @int, name TEXT, data @bytes)", dialect.POSTGRES)
    tx.run(f"CREATE TABLE named {spelled}")
    tx.many(INSERT.replace("INTO t ", "INTO named "), rows)
    assert [name for (name,) in tx.rows("SELECT name FROM named ORDER BY name")] == expected
