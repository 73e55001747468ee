"""The tables of a store, page by page."""

from collections.abc import Callable

import pytest

from mailstead.model.errors import Refusal
from mailstead.storage import copying
from mailstead.storage.copying import NOT_COPIED, TELLTALES, Row, Table
from mailstead.storage.store import Store, Tx

from .contending import populate

Open = Callable[[], Store]

TABLE = Table("address", ("domain", "local_part", "account"), ("domain", "local_part"), heavy=False)
ROWS = [
    (domain, name, number) for number, (domain, name) in enumerate([(1, "a"), (1, "b"), (2, "")])
]


def described(tx: Tx, is_postgres: bool) -> dict[str, tuple[list[str], list[str]]]:
    """Table -> columns, and those of the primary key, as the database tells them."""
    if not is_postgres:
        names = [name for (name,) in tx.rows("SELECT name FROM sqlite_schema WHERE type = 'table'")]
        infos = {
            name: tx.rows(f"SELECT name, pk FROM pragma_table_info('{name}')") for name in names
        }
        return {
            name: (
                [column for column, _ in info],
                [c for c, at in sorted(info, key=lambda i: i[1]) if at],
            )
            for name, info in infos.items()
        }
    columns = tx.rows(
        "SELECT table_name, column_name FROM information_schema.columns"
        " WHERE table_schema = current_schema() ORDER BY table_name, ordinal_position"
    )
    keys = tx.rows(
        "SELECT t.table_name, k.column_name FROM information_schema.table_constraints t"
        " JOIN information_schema.key_column_usage k USING (constraint_schema, constraint_name)"
        " WHERE t.constraint_schema = current_schema() AND t.constraint_type = 'PRIMARY KEY'"
        " ORDER BY t.table_name, k.ordinal_position"
    )
    return {
        name: ([c for t, c in columns if t == name], [c for t, c in keys if t == name])
        for name in {t for t, _ in columns}
    }


async def test_every_table_is_copied_with_all_columns_by_its_key(
    open_store: Open, request: pytest.FixtureRequest
) -> None:
    store = open_store()
    is_postgres = "postgres" in request.node.name
    found = await store.read(lambda tx: described(tx, is_postgres))
    expected = {table.name: (list(table.columns), list(table.key)) for table in copying.tables()}
    for name in (*NOT_COPIED, "schema_version"):
        del found[name]
    assert found == expected
    assert expected.keys() >= TELLTALES
    await store.close()


async def test_pages_are_all_rows_in_order_each_once(
    open_store: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copying, "PAGE", 2)
    monkeypatch.setattr(copying, "HEAVY_PAGE", 2)
    store = open_store()
    await store.write(populate)
    for table in copying.tables():
        rows: list[Row] = []
        after = None
        while page := await store.read(lambda tx, t=table, a=after: copying.read_page(tx, t, a)):  # type: ignore[misc]
            assert len(page) <= 2
            rows += page
            after = copying.key_of(table, page[-1])
        keys = [copying.key_of(table, row) for row in rows]
        assert keys == sorted(set(keys))
        assert len(rows) == await store.read(lambda tx, t=table: copying.count(tx, t))  # type: ignore[misc]
    await store.close()


async def test_a_page_is_written_once(open_store: Open) -> None:
    store = open_store()
    assert await store.write(copying.begin)
    for _ in range(2):  # as if the answer to the first commit had been lost
        await store.write(lambda tx: copying.write_page(tx, TABLE, None, ROWS[:2]))
    assert await store.read(lambda tx: copying.position(tx, TABLE)) == (1, "b")
    for _ in range(2):
        await store.write(lambda tx: copying.write_page(tx, TABLE, (1, "b"), ROWS[2:]))
    assert await store.read(lambda tx: copying.read_page(tx, TABLE, None)) == ROWS
    assert await store.read(lambda tx: copying.read_page(tx, TABLE, (1, "a"))) == ROWS[1:]
    await store.close()


async def test_a_copy_may_begin_in_an_empty_store_and_go_on(open_store: Open) -> None:
    store = open_store()
    await store.read(copying.check_finished)
    assert [await store.write(copying.begin) for _ in range(2)] == [True, True]
    await store.write(populate)
    assert await store.write(copying.begin)
    with pytest.raises(Refusal, match="run `mailstead store copy` again"):
        await store.read(copying.check_finished)
    await store.write(copying.finish)
    await store.read(copying.check_finished)
    assert not await store.write(copying.begin)
    await store.close()


@pytest.mark.parametrize(
    ("rows", "others", "same"),
    [
        ([(1, "a", b"x")], [(1, "a", b"x")], True),
        ([(1, "a\0", None)], [(1, "a\ufffd", None)], True),
        ([(1, "a", b"x\0")], [(1, "a", b"x\xef\xbf\xbd")], False),
        ([(1, "a", b"x")], [(1, "a", b"y")], False),
        ([(1,), (2,)], [(2,), (1,)], False),
        ([(1, 2)], [(1,), (2,)], False),
        ([(None,)], [(0,)], False),
        ([(0,)], [("0",)], False),
        ([("a", "bc")], [("ab", "c")], False),
        ([], [(None,)], False),
    ],
)
def test_digest(rows: list[Row], others: list[Row], same: bool) -> None:
    assert (copying.digest(rows) == copying.digest(others)) == same


def test_a_digest_goes_on_from_another() -> None:
    first = copying.digest([(1,)])
    assert copying.digest([(2,)], first) != copying.digest([(2,)])
    assert copying.digest([(2,)], first) != copying.digest([(1,)], copying.digest([(2,)]))
