"""Keys as operators see them, and which mail is signed."""

import re

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from mailstead.message import header as fields
from mailstead.model.address import Domain
from mailstead.model.errors import Refusal
from mailstead.msgauth.dkim.key import load
from mailstead.services import directory, signing
from mailstead.storage import accounts, dkim
from mailstead.storage.store import Tx
from mailstead.testing.house import PASSWORD, SimulatedHouse, SimulatedWorld
from mailstead.testing.smtp import SmtpClient

ALICE, BOB = "alice@example.org", "bob@example.net"
ORG = Domain("example.org")


async def keys(house: SimulatedHouse, domain: Domain = ORG) -> dict[str, bool]:
    """Selector and whether it signs."""

    def work(tx: Tx) -> dict[str, bool]:
        found = dkim.list_all(tx, accounts.get_domain(tx, domain).id)
        return {key.selector: key.active for key in found}

    return await house.house.store.read(work)


async def selector_of_newest(house: SimulatedHouse) -> str:
    """Which key signed the newest message of alice; empty if none did."""
    field = fields.get((await house.newest(ALICE)).header, "DKIM-Signature") or b""
    return field.partition(b" s=")[2].partition(b";")[0].decode()


@pytest.mark.rfc("8301 section 3.2")
async def test_a_domain_comes_with_a_key(world: SimulatedWorld) -> None:
    house = await world.house("example.org", accounts=["alice"])
    store, offload = house.house.store, house.house.world.offload
    name = Domain("example.com")
    await directory.host_domain(store, offload, name)
    ((selector, active),) = (await keys(house, name)).items()
    assert selector == f"m{world.clock.now():%Y%m%d}"
    assert active
    (found,) = await store.read(lambda tx: signing.find_keys(tx, name))
    assert found is not None
    made = load(found.pem)
    assert isinstance(made, RSAPrivateKey)
    assert made.key_size == 2048
    await signing.ensure_key(store, offload, name)
    assert await keys(house, name) == {selector: True}


async def test_keys_are_replaced_by_hand(world: SimulatedWorld) -> None:
    house = await world.house("example.org", accounts=["alice"])
    store, offload = house.house.store, house.house.world.offload
    assert (await house.submit(ALICE, to=ALICE)).ok
    assert await selector_of_newest(house) == ""
    await signing.ensure_key(store, offload, ORG)
    await world.sleep(minutes=2)
    await house.submit(ALICE, to=ALICE)
    today = f"m{world.clock.now():%Y%m%d}"
    assert await selector_of_newest(house) == today
    second = await signing.prepare_key(store, offload, ORG)
    assert await keys(house) == {today: True, f"{today}b": False}
    await world.sleep(minutes=2)
    await house.submit(ALICE, to=ALICE)
    assert await selector_of_newest(house) == today
    await store.write(lambda tx: signing.use_key(tx, ORG, second.selector))
    await world.sleep(minutes=2)
    await house.submit(ALICE, to=ALICE)
    assert await selector_of_newest(house) == f"{today}b"
    assert await keys(house) == {today: False, f"{today}b": True}


async def selectors_of_newest(house: SimulatedHouse) -> list[tuple[str, str]]:
    """Algorithm and selector of each signature of the newest message of alice."""
    found = fields.get_all((await house.newest(ALICE)).header, "DKIM-Signature")
    tags = [dict(re.findall(r"(\w+)=([^;\s]+)", field.decode())) for field in found]
    return [(one["a"], one["s"]) for one in tags]


@pytest.mark.rfc("8463 section 5")
async def test_a_key_of_each_algorithm_signs(world: SimulatedWorld) -> None:
    house = await world.house("example.org", accounts=["alice"])
    store, offload = house.house.store, house.house.world.offload
    first = await signing.ensure_key(store, offload, ORG)
    second = await signing.prepare_key(store, offload, ORG, "ed25519")
    assert second.record.startswith("v=DKIM1; k=ed25519; p=")
    await store.write(lambda tx: signing.use_key(tx, ORG, second.selector))
    await house.submit(ALICE, to=ALICE)
    assert await selectors_of_newest(house) == [
        ("rsa-sha256", first.selector),
        ("ed25519-sha256", second.selector),
    ]


async def test_what_was_replaced_goes_after_a_week(world: SimulatedWorld) -> None:
    house = await world.house("example.org", accounts=["alice"])
    store, offload = house.house.store, house.house.world.offload
    first = await signing.ensure_key(store, offload, ORG)
    second = await signing.prepare_key(store, offload, ORG)
    await store.write(lambda tx: signing.use_key(tx, ORG, second.selector))
    await world.sleep(days=6)
    await house.house.housekeeping.tidy()
    assert await keys(house) == {second.selector: True, first.selector: False}
    await store.write(lambda tx: signing.use_key(tx, ORG, first.selector))  # back again
    await world.sleep(days=8)
    await house.house.housekeeping.tidy()
    assert await keys(house) == {first.selector: True}


@pytest.mark.rfc("6376 section 3.6.1")
@pytest.mark.parametrize(
    ("published", "says"),
    [
        ("{record}", ""),
        ("v=DKIM1; t=s; k=rsa;  p = {spaced}", ""),
        ("v=DKIM1; k=rsa; p=AAAA", "another key's"),
        ("v=DKIM1; k=rsa; p=", "another key's"),
        (None, "no record"),
    ],
)
async def test_whether_the_world_could_verify(
    world: SimulatedWorld, published: str | None, says: str
) -> None:
    house = await world.house("example.org", accounts=["alice"])
    store = house.house.store
    key = await signing.ensure_key(store, house.house.world.offload, ORG)
    spaced = " ".join(key.record.partition("p=")[2][at : at + 60] for at in range(0, 500, 60))
    if published is not None:
        world.zone["TXT", key.name] = published.format(record=key.record, spaced=spaced)
    gap = await signing.find_gap(store, world.zone, ORG, key.selector)
    assert says in gap
    assert bool(says) == bool(gap)


async def test_what_is_refused(world: SimulatedWorld) -> None:
    house = await world.house("example.org", accounts=["alice"])
    store, offload = house.house.store, house.house.world.offload
    with pytest.raises(Refusal, match="is not hosted here"):
        await signing.ensure_key(store, offload, Domain("example.com"))
    with pytest.raises(Refusal, match="there is no key m1"):
        await store.write(lambda tx: signing.use_key(tx, ORG, "m1"))
    pem = await signing.make_key(offload)
    for _ in range(26):
        await store.write(lambda tx: signing.keep_key(tx, ORG, pem))
    with pytest.raises(Refusal, match="26 keys today"):
        await store.write(lambda tx: signing.keep_key(tx, ORG, pem))


@pytest.mark.parametrize(
    ("author", "signed"),
    [(ALICE, True), ("alice+tag@EXAMPLE.ORG", True), ("sales@example.com", False)],
)
async def test_the_domain_of_the_author_signs(
    world: SimulatedWorld, author: str, signed: bool
) -> None:
    house = await world.house("example.org", accounts=["alice"])
    store, offload = house.house.store, house.house.world.offload

    def other_domain(tx: Tx) -> None:
        directory.add_domain(tx, Domain("example.com"))
        accounts.create_alias(tx, house.address_of("sales@example.com"), [house.address_of(ALICE)])

    await store.write(other_domain)
    await signing.ensure_key(store, offload, ORG)
    message = f"From: {author}\r\nTo: {ALICE}\r\n\r\nHi!\r\n".encode()
    async with SmtpClient(world.network, house.address, 587) as client:
        await client.log_in(ALICE, PASSWORD)
        assert (await client.send_message(ALICE, [ALICE], message)).ok
    assert bool(await selector_of_newest(house)) == signed


async def test_mail_from_others_is_not_signed(world: SimulatedWorld) -> None:
    house = await world.house("example.org", accounts=["alice"])
    await signing.ensure_key(house.house.store, house.house.world.offload, ORG)
    for sender in (BOB, "mallory@example.org"):
        assert (await house.receive(sender, to=ALICE)).ok
        assert await selector_of_newest(house) == ""
