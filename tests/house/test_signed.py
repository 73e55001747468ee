"""Submitted mail arrives signed, and somebody else's verifier finds the key in the zone."""

from types import ModuleType

import pytest

from mailstead.model.dns import Question
from mailstead.model.entries import Completed
from mailstead.services import signing
from mailstead.services.explain import explain
from mailstead.storage import journal, senders
from mailstead.testing.house import PASSWORD, Filed, SimulatedHouse, SimulatedWorld, compose
from mailstead.testing.smtp import SmtpClient

ALICE, BOB = "alice@example.org", "bob@example.net"


async def publish_key(world: SimulatedWorld, house: SimulatedHouse) -> str:
    """A key for the house's domain, with its record in the zone; the record's name."""
    store, domain = house.house.store, house.address_of("x").domain
    await signing.ensure_key(store, house.house.world.offload, domain)
    (key,) = await store.read(lambda tx: signing.find_keys(tx, domain))
    assert key is not None
    world.zone["TXT", key.name] = key.record
    return key.name


async def verify(world: SimulatedWorld, dkimpy: ModuleType, name: str, message: Filed) -> bool:
    """What dkimpy says of the message, with the record of that name."""
    answer = await world.zone.ask(Question("TXT", name))

    def find(asked: bytes, timeout: float = 5) -> bytes:
        assert asked.decode() == f"{name}."
        return answer.records[0].encode()

    return bool(dkimpy.verify(message.header + message.body, dnsfunc=find))


@pytest.mark.rfc("6376 section 3.5")
@pytest.mark.parametrize(
    "text",
    [
        "Hi!\r\n",
        "",
        "\r\n\r\n",
        " two  spaces\t \r\n\r\n.\r\n..dots\r\n\r\n\r\n",
        "Gr\N{LATIN SMALL LETTER U WITH DIAERESIS}\N{LATIN SMALL LETTER SHARP S}e\r\n",
        "A long body.  \r\n" * 40_000,
    ],
    ids=["short", "none", "empty lines", "dots", "8 bit", "half a megabyte"],
)
async def test_submitted_mail_arrives_signed(
    world: SimulatedWorld, dkimpy: ModuleType, text: str
) -> None:
    here = await world.house("example.org", accounts=["alice"], address="203.0.113.25")
    there = await world.house("example.net", accounts=["bob"], address="203.0.113.26")
    name = await publish_key(world, here)
    assert (await here.submit(ALICE, to=[BOB, ALICE], text=text)).ok
    await world.sleep(minutes=1)
    for message in (await there.newest(BOB), await here.newest(ALICE)):
        assert await verify(world, dkimpy, name, message)
        below = message.header.partition(b"\r\nDKIM-Signature: ")[2]
        assert b"\r\nReceived:" not in below  # those of the ways it went are above
        assert below.count(b"\r\nFrom:") == below.count(b"\r\nDate:") == 1


async def test_the_journal_says_who_signed(world: SimulatedWorld) -> None:
    house = await world.house("example.org", accounts=["alice"])
    name = await publish_key(world, house)
    await house.submit(ALICE, to=ALICE)
    (arrival,) = await house.house.store.read(lambda tx: journal.arrivals(tx, 1))
    whole = await house.house.store.read(lambda tx: journal.find(tx, arrival.trace))
    assert whole is not None
    (completed,) = [entry for entry in whole.entries if isinstance(entry, Completed)]
    sentence = f"signed for example.org with selector {name.partition('.')[0]}"
    assert completed.changes[-1] == sentence
    assert sentence in "\n".join(str(line) for line in explain(whole.entries))


async def test_a_notice_that_leaves_is_signed(world: SimulatedWorld, dkimpy: ModuleType) -> None:
    here = await world.house(
        "example.org", ["alice"], "203.0.113.25", aliases={"sales": ["bob@example.net"]}
    )
    there = await world.house("example.net", accounts=["bob"], address="203.0.113.26")
    name = await publish_key(world, here)
    sales = "sales@example.org"
    await here.house.store.write(lambda tx: senders.allow_send_as(tx, ALICE, sales))
    message = compose(sales, ["nobody@example.net"], "Hello", "Hi!\r\n")
    async with SmtpClient(world.network, here.address, 587) as client:
        await client.log_in(ALICE, PASSWORD)
        assert (await client.send_message(sales, ["nobody@example.net"], message)).ok
    await world.sleep(minutes=2)
    notice = await there.newest(BOB)
    assert notice.subject == "Not delivered: Hello"
    assert await verify(world, dkimpy, name, notice)
