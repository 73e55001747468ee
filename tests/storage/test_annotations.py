"""Annotations of mailboxes and of the server, and how many there may be."""

from collections.abc import Callable

import pytest

from mailstead.model.address import Domain, parse_address
from mailstead.model.errors import Refusal
from mailstead.model.numbers import AccountId
from mailstead.storage import accounts, annotations, mailboxes
from mailstead.storage.annotations import (
    ENTRIES_LIMIT,
    SERVER_ENTRIES_LIMIT,
    TOTAL_LIMIT,
    VALUE_LIMIT,
    Scope,
)
from mailstead.storage.store import Store, Tx

Open = Callable[[], Store]
ALICE, BOB, EVE = (AccountId(number) for number in (1, 2, 3))
PRIVATE, SHARED = "/private/comment", "/shared/comment"
BOTH = (PRIVATE, SHARED)


def populate(tx: Tx) -> None:
    for name, people in {"example.org": ("alice", "bob"), "example.net": ("eve",)}.items():
        organisation = accounts.create_organisation(tx, name)
        accounts.create_domain(tx, organisation, Domain(name))
        for one in people:
            accounts.create_account(tx, parse_address(f"{one}@{name}"), "hash")


async def prepared(open_store: Open) -> Store:
    store = open_store()
    await store.write(populate)
    return store


def inbox(tx: Tx, account: AccountId = ALICE) -> Scope:
    return annotations.of_mailbox(account, mailboxes.get(tx, ALICE, "INBOX").id)


async def test_private_and_shared(open_store: Open) -> None:
    store = await prepared(open_store)
    for of in (inbox, annotations.of_server):
        for account, word in ((ALICE, b"a"), (BOB, b"b"), (EVE, b"e")):
            await store.write(
                lambda tx, of=of, who=account, word=word: annotations.put(  # type: ignore[misc]
                    tx, of(tx, who), [(PRIVATE, word), (SHARED, word)]
                )
            )
        found = await store.read(
            lambda tx, of=of: [  # type: ignore[misc]
                annotations.find(tx, of(tx, who), BOTH, False) for who in (ALICE, BOB, EVE)
            ]
        )
        last = b"b" if of == annotations.of_server else b"e"
        assert found == [
            {PRIVATE: b"a", SHARED: last},
            {PRIVATE: b"b", SHARED: last},
            {PRIVATE: b"e", SHARED: b"e"},
        ]
    await store.close()


async def test_what_lies_below(open_store: Open) -> None:
    store = await prepared(open_store)
    names = ("/private/a_b", "/private/a_b/c", "/private/a_b/c/d", "/private/axb/c", "/shared/a!")
    await store.write(lambda tx: annotations.put(tx, inbox(tx), [(name, b"x") for name in names]))
    for roots, expected in {
        ("/private/a_b",): list(names[:3]),
        ("/private", "/shared"): sorted(names),
        ("/shared/a!",): ["/shared/a!"],
        ("/private/a",): [],
    }.items():
        found = await store.read(
            lambda tx, roots=roots: annotations.find(tx, inbox(tx), roots, True)  # type: ignore[misc]
        )
        assert list(found) == expected
    await store.close()


@pytest.mark.rfc("5464 section 4.1")
async def test_they_go_with_the_mailbox(open_store: Open) -> None:
    store = await prepared(open_store)
    await store.write(lambda tx: mailboxes.create(tx, ALICE, "Work"))
    work = await store.read(lambda tx: mailboxes.get(tx, ALICE, "Work").id)
    scope = annotations.of_mailbox(BOB, work)
    await store.write(lambda tx: annotations.put(tx, scope, [(PRIVATE, b"b"), (SHARED, b"s")]))
    found = await store.read(lambda tx: annotations.find_in(tx, BOB, [work], BOTH))
    assert found == {work: {PRIVATE: b"b", SHARED: b"s"}}
    await store.write(lambda tx: mailboxes.delete(tx, ALICE, "Work"))
    assert await store.read(lambda tx: tx.value("SELECT count(*) FROM annotation")) == 0
    await store.close()


@pytest.mark.rfc("5464 section 4.3")
async def test_limits(open_store: Open) -> None:
    store = await prepared(open_store)

    async def refused(of: Callable[[Tx], Scope], *values: tuple[str, bytes]) -> str:
        try:
            await store.write(lambda tx: annotations.put(tx, of(tx), values))
        except Refusal as refusal:
            return refusal.code
        return ""

    def server(tx: Tx) -> Scope:
        return annotations.of_server(tx, ALICE)

    long, full = b"x" * (VALUE_LIMIT + 1), b"x" * VALUE_LIMIT
    assert (
        await refused(inbox, (SHARED, b"x"), (PRIVATE, long)) == f"METADATA MAXSIZE {VALUE_LIMIT}"
    )
    assert await store.read(lambda tx: annotations.find(tx, inbox(tx), BOTH, False)) == {}
    for of, limit in ((inbox, ENTRIES_LIMIT), (server, SERVER_ENTRIES_LIMIT)):
        many = [(f"/private/{number}", b"x") for number in range(limit)]
        assert await refused(of, *many) == ""
        assert await refused(of, (PRIVATE, b"x")) == "METADATA TOOMANY"
        assert await refused(of, ("/private/7", b"y"), (SHARED, b"x")) == ""
    for kind, of in (("shared", inbox), ("private", inbox), ("shared", server)):
        fitting = TOTAL_LIMIT // VALUE_LIMIT - 1
        many = [(f"/{kind}/{number}", full) for number in range(fitting)]
        assert await refused(of, *many) == ""
        last = (f"/{kind}/{fitting}", full)
        assert await refused(of, last) == "METADATA TOOMANY"
        other = annotations.of_mailbox(ALICE, 2)  # type: ignore[arg-type]
        if of == inbox:
            assert await refused(lambda tx, to=other: to, last) == "METADATA TOOMANY"  # type: ignore[misc]
    await store.close()
