"""Mailboxes that are shared inside an organisation, and what strangers see of them: nothing."""

import pytest

from mailstead.model.address import parse_address, parse_domain
from mailstead.model.flags import RETRIEVED
from mailstead.services import directory
from mailstead.storage import accounts
from mailstead.storage.accounts import Account
from mailstead.storage.store import Tx
from mailstead.testing.house import PASSWORD, SimulatedHouse, SimulatedWorld
from mailstead.testing.imap import ImapClient
from mailstead.testing.invariants import broken

ALICE, BOB, EVE = "alice@example.org", "bob@example.org", "eve@elsewhere.example"
INBOX = f'"Other Users/{ALICE}/INBOX"'
EVERY = "lrswipkxtea"

COMMANDS = (
    "SELECT {}",
    "EXAMINE {}",
    "STATUS {} (MESSAGES)",
    "DELETE {}",
    "RENAME {} Mine",
    "RENAME {} {}",
    "MYRIGHTS {}",
    "GETACL {}",
    "SETACL {} eve@elsewhere.example lr",
    "DELETEACL {} anyone",
    "LISTRIGHTS {} anyone",
    "GETQUOTAROOT {}",
    "COPY 1 {}",
    "MOVE 1 {}",
    "APPEND {} {{3+}}\r\nHi!",
    "REPLACE 1 {} {{3+}}\r\nHi!",
)


async def connect(world: SimulatedWorld, house: SimulatedHouse, login: str) -> ImapClient:
    """A client with the INBOX selected."""
    client = ImapClient(world.network, house.address)
    await client.__aenter__()
    await client.log_in(login, PASSWORD)
    return client


async def with_tenant(world: SimulatedWorld) -> SimulatedHouse:
    """Alice and Bob, and Eve of another organisation."""
    house = await world.house("example.org", accounts=["alice", "bob"])

    def work(tx: Tx) -> None:
        password = accounts.get_account(tx, ALICE).password
        other = accounts.create_organisation(tx, "elsewhere")
        accounts.create_domain(tx, other, parse_domain("elsewhere.example"))
        accounts.create_account(tx, parse_address(EVE), password)

    await house.house.store.write(work)
    return house


async def find(house: SimulatedHouse, login: str) -> Account:
    """The account as it stands."""
    return await house.house.store.read(lambda tx: accounts.get_account(tx, login))


@pytest.mark.rfc("4314 section 6")
async def test_a_tenant_is_a_stranger(world: SimulatedWorld) -> None:
    """What Eve is told of Alice's mailboxes is what she is told of those that nobody has."""
    house = await with_tenant(world)
    await house.receive("x@example.net", to=[ALICE, EVE])
    alice = await connect(world, house, ALICE)
    assert await alice.command(f"SETACL INBOX anyone {EVERY}") == [b"OK SETACL completed"]
    refused = await alice.command(f"SETACL INBOX {EVE} lr")
    nobody = await alice.command("SETACL INBOX eva@elsewhere.example lr")
    assert refused == [line.replace(b"eva@", b"eve@") for line in nobody]
    assert refused[-1].startswith(b"NO [NONEXISTENT]")
    eve = await connect(world, house, EVE)
    assert await eve.command('LIST "" Other*') == [b"OK LIST completed"]
    assert await eve.command('LIST "" %/%') == [b"OK LIST completed"]
    for command in COMMANDS:
        told = await eve.command(command.format(INBOX, INBOX))
        await eve.command("SELECT INBOX")
        unknown = await eve.command(command.format(*[INBOX.replace("alice", "nobody")] * 2))
        assert told[-1] == unknown[-1], command
        assert told[-1].startswith(b"NO "), command
        await eve.command("SELECT INBOX")
    created = await eve.command(f'CREATE "Other Users/{ALICE}/INBOX/Below"')
    assert created == [b"NO [NOPERM] You may not create mailboxes there"]
    assert (await find(house, ALICE)).emails == 1
    bob = await connect(world, house, BOB)
    assert (await bob.command(f"STATUS {INBOX} (MESSAGES)"))[0].endswith(b"(MESSAGES 1)")
    for client in (alice, bob, eve):
        await client.__aexit__()


@pytest.mark.rfc("4314 section 4")
async def test_nobody_does_what_they_have_no_right_to(world: SimulatedWorld) -> None:
    """Without `l` a mailbox is as one that is not there, with it alone there is only its name."""
    house = await with_tenant(world)
    await house.receive("x@example.net", to=[ALICE, BOB])
    alice, bob = await connect(world, house, ALICE), await connect(world, house, BOB)
    for rights, code in (("p", b"NO [NONEXISTENT]"), ("l", b"NO [NOPERM]")):
        await alice.command(f"SETACL INBOX {BOB} {rights}")
        for command in COMMANDS:
            told = await bob.command(command.format(INBOX, INBOX))
            expected = code
            if command.startswith("MYRIGHTS") and rights == "l":
                expected = b"OK "
            elif code == b"NO [NONEXISTENT]" and command[:4] in ("COPY", "MOVE", "APPE", "REPL"):
                expected = b"NO [TRYCREATE]"
            assert told[-1].startswith(expected), (command, told)
            await bob.command("SELECT INBOX")
    assert (await find(house, ALICE)).emails == 1
    for client in (alice, bob):
        await client.__aexit__()


@pytest.mark.rfc("4314 section 4")
async def test_what_is_shared_counts_to_its_owner(world: SimulatedWorld) -> None:
    house = await with_tenant(world)
    await house.receive("x@example.net", to=[BOB], text="Hello\r\n" * 100)
    alice, bob = await connect(world, house, ALICE), await connect(world, house, BOB)
    await alice.command(f"SETACL INBOX {BOB} lrswite")
    size = (await find(house, BOB)).used
    await house.house.store.write(lambda tx: accounts.set_quota(tx, ALICE, size + 100))
    assert (await bob.command(f"COPY 1 {INBOX}"))[-1].startswith(b"OK [COPYUID 1 1 1]")
    for command in (f"COPY 1 {INBOX}", f"APPEND {INBOX} {{101+}}\r\n{'x' * 101}"):
        assert (await bob.command(command))[-1].startswith(b"NO [OVERQUOTA]")
    assert (await bob.command(f"MOVE 1 {INBOX}"))[-1].startswith(b"NO [OVERQUOTA]")
    assert [(await find(house, login)).used for login in (ALICE, BOB)] == [size, size]
    await bob.command(f"SELECT {INBOX}")
    assert (await bob.command("MOVE 1 INBOX"))[-1] == b"OK MOVE completed"
    assert [(await find(house, login)).used for login in (ALICE, BOB)] == [0, 2 * size]
    assert await house.house.store.read(broken) == []
    for client in (alice, bob):
        await client.__aexit__()


async def test_a_right_that_is_taken_away_while_a_message_comes_in(world: SimulatedWorld) -> None:
    house = await with_tenant(world)
    alice, bob = await connect(world, house, ALICE), await connect(world, house, BOB)
    await alice.command(f"SETACL INBOX {BOB} li")
    bob.stream.send(f"x APPEND {INBOX} {{6}}\r\n".encode())
    assert (await bob.response()).startswith(b"+ ")
    bob.stream.send(b"Hi!")
    await alice.command(f"SETACL INBOX {BOB} l")
    bob.stream.send(b"Hi!\r\n")
    assert await bob.response() == b"x NO [NOPERM] You have no right to do that in this mailbox"
    assert (await find(house, ALICE)).emails == 0
    for client in (alice, bob):
        await client.__aexit__()


async def test_a_copy_outlives_what_it_was_made_of(world: SimulatedWorld) -> None:
    house = await with_tenant(world)
    await house.receive("x@example.net", to=[ALICE], text="Shared\r\n")
    alice, bob = await connect(world, house, ALICE), await connect(world, house, BOB)
    await alice.command(f"SETACL INBOX {BOB} lr")
    await bob.command(f"SELECT {INBOX}")
    assert (await bob.command("COPY 1 INBOX"))[-1].startswith(b"OK [COPYUID")
    store = house.house.store
    rows = await store.read(lambda tx: tx.rows("SELECT account, id, content, thread FROM email"))
    assert len({account for account, *_ in rows}) == len({id_ for _, id_, *_ in rows}) == 2
    assert len({content for _, _, content, _ in rows}) == 1
    assert all(id_ == thread for _, id_, _, thread in rows)
    for client in (alice, bob):
        await client.__aexit__()
    await directory.erase_account(store, ALICE, lambda gone: None)
    assert (await house.newest(BOB)).body == b"Shared\r\n"
    assert await store.read(broken) == []


async def test_rights_go_with_either_account(world: SimulatedWorld) -> None:
    house = await with_tenant(world)
    store = house.house.store
    for erased in (ALICE, BOB):
        alice, bob = await connect(world, house, ALICE), await connect(world, house, BOB)
        await alice.command(f"SETACL INBOX {BOB} {EVERY}")
        await alice.command("SETACL Trash anyone lr")
        await bob.command(f"SETACL Sent {ALICE} lr")
        for client in (alice, bob):
            await client.__aexit__()
        await directory.erase_account(store, erased, lambda gone: None)
        rows = await store.read(lambda tx: tx.rows("SELECT account FROM mailbox_right"))
        assert rows == ([] if erased == ALICE else [(0,)])
        await house.house.store.write(
            lambda tx, gone=erased: accounts.create_account(  # type: ignore[misc]
                tx, parse_address(gone), accounts.get_account(tx, EVE).password
            )
        )


async def test_who_reads_in_anothers_mailbox_leaves_no_trace_there(world: SimulatedWorld) -> None:
    """Neither \\Recent nor the first retrieval is taken from the owner."""
    house = await with_tenant(world)
    await house.receive("x@example.net", to=[ALICE])
    async with ImapClient(world.network, house.address) as alice:
        await alice.command(f"LOGIN {ALICE} {PASSWORD}")
        await alice.command(f"SETACL INBOX {BOB} lrs")
    bob = await connect(world, house, BOB)
    await bob.command(f"SELECT {INBOX}")
    assert b"Hi!" in (await bob.command("FETCH 1 BODY[]"))[0]
    await bob.__aexit__()
    alice = await connect(world, house, ALICE)
    assert (await alice.command("FETCH 1 FLAGS"))[0] == b"* 1 FETCH (FLAGS (\\Seen \\Recent))"
    flags = "SELECT flags FROM placement"
    assert await house.house.store.read(lambda tx: tx.value(flags)) < RETRIEVED
    await alice.command("FETCH 1 BODY[]")
    await alice.__aexit__()
    await world.sleep(seconds=2)
    assert await house.house.store.read(lambda tx: tx.value(flags)) > RETRIEVED


@pytest.mark.rfc("5464 section 3.3")
async def test_annotations_and_strangers(world: SimulatedWorld) -> None:
    house = await with_tenant(world)
    alice, eve = await connect(world, house, ALICE), await connect(world, house, EVE)
    bob = await connect(world, house, BOB)
    await alice.command(f"SETACL INBOX anyone {EVERY}")
    for place in ("INBOX", '""'):
        done = await alice.command(f'SETMETADATA {place} (/private/x "a" /shared/x "a")')
        assert done == [b"OK SETMETADATA completed"]
    told = await eve.command(f"GETMETADATA {INBOX} /shared/x")
    assert told == [b"NO [NONEXISTENT] There is no such mailbox"]
    told = await eve.command(f'SETMETADATA {INBOX} (/shared/x "e")')
    assert told == [b"NO [NONEXISTENT] There is no such mailbox"]
    assert (await bob.command('GETMETADATA "" (/shared/x /private/x)'))[0] == (
        b'* METADATA "" (/shared/x "a" /private/x NIL)'
    )
    assert (await eve.command('GETMETADATA "" (/shared/x /private/x /shared/admin)'))[0] == (
        b'* METADATA "" (/shared/admin "mailto:postmaster@elsewhere.example"'
        b" /shared/x NIL /private/x NIL)"
    )
    await eve.command('SETMETADATA "" (/shared/x "e")')
    assert (await alice.command('GETMETADATA "" /shared/x'))[0] == b'* METADATA "" (/shared/x "a")'
    await bob.command(f'SETMETADATA {INBOX} (/private/x "b" /shared/x "b")')
    assert (await alice.command("GETMETADATA INBOX (/private/x /shared/x)"))[0] == (
        b'* METADATA "INBOX" (/private/x "a" /shared/x "b")'
    )
    for client in (alice, bob, eve):
        await client.__aexit__()


async def test_annotations_go_with_either_account(world: SimulatedWorld) -> None:
    house = await with_tenant(world)
    store = house.house.store
    alice, bob = await connect(world, house, ALICE), await connect(world, house, BOB)
    await alice.command(f"SETACL INBOX {BOB} lr")
    for client, place in ((alice, "INBOX"), (alice, '""'), (bob, INBOX), (bob, '""')):
        await client.command(f'SETMETADATA {place} (/private/x "a" /shared/x "a")')
    for client in (alice, bob):
        await client.__aexit__()
    left = "SELECT count(*) FROM annotation"
    assert await store.read(lambda tx: tx.value(left)) == 6
    await directory.erase_account(store, BOB, lambda gone: None)
    assert await store.read(lambda tx: tx.value(left)) == 4
    await directory.erase_account(store, ALICE, lambda gone: None)
    assert await store.read(lambda tx: tx.value(left)) == 1  # the organisation's


@pytest.mark.rfc("6154 section 4")
async def test_what_empties_itself_is_empty_first(world: SimulatedWorld) -> None:
    house = await with_tenant(world)
    await house.receive("x@example.net", to=[ALICE])
    alice = await connect(world, house, ALICE)
    await alice.command("COPY 1 Archive")
    await alice.command("SETMETADATA Archive (/private/specialuse NIL)")
    await alice.command("SETMETADATA Trash (/private/specialuse NIL)")
    for mailbox, use, expected in (
        ("Archive", "Trash", b"NO [USEATTR]"),
        ("Archive", "Archive", b"OK "),
        ("INBOX", "Trash", b"NO [USEATTR]"),
        ("Trash", "Trash", b"OK "),
    ):
        told = await alice.command(f'SETMETADATA {mailbox} (/private/specialuse "\\\\{use}")')
        assert told[-1].startswith(expected), (mailbox, use)
    await alice.__aexit__()
