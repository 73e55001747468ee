"""Who may do what in whose mailboxes."""

from collections.abc import Callable

import pytest

from mailstead.model.address import Domain, parse_address
from mailstead.model.errors import Refusal
from mailstead.model.mailbox import Mailbox
from mailstead.model.numbers import AccountId
from mailstead.storage import accounts, annotations, mailboxes, rights
from mailstead.storage.rights import ANYONE, EVERY, Granted, Place
from mailstead.storage.store import Store, Tx
from mailstead.testing.invariants import broken

Open = Callable[[], Store]
ALICE, BOB, CAROL, EVE = (AccountId(number) for number in (1, 2, 3, 4))
PROJECTS = "Other Users/alice@example.org/Projects"


def populate(tx: Tx) -> None:
    for name, people in {"example.org": ("alice", "bob", "carol"), "example.net": ("eve",)}.items():
        organisation = accounts.create_organisation(tx, name)
        accounts.create_domain(tx, organisation, Domain(name))
        for one in people:
            accounts.create_account(tx, parse_address(f"{one}@{name}"), "hash")
    mailboxes.create(tx, ALICE, "Projects/2026")


def grant(tx: Tx, name: str, who: AccountId, letters: str) -> None:
    rights.grant(tx, mailboxes.get(tx, ALICE, name), who, letters)


async def prepared(open_store: Open) -> Store:
    store = open_store()
    await store.write(populate)
    return store


@pytest.mark.parametrize("few", [0, rights.FEW])
async def test_rights_of_ones_own_and_of_anyone_add_up(
    open_store: Open, few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rights, "FEW", few)  # in an organisation of more it is looked up otherwise
    store = await prepared(open_store)
    await store.write(lambda tx: grant(tx, "Projects", ANYONE, "lr"))
    await store.write(lambda tx: grant(tx, "Projects", BOB, "rws"))
    await store.write(lambda tx: grant(tx, "Projects", EVE, EVERY))  # as if she had moved
    found = await store.read(
        lambda tx: [rights.find(tx, who, PROJECTS) for who in (BOB, CAROL, EVE)]
    )
    assert [one and one.rights for one in found] == ["lrsw", "lr", None]
    assert found[0] is not None
    assert (found[0].mailbox.account, found[0].mailbox.name) == (ALICE, PROJECTS)
    shared = await store.read(
        lambda tx: [rights.list_shared(tx, who) for who in (ALICE, BOB, CAROL, EVE)]
    )
    assert [[(one.mailbox.name, one.rights) for one in each] for each in shared] == [
        [],
        [(PROJECTS, "lrsw")],
        [(PROJECTS, "lr")],
        [],
    ]
    await store.write(lambda tx: grant(tx, "Projects", BOB, ""))
    await store.write(lambda tx: grant(tx, "Projects", ANYONE, "r"))
    assert await store.read(lambda tx: rights.list_shared(tx, BOB)) == []
    await store.close()


async def test_the_list_of_rights(open_store: Open) -> None:
    store = await prepared(open_store)
    for who, letters in ((CAROL, "lr"), (BOB, "l"), (ANYONE, "p"), (BOB, "la")):
        await store.write(lambda tx, to=who, all_=letters: grant(tx, "Projects", to, all_))  # type: ignore[misc]
    listed = await store.read(lambda tx: rights.list_granted(tx, mailboxes.get(tx, 1, "Projects")))  # type: ignore[arg-type]
    assert listed == [
        Granted("alice@example.org", EVERY),
        Granted("bob@example.org", "la"),
        Granted("carol@example.org", "lr"),
        Granted("", "p"),
    ]
    with pytest.raises(Refusal, match="every right"):
        await store.write(lambda tx: grant(tx, "Projects", ALICE, "lr"))
    await store.close()


@pytest.mark.rfc("4314 section 4")
async def test_what_is_created_below_is_shared_alike(open_store: Open) -> None:
    store = await prepared(open_store)
    await store.write(lambda tx: grant(tx, "Projects", BOB, "lk"))
    await store.write(lambda tx: mailboxes.create(tx, ALICE, "Projects/2027/May"))
    names = await store.read(lambda tx: [one.mailbox.name for one in rights.list_shared(tx, BOB)])
    assert names == [PROJECTS, f"{PROJECTS}/2027", f"{PROJECTS}/2027/May"]
    await store.write(lambda tx: mailboxes.delete(tx, ALICE, "Projects/2027/May"))
    count = await store.read(lambda tx: tx.value("SELECT count(*) FROM mailbox_right"))
    assert count == 2
    await store.close()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Mine/2026", Place(BOB, "Mine/2026")),
        (f"{PROJECTS}/2028", Place(ALICE, "Projects/2028")),
        (f"{PROJECTS}/2028/May", Place(ALICE, "Projects/2028/May")),
        (f"{PROJECTS}/2026/May", None),
        ("Other Users/alice@example.org/Mine", None),
        ("Other Users/alice@example.org", None),
        ("Other Users/bob@example.org/Mine", None),
        ("Other Users/eve@example.net/Mine", None),
        ("Other Users", None),
    ],
)
async def test_where_mailboxes_may_be_created(
    open_store: Open, name: str, expected: Place | None
) -> None:
    store = await prepared(open_store)
    await store.write(lambda tx: grant(tx, "Projects", BOB, "k"))
    if expected is None:
        with pytest.raises(Refusal, match="you may not create mailboxes there"):
            await store.read(lambda tx: rights.place_new(tx, BOB, name))
    else:
        assert await store.read(lambda tx: rights.place_new(tx, BOB, name)) == expected
    await store.close()


async def test_who_can_be_named(open_store: Open) -> None:
    store = await prepared(open_store)
    mailbox = await store.read(lambda tx: mailboxes.get(tx, ALICE, "Projects"))
    for identifier, expected in (("Bob@Example.ORG", BOB), ("ANYONE", ANYONE)):
        found = await store.read(
            lambda tx, name=identifier: rights.find_identifier(tx, mailbox, name)  # type: ignore[misc]
        )
        assert found == expected
    for identifier in ("-bob@example.org", "eve@example.net", "team", "bob"):
        with pytest.raises(Refusal):
            await store.read(
                lambda tx, name=identifier: rights.find_identifier(tx, mailbox, name)  # type: ignore[misc]
            )
    await store.close()


async def test_an_own_mailbox_of_that_name_stays_ones_own(open_store: Open) -> None:
    """One that was made before there was sharing."""
    store = await prepared(open_store)
    await store.write(lambda tx: mailboxes.create(tx, BOB, PROJECTS))
    await store.write(lambda tx: grant(tx, "Projects", BOB, "lr"))
    found = await store.read(lambda tx: rights.find(tx, BOB, PROJECTS))
    assert found is not None
    assert (found.mailbox.account, found.rights) == (BOB, EVERY)
    await store.close()


async def test_what_must_not_be_left_behind(open_store: Open) -> None:
    store = await prepared(open_store)
    await store.write(lambda tx: grant(tx, "Projects", BOB, "lr"))
    scope = annotations.of_mailbox(BOB, await store.read(lambda tx: projects(tx).id))
    await store.write(lambda tx: annotations.put(tx, scope, [("/private/x", b"x")]))
    assert await store.read(broken) == []
    gone = await store.read(projects)
    await store.write(lambda tx: tx.run("DELETE FROM mailbox WHERE id = :id", id=gone.id))
    found = await store.read(broken)
    assert [one.split(":")[0] for one in found] == [
        "rights in a mailbox that is gone, or of an account that is",
        "annotations of a mailbox that is gone, or of an account that is",
    ]
    for work in (
        lambda tx: rights.grant(tx, gone, BOB, "lr"),
        lambda tx: annotations.put(tx, scope, [("/private/x", b"x")]),
    ):
        with pytest.raises(Refusal, match="gone"):
            await store.write(work)
    await store.close()


def projects(tx: Tx) -> Mailbox:
    return mailboxes.get(tx, ALICE, "Projects")
