"""Limits that lock nobody out: strangers guess, flood, harvest and dribble; people work."""

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from mailstead.model.entries import Completed, Entry, LoginFailed, Refused, Resolved
from mailstead.server.config import Config, Limits
from mailstead.services.accounts import CHECKS_WAITING
from mailstead.sessions import pump
from mailstead.storage.blobs import Budget, Gathering
from mailstead.testing.house import PASSWORD, SimulatedHouse, SimulatedWorld
from mailstead.testing.imap import ImapClient
from mailstead.testing.smtp import SmtpClient

OWNER, ELSEWHERE = "192.0.2.7", "198.51.100.66"
ALICE = "alice@example.org"


DEFAULT = Limits()


async def open_house(
    world: SimulatedWorld, limits: Limits = DEFAULT, **more: object
) -> SimulatedHouse:
    """A house with two accounts, and limits as they are by default."""
    folder = world.folder / "example.org"
    config = Config(
        hostname="mx.example.org",
        database=f"sqlite://{folder / 'mailstead.db'}",
        limits=limits,
        **more,  # type: ignore[arg-type]
    )
    return await world.house("example.org", ["alice", "bob"], config=config)


def told(house: SimulatedHouse, kind: type[Entry]) -> list[Entry]:
    """The entries of a kind."""
    return [entry for _, entry in house.told if isinstance(entry, kind)]


async def log_in(world: SimulatedWorld, house: SimulatedHouse, source: str, password: str) -> str:
    """One log-in by submission: code and enhanced code of its reply."""
    async with SmtpClient(world.network, house.address, 587, source) as client:
        reply = await client.log_in(ALICE, password)
        return f"{reply.code} {reply.enhanced}"


async def log_in_by_imap(
    world: SimulatedWorld, house: SimulatedHouse, source: str, login: str, password: str
) -> bytes:
    """One log-in by IMAP: the tagged response."""
    async with ImapClient(world.network, house.address, 143, source) as client:
        return (await client.command(f"LOGIN {login} {password}"))[-1]


# ---------------------------------------------------------------------- log-ins


async def test_strangers_who_guess_are_put_off_and_the_owner_is_not(world: SimulatedWorld) -> None:
    house = await open_house(world)
    replies = [await log_in(world, house, ELSEWHERE, f"guess {n}") for n in range(12)]
    assert replies == ["535 5.7.8"] * 10 + ["454 4.7.0"] * 2
    assert await log_in(world, house, ELSEWHERE, PASSWORD) == "454 4.7.0"
    assert await log_in(world, house, OWNER, PASSWORD) == "235 2.7.0"


async def test_a_known_device_goes_on_beside_a_stranger_who_guesses(world: SimulatedWorld) -> None:
    house = await open_house(world)
    assert await log_in(world, house, OWNER, PASSWORD) == "235 2.7.0"
    neighbour = OWNER.replace(".7", ".99")
    replies = [await log_in(world, house, neighbour, f"guess {n}") for n in range(12)]
    assert replies[-1] == "454 4.7.0"
    assert await log_in(world, house, OWNER, PASSWORD) == "235 2.7.0"
    await world.sleep(minutes=31)
    assert await log_in(world, house, neighbour, PASSWORD) == "235 2.7.0"


async def test_a_limit_does_not_tell_who_exists(world: SimulatedWorld) -> None:
    house = await open_house(world)
    answers = {}
    for name, source in [("alice", ELSEWHERE), ("nobody", "203.0.113.66")]:
        login = f"{name}@example.org"
        answers[name] = [
            await log_in_by_imap(world, house, source, login, f"guess{n}") for n in range(12)
        ]
    assert answers["alice"] == answers["nobody"]
    assert answers["alice"][9].startswith(b"NO [AUTHENTICATIONFAILED]")
    assert answers["alice"][10].startswith(b"NO [UNAVAILABLE]")


async def test_a_phone_with_the_old_password_harms_nobody(world: SimulatedWorld) -> None:
    house = await open_house(world)
    for _ in range(30):
        assert await log_in(world, house, OWNER, "the old one") == "535 5.7.8"
    assert await log_in(world, house, OWNER, PASSWORD) == "235 2.7.0"
    assert len(told(house, LoginFailed)) <= 3  # the first, and one a minute


async def test_known_devices_are_checked_before_a_crowd_of_strangers(
    world: SimulatedWorld,
) -> None:
    house = await open_house(world)
    assert await log_in(world, house, OWNER, PASSWORD) == "235 2.7.0"
    house.house.accounts._waiting = CHECKS_WAITING  # as many strangers wait
    assert await log_in(world, house, ELSEWHERE, "guess") == "454 4.7.0"
    assert await log_in(world, house, OWNER, PASSWORD) == "235 2.7.0"


async def test_guesses_do_not_fill_the_journal(world: SimulatedWorld) -> None:
    house = await open_house(world)
    for number in range(60):
        await log_in(world, house, ELSEWHERE, f"guess {number}")
    assert 11 <= len(told(house, LoginFailed)) <= 13
    assert isinstance(last := told(house, LoginFailed)[-1], LoginFailed)
    assert last.reason == "logins_account"


# ---------------------------------------------------------------------- connections


async def test_too_many_connections_of_one_address(world: SimulatedWorld) -> None:
    house = await open_house(world, Limits(connections_per_address=3))
    clients = [SmtpClient(world.network, house.address, 25, ELSEWHERE) for _ in range(3)]
    for client in clients:
        await client.__aenter__()
    stream = await world.network.connect(house.address, 25, ELSEWHERE)
    assert (await stream.receive() or b"").startswith(b"421 4.7.0 Too many connections")
    assert await stream.receive() == b""
    imap = await world.network.connect(house.address, 143, ELSEWHERE)
    assert (await imap.receive() or b"").startswith(b"* BYE [UNAVAILABLE] Too many connections")
    async with SmtpClient(world.network, house.address, 25, OWNER) as other:
        assert other.greeting.code == 220
    await clients[0].__aexit__()
    await world.sleep(seconds=1)
    async with SmtpClient(world.network, house.address, 25, ELSEWHERE) as again:
        assert again.greeting.code == 220
    for client in clients[1:]:
        await client.__aexit__()
    refused = told(house, Refused)
    assert [entry.stage for entry in refused if isinstance(entry, Refused)] == ["connect"]


async def test_who_has_logged_in_is_no_stranger(world: SimulatedWorld) -> None:
    house = await open_house(world, Limits(connections_per_address=2))
    clients = [ImapClient(world.network, house.address, 143, OWNER) for _ in range(6)]
    for client in clients:
        await client.__aenter__()
        await client.log_in(ALICE, PASSWORD)
    for client in clients:
        await client.__aexit__()


async def test_nor_is_who_has_logged_in_to_submit(world: SimulatedWorld) -> None:
    house = await open_house(world, Limits(connections_per_address=2))
    clients = [SmtpClient(world.network, house.address, 587, OWNER) for _ in range(6)]
    for client in clients:
        await client.__aenter__()
        assert (await client.log_in(ALICE, PASSWORD)).code == 235
    for client in clients:
        await client.__aexit__()


async def test_too_many_connections_of_one_account(world: SimulatedWorld) -> None:
    house = await open_house(world, Limits(connections_per_account=2))
    clients = [ImapClient(world.network, house.address, 143, OWNER) for _ in range(2)]
    for client in clients:
        await client.__aenter__()
        await client.log_in(ALICE, PASSWORD)
    answer = await log_in_by_imap(world, house, OWNER, ALICE, PASSWORD)
    assert answer.startswith(b"NO [LIMIT]")
    answer = await log_in_by_imap(world, house, OWNER, "bob@example.org", PASSWORD)
    assert answer.startswith(b"OK")
    for client in clients:
        await client.__aexit__()
    await world.sleep(seconds=1)
    answer = await log_in_by_imap(world, house, OWNER, ALICE, PASSWORD)
    assert answer.startswith(b"OK")


async def test_a_flood_of_connections_leaves_room_for_others(world: SimulatedWorld) -> None:
    house = await open_house(world, Limits(connections_per_minute=20))
    codes = []
    for _ in range(30):
        stream = await world.network.connect(house.address, 25, ELSEWHERE)
        codes.append((await stream.receive() or b"")[:3])
        await stream.close()
    assert codes == [b"220"] * 20 + [b"421"] * 10
    async with SmtpClient(world.network, house.address, 25, OWNER) as other:
        assert other.greeting.code == 220
    await world.sleep(minutes=3)
    async with SmtpClient(world.network, house.address, 25, ELSEWHERE) as again:
        assert again.greeting.code == 220


@pytest.mark.parametrize(("exempt", "last"), [(True, b"220"), (False, b"421")])
async def test_loopback_is_exempt(world: SimulatedWorld, exempt: bool, last: bytes) -> None:
    house = await open_house(world, Limits(connections_per_minute=5, loopback_exempt=exempt))
    for _ in range(6):
        stream = await world.network.connect(house.address, 25, "127.0.0.9")
        greeting = await stream.receive() or b""
        await stream.close()
    assert greeting.startswith(last)


# ---------------------------------------------------------------------- harvest


async def test_a_harvest_of_addresses_ends(world: SimulatedWorld) -> None:
    house = await open_house(world)
    async with SmtpClient(world.network, house.address, 25, ELSEWHERE) as client:
        await client.command("MAIL FROM:<x@example.net>")
        codes = [(await client.command(f"RCPT TO:<n{n}@example.org>")).code for n in range(21)]
    assert codes == [550] * 20 + [421]
    async with SmtpClient(world.network, house.address, 25, ELSEWHERE) as client:
        await client.command("MAIL FROM:<x@example.net>")
        reply = await client.command(f"RCPT TO:<{ALICE}>")  # not even who exists is told now
        assert (reply.code, reply.enhanced) == (421, "4.7.0")
    async with SmtpClient(world.network, house.address, 25, OWNER) as client:
        await client.command("MAIL FROM:<x@example.net>")
        assert (await client.command(f"RCPT TO:<{ALICE}>")).code == 250
    await world.sleep(minutes=21)
    async with SmtpClient(world.network, house.address, 25, ELSEWHERE) as client:
        await client.command("MAIL FROM:<x@example.net>")
        assert (await client.command(f"RCPT TO:<{ALICE}>")).code == 250


async def test_a_harvest_from_loopback_ends_with_its_connection(world: SimulatedWorld) -> None:
    house = await open_house(world)
    for _ in range(2):
        async with SmtpClient(world.network, house.address, 25, "127.0.0.1") as client:
            await client.command("MAIL FROM:<x@example.net>")
            codes = [(await client.command(f"RCPT TO:<n{n}@example.org>")).code for n in range(21)]
        assert codes == [550] * 20 + [421]


# ---------------------------------------------------------------------- slow writers


async def dribble(
    world: SimulatedWorld, client: SmtpClient, octet: bytes, limit: timedelta
) -> float:
    """Send an octet a second until the server says something, or gives up; how long that took."""
    began = world.clock.now()
    while world.clock.now() - began < limit:
        client.stream.send(octet)
        try:
            async with asyncio.timeout(1):
                await client.stream.receive()
        except TimeoutError:
            continue
        break
    return (world.clock.now() - began) / timedelta(seconds=1)


@pytest.mark.rfc("5321 section 4.5.3.2")
async def test_a_command_has_its_time_from_where_it_begins(world: SimulatedWorld) -> None:
    house = await open_house(world)
    async with SmtpClient(world.network, house.address, 25, ELSEWHERE) as client:
        took = await dribble(world, client, b"x", timedelta(minutes=30))
    assert 300 <= took <= 310


async def test_content_has_to_make_progress(world: SimulatedWorld) -> None:
    house = await open_house(world)
    async with SmtpClient(world.network, house.address, 25, ELSEWHERE) as client:
        for line in ("MAIL FROM:<x@example.net>", f"RCPT TO:<{ALICE}>", "DATA"):
            await client.command(line)
        took = await dribble(world, client, b"x", timedelta(minutes=30))
    assert 300 <= took <= 310


async def test_a_steady_message_has_an_hour(world: SimulatedWorld) -> None:
    house = await open_house(world)
    async with SmtpClient(world.network, house.address, 25, ELSEWHERE) as client:
        for line in ("MAIL FROM:<x@example.net>", f"RCPT TO:<{ALICE}>", "DATA"):
            await client.command(line)
        took = await dribble(world, client, b"x" * 200, timedelta(hours=2))
    assert 3595 <= took <= 3605


async def test_an_imap_command_has_its_time_too(world: SimulatedWorld) -> None:
    house = await open_house(world)
    stream = await world.network.connect(house.address, 143, ELSEWHERE)
    await stream.receive()
    began, heard = world.clock.now(), b""
    while not heard and world.clock.now() - began < timedelta(minutes=30):
        stream.send(b"x")
        try:
            async with asyncio.timeout(1):
                heard = await stream.receive() or b""
        except TimeoutError:
            continue
    assert heard.startswith(b"* BYE")
    assert timedelta(minutes=3) <= world.clock.now() - began <= timedelta(minutes=3.2)


async def test_a_stranger_by_imap_has_ten_minutes_in_all(world: SimulatedWorld) -> None:
    house = await open_house(world)
    stream = await world.network.connect(house.address, 143, ELSEWHERE)
    await stream.receive()
    began, heard = world.clock.now(), b""
    while not heard.startswith(b"* BYE") and world.clock.now() - began < timedelta(minutes=30):
        stream.send(b"a NOOP\r\n")
        await world.sleep(minutes=1)
        heard = await stream.receive() or b""
    assert timedelta(minutes=10) <= world.clock.now() - began <= timedelta(minutes=11)


@pytest.mark.parametrize("line", ["NOOP", "RSET", "VRFY <x@example.org>", "EHLO client.example"])
async def test_commands_without_a_message_come_to_an_end(world: SimulatedWorld, line: str) -> None:
    house = await open_house(world)
    async with SmtpClient(world.network, house.address, 25, ELSEWHERE) as client:
        codes = [(await client.command(line)).code for _ in range(100)]
    assert codes[-1] == 421
    assert 421 not in codes[:-1]


async def test_messages_start_the_count_of_commands_anew(world: SimulatedWorld) -> None:
    house = await open_house(world)
    async with SmtpClient(world.network, house.address, 25, ELSEWHERE) as client:
        for _ in range(5):
            codes = {(await client.command("NOOP")).code for _ in range(90)}
            reply = await client.send_message("x@example.net", [ALICE], b"Subject: x\r\n\r\nx\r\n")
            assert (codes, reply.code) == ({250}, 250)


async def test_what_waits_for_the_peer_has_all_its_time(world: SimulatedWorld) -> None:
    """Each command has its own: a slow but honest session goes on for ever."""
    house = await open_house(world)
    async with SmtpClient(world.network, house.address, 25, ELSEWHERE) as client:
        for _ in range(20):
            await world.sleep(minutes=4)
            assert (await client.command("NOOP")).code == 250


def test_pace_gives_time_for_octets() -> None:
    async def story() -> list[float]:
        pace, limit = pump.Pace(), timedelta(seconds=300)
        found = [pace.left(limit).total_seconds()]
        pace.took(1000)
        found.append(pace.left(limit).total_seconds())
        pace.answered()
        found.append(pace.left(limit).total_seconds())
        return found

    assert [round(each) for each in asyncio.run(story())] == [300, 310, 300]


# ---------------------------------------------------------------------- memory


def test_all_bodies_share_one_budget(tmp_path: Path) -> None:
    budget = Budget(1000)
    first, second = Gathering(tmp_path, budget), Gathering(tmp_path, budget)
    first.add(b"a" * 600)
    second.add(b"b" * 300)
    assert budget.left == 100
    second.add(b"c" * 300)  # beyond: all of this body goes into a file
    assert budget.left == 400
    assert b"".join(first.finish().parts()) == b"a" * 600
    assert b"".join(second.finish().parts()) == b"b" * 300 + b"c" * 300
    del first
    assert budget.left == 1000


async def test_a_message_beyond_the_budget_arrives(world: SimulatedWorld) -> None:
    house = await open_house(world)
    house.house.site.budget.left = 0
    assert (await house.receive("x@example.net", ALICE, text="Spooled!\r\n")).code == 250
    assert (await house.newest(ALICE)).body == b"Spooled!\r\n"
    assert house.house.site.budget.left == 0


async def test_the_budget_is_whole_after_each_message(world: SimulatedWorld) -> None:
    house = await open_house(world)
    whole = house.house.site.budget.left
    await house.receive("x@example.net", ALICE)
    async with SmtpClient(world.network, house.address, 25) as client:
        for line in ("MAIL FROM:<x@example.net>", f"RCPT TO:<{ALICE}>", "DATA"):
            await client.command(line)
        client.stream.send(b"Subject: half\r\n\r\n" + b"x" * 10_000)
        await world.sleep(seconds=1)
        assert house.house.site.budget.left < whole
        client.stream.abort()
    await world.sleep(seconds=1)
    assert house.house.site.budget.left == whole


# ---------------------------------------------------------------------- relay_from


async def test_a_printer_may_relay(world: SimulatedWorld) -> None:
    house = await open_house(world, relay_from=("192.168.7.0/24",))
    other = await world.house("example.net", ["carol"], "203.0.113.40")
    message = b"From: printer@example.org\r\nSubject: Scan\r\n\r\nPage 1\r\n"
    async with SmtpClient(world.network, house.address, 25, "192.168.7.20") as printer:
        reply = await printer.send_message("printer@example.org", ["carol@example.net"], message)
    assert reply.code == 250
    await world.sleep(minutes=1)
    arrived = await other.newest("carol@example.net")
    assert (arrived.subject, b"Message-ID: " in arrived.header) == ("Scan", True)
    rules = [entry.rule for entry in told(house, Resolved) if isinstance(entry, Resolved)]
    assert rules == ["relay_from"]
    assert told(house, Completed)


@pytest.mark.parametrize(
    ("source", "sender", "expected"),
    [
        ("192.168.7.20", "printer@example.org", "250 2.1.5"),
        ("192.168.7.20", "boss@bank.example", "550 5.7.1"),
        ("192.168.7.20", "", "550 5.7.1"),
        ("192.168.8.20", "printer@example.org", "550 5.7.1"),
    ],
)
async def test_who_may_relay(
    world: SimulatedWorld, source: str, sender: str, expected: str
) -> None:
    house = await open_house(world, relay_from=("192.168.7.0/24",))
    async with SmtpClient(world.network, house.address, 25, source) as client:
        await client.command(f"MAIL FROM:<{sender}>")
        reply = await client.command("RCPT TO:<carol@example.net>")
        assert f"{reply.code} {reply.enhanced}" == expected


async def test_submission_wants_a_log_in_of_printers_too(world: SimulatedWorld) -> None:
    house = await open_house(world, relay_from=("192.168.7.0/24",))
    async with SmtpClient(world.network, house.address, 587, "192.168.7.20") as client:
        assert (await client.command("MAIL FROM:<printer@example.org>")).code == 530


# ---------------------------------------------------------------------- proxies

PROXY = "10.9.8.7"


@pytest.mark.parametrize("split", [0, 1])
async def test_a_proxy_says_whom_it_speaks_for(world: SimulatedWorld, split: int) -> None:
    world.network.split = split
    house = await open_house(world, proxies=("10.9.8.0/24",))
    stream = await world.network.connect(house.address, 25, PROXY)
    stream.send(b"PROXY TCP4 192.0.2.7 203.0.113.25 40000 25\r\n")
    await world.sleep(seconds=2)
    message = b"Subject: Hi\r\n\r\n.\r\n"
    for line in (b"EHLO x", b"MAIL FROM:<x@example.net>", b"RCPT TO:<" + ALICE.encode() + b">"):
        stream.send(line + b"\r\n")
    stream.send(b"DATA\r\n")
    await world.sleep(seconds=1)
    stream.send(message + b"QUIT\r\n")
    await world.sleep(seconds=1)
    assert b"[192.0.2.7]" in (await house.newest(ALICE, "Junk")).header


@pytest.mark.parametrize("said", [b"EHLO x\r\n", b"PROXY nonsense\r\n", b"", b"PROXY TCP4 "])
async def test_a_proxy_that_does_not_is_dropped(world: SimulatedWorld, said: bytes) -> None:
    house = await open_house(world, proxies=("10.9.8.0/24",))
    stream = await world.network.connect(house.address, 25, PROXY)
    stream.send(said)
    with pytest.raises(ConnectionResetError):
        await stream.receive()


async def test_nobody_else_is_believed(world: SimulatedWorld) -> None:
    house = await open_house(world, proxies=("10.9.8.0/24",))
    async with SmtpClient(world.network, house.address, 25, ELSEWHERE) as client:
        reply = await client.command("PROXY TCP4 127.0.0.1 203.0.113.25 40000 25")
        assert reply.code == 500


async def test_limits_count_the_client_behind_the_proxy(world: SimulatedWorld) -> None:
    house = await open_house(world, Limits(connections_per_minute=3), proxies=("10.9.8.0/24",))
    codes = []
    for client in [7, 7, 7, 7, 8]:
        stream = await world.network.connect(house.address, 25, PROXY)
        stream.send(b"PROXY TCP4 192.0.2.%d 203.0.113.25 40000 25\r\n" % client)
        codes.append((await stream.receive() or b"")[:3])
        await stream.close()
    assert codes == [b"220", b"220", b"220", b"421", b"220"]
