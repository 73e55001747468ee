"""What dialogues cannot show: big messages, limits, TLS, the journal, what is shared."""

import asyncio
import base64
import quopri
import re
import ssl
from collections.abc import Callable
from typing import Any

import pytest

from mailstead.model.entries import Retrieved
from mailstead.net.tls import TlsStream, opportunistic_context
from mailstead.server.certificates import own_context
from mailstead.sessions.imap import fetch
from mailstead.sessions.imap.append import HEADER_LIMIT, HEADERS_LIMIT, SPOOLED_LIMIT
from mailstead.sessions.imap.state import Door
from mailstead.storage import accounts, journal, mailboxes, messages
from mailstead.storage.blobs import PART_SIZE
from mailstead.storage.store import Tx
from mailstead.testing.clock import START
from mailstead.testing.house import SimulatedWorld
from mailstead.testing.network import MemoryStream
from mailstead.testing.transcript import PORT, Client, ImapHouse, compose, open_house

HEADER = b"Subject: big\r\n\r\n"


async def read_literal(client: Client, command: bytes) -> bytes:
    """The octets of the first literal in the answer."""
    client.send(command + b"\r\n")
    tagged = b"\r\n" + command.split(b" ")[0] + b" "
    data = client.unread
    while tagged not in data[-100:]:
        data += await client.stream.receive() or b""
    client.unread = b""
    found = re.search(rb"\{(\d+)\}\r\n", data)
    assert found is not None
    return data[found.end() : found.end() + int(found[1])]


@pytest.mark.rfc("3501 section 6.4.5")
@pytest.mark.parametrize(
    ("item", "start", "end"),
    [
        ("BODY[]", 0, None),
        ("BODY[TEXT]", len(HEADER), None),
        ("BODY[]<10.20>", 10, 30),
        ("BODY[]<0.4294967295>", 0, None),
        ("BODY[]<5.600000>", 5, 600_005),
        (
            f"BODY[TEXT]<{PART_SIZE - 5}.10>",
            len(HEADER) + PART_SIZE - 5,
            len(HEADER) + PART_SIZE + 5,
        ),
        ("BODY[TEXT]<300000.400000>", len(HEADER) + 300_000, len(HEADER) + 700_000),
        ("BODY[1]", len(HEADER), None),
    ],
)
async def test_a_big_message_is_streamed(
    world: SimulatedWorld, item: str, start: int, end: int | None
) -> None:
    house = await open_house(world)
    message = HEADER + b"".join(b"%07d\r\n" % number for number in range(100_000))
    await house.deliver("alice", message)
    client = await house.log_in("alice")
    await client.command("a SELECT INBOX")
    found = await read_literal(client, b"b FETCH 1 (UID %b)" % item.encode())
    assert message[start:end] == found


async def test_a_big_message_among_small_ones(world: SimulatedWorld) -> None:
    house = await open_house(world)
    big = HEADER + b"x" * (PART_SIZE + 1) + b"\0"
    for message in (compose("first"), big, compose("last")):
        await house.deliver("alice", message)
    client = await house.log_in("alice")
    await client.command("a SELECT INBOX")
    client.send(b"b FETCH 1:3 (RFC822.SIZE BODY.PEEK[] UID)\r\n")
    answer = await client.leftover()
    expected = [
        b"* %d FETCH (RFC822.SIZE %d BODY[] {%d}\r\n%b UID %d)\r\n" % (n, len(m), len(m), m, n)
        for n, m in enumerate((compose("first"), big.replace(b"\0", b"\x80"), compose("last")), 1)
    ]
    assert b"".join(expected) + b"b OK FETCH completed\r\n" == answer


async def test_a_long_header_is_cut_and_read_whole(world: SimulatedWorld) -> None:
    house = await open_house(world)
    message = b"X: " + b"y" * 70 + b"\r\n"
    message = message * 5000 + b"\r\nbody\r\n"
    client = await house.log_in("alice")
    client.send(b"a APPEND INBOX {%d+}\r\n%b\r\n" % (len(message), message))
    assert await client.line() == "a OK [APPENDUID 1 1] APPEND completed"
    await client.command("b SELECT INBOX")
    assert message == await read_literal(client, b"c FETCH 1 BODY[]")


@pytest.mark.rfc("5530 section 3")
async def test_quota(world: SimulatedWorld) -> None:
    house = await open_house(world)
    await house.house.store.write(lambda tx: accounts.set_quota(tx, "alice@example.org", 300))
    client = await house.log_in("alice")
    append = "a APPEND INBOX {150+}\r\n" + "x" * 150
    assert await client.command(append) == ["a OK [APPENDUID 1 1] APPEND completed"]
    assert await client.command(append) == ["a OK [APPENDUID 1 2] APPEND completed"]
    told = "The account's quota is used up: delete some mail first"
    assert await client.command(append) == [f"a NO [OVERQUOTA] {told}"]


@pytest.mark.rfc("3502 section 6.3.11")
async def test_all_of_the_messages_or_none(world: SimulatedWorld) -> None:
    house = await open_house(world)
    await house.house.store.write(lambda tx: accounts.set_quota(tx, "alice@example.org", 300))
    client = await house.log_in("alice")
    append = "a APPEND INBOX {150+}\r\n" + "x" * 150
    third = " {10+}\r\n" + "x" * 10
    told = "The account's quota is used up: delete some mail first"
    many = append + append.removeprefix("a APPEND INBOX") + third
    assert await client.command(many) == [f"a NO [OVERQUOTA] {told}"]
    status = ['* STATUS "INBOX" (MESSAGES 0 UIDNEXT 1)', "b OK STATUS completed"]
    assert await client.command("b STATUS INBOX (MESSAGES UIDNEXT)") == status
    assert await client.command(append + third) == ["a OK [APPENDUID 1 1:2] APPEND completed"]


async def test_the_files_of_one_command_are_limited(world: SimulatedWorld) -> None:
    """When there is no memory left for bodies, each waits in a file of its own."""
    house = await open_house(world)
    house.mailboxes._budget.left = 0
    client = await house.log_in("alice")
    each = b" {9+}\r\nA: b\r\n\r\nx"
    limit = "a NO [LIMIT] Too many big messages for one command"
    client.send(b"a APPEND INBOX" + each * (SPOOLED_LIMIT + 1) + b"\r\n")
    assert limit == await client.line()
    client.send(b"b APPEND INBOX" + each * SPOOLED_LIMIT + b"\r\n")
    assert await client.line() == f"b OK [APPENDUID 1 1:{SPOOLED_LIMIT}] APPEND completed"


async def test_the_headers_of_one_command_are_limited(world: SimulatedWorld) -> None:
    house = await open_house(world)
    client = await house.log_in("alice")
    header = b"a" * HEADER_LIMIT
    each = b" {%d+}\r\n%b" % (len(header), header)
    many = HEADERS_LIMIT // HEADER_LIMIT
    limit = "a NO [LIMIT] The headers are too long for one command"
    client.send(b"a APPEND INBOX" + each * many + b" {3+}\r\nabc {3+}\r\nabc\r\n")
    assert limit == await client.line()
    client.send(b"b NOOP\r\n")
    assert await client.line() == "b OK Completed"


@pytest.mark.rfc("3516 section 4.2")
@pytest.mark.parametrize(
    ("encode", "of"),
    [
        (base64.encodebytes, "base64"),
        (quopri.encodestring, "quoted-printable"),
        (bytes, "binary"),
    ],
)
async def test_a_big_part_without_its_encoding(
    world: SimulatedWorld, encode: Callable[[bytes], bytes], of: str
) -> None:
    house = await open_house(world)
    octets = b"".join(b"%07d = \xe9\r\n" % number for number in range(60_000))
    header = b"Content-Transfer-Encoding: %b\r\n\r\n" % of.encode()
    await house.deliver("alice", header + encode(octets))
    client = await house.log_in("alice")
    await client.command("a SELECT INBOX")
    assert octets == await read_literal(client, b"b FETCH 1 BINARY.PEEK[1]")
    found = await read_literal(client, b"c FETCH 1 BINARY.PEEK[1]<300000.400000>")
    assert octets[300_000:700_000] == found
    sizes = await client.command("d FETCH 1 (UID BINARY.SIZE[1] FLAGS)")
    assert sizes[0] == f"* 1 FETCH (UID 1 BINARY.SIZE[1] {len(octets)} FLAGS (\\Recent))"


async def test_a_big_part_with_nul(world: SimulatedWorld) -> None:
    house = await open_house(world)
    octets = b"abc\0" * PART_SIZE
    header = b"Content-Transfer-Encoding: base64\r\n\r\n"
    await house.deliver("alice", header + base64.encodebytes(octets))
    client = await house.log_in("alice")
    await client.command("a SELECT INBOX")
    assert octets == await read_literal(client, b"b FETCH 1 BINARY[1]")
    client.send(b"c FETCH 1 BINARY[1]<0.3>\r\n")
    assert await client.line() == "* 1 FETCH (BINARY[1]<0> {3}"


@pytest.mark.rfc("8970 section 4")
async def test_a_preview_that_is_not_at_hand(world: SimulatedWorld) -> None:
    house = await open_house(world)
    header = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"
    image = b"--b\r\nContent-Type: image/png\r\n\r\n" + b"x" * 300_000
    await house.deliver("alice", header + image + b"\r\n--b\r\n\r\nfar away\r\n--b--\r\n")
    client = await house.log_in("alice")
    await client.command("a SELECT INBOX")
    lazy = (await client.command("b FETCH 1 PREVIEW (LAZY)"))[0]
    assert lazy == "* 1 FETCH (PREVIEW NIL)"
    waited = (await client.command("c FETCH 1 PREVIEW"))[0]
    assert waited == '* 1 FETCH (PREVIEW "far away")'


async def test_keywords_are_limited(world: SimulatedWorld) -> None:
    house = await open_house(world)
    await house.deliver("alice", compose("a"))
    client = await house.log_in("alice")
    await client.command("a SELECT INBOX")
    many = " ".join(f"k{number}" for number in range(100))
    assert (await client.command(f"b STORE 1 +FLAGS.SILENT ({many})"))[-1] == "b OK STORE completed"
    limit = "c NO [LIMIT] A mailbox has at most 100 keywords"
    assert await client.command("c STORE 1 FLAGS (another)") == [limit]


async def retrievals(house: ImapHouse) -> list[Retrieved]:
    """What the journal tells of first retrievals."""

    def work(tx: Tx) -> list[Retrieved]:
        traces = [row[0] for row in tx.rows("SELECT DISTINCT trace FROM journal ORDER BY trace")]
        stories = [journal.find(tx, trace) for trace in traces]
        entries = [entry for story in stories if story for entry in story.entries]
        return [entry for entry in entries if isinstance(entry, Retrieved)]

    return await house.house.store.read(work)


async def test_the_first_retrieval_is_told_once(world: SimulatedWorld) -> None:
    house = await open_house(world)
    await house.deliver("alice", compose("a"))
    client = await house.log_in("alice")
    await client.command('a ID ("name" "Reader" "version" "2")')
    await client.command("b SELECT INBOX")
    await client.command("c FETCH 1 (ENVELOPE BODY.PEEK[HEADER])")
    await world.sleep(seconds=2)
    assert await retrievals(house) == []
    for _ in range(2):
        await client.command("d FETCH 1 BODY.PEEK[]")
    other = await house.log_in("alice")
    await other.command("a SELECT INBOX")
    await other.command("b FETCH 1 BODY.PEEK[]")
    await world.sleep(seconds=2)
    told = [
        (one.account, one.protocol, one.mailbox, one.uid, one.client)
        for one in await retrievals(house)
    ]
    assert told == [("alice@example.org", "imap", "INBOX", 1, "Reader 2")]


async def fill(house: ImapHouse, count: int) -> None:
    """So many small messages for alice."""
    for number in range(count):
        await house.deliver("alice", b"\r\n%d" % number)


async def test_long_commands_are_series_of_writes(world: SimulatedWorld) -> None:
    house = await open_house(world)
    await fill(house, 1203)
    client = await house.log_in("alice")
    await client.command("a SELECT INBOX")
    copied = await client.command("b COPY 1:* Archive")
    assert copied == ["b OK [COPYUID 2 1:1203 1:1203] COPY completed"]
    stored = await client.command(r"c STORE 1:* +FLAGS (\Deleted)")
    assert len(stored) == 1204
    moved = await client.command("d MOVE 1:1100 Trash")
    assert moved[:2] == [
        "* OK [COPYUID 6 1:1000 1:1000] Moved",
        "* OK [COPYUID 6 1001:1100 1001:1100] Moved",
    ]
    assert moved.count("* 1 EXPUNGE") == 1100
    assert (await client.command("e EXPUNGE")).count("* 1 EXPUNGE") == 103
    other = await house.log_in("alice")
    status = "STATUS %s (MESSAGES)"
    assert [
        (await other.command(f"f {status % name}"))[0] for name in ("INBOX", "Archive", "Trash")
    ] == [
        '* STATUS "INBOX" (MESSAGES 0)',
        '* STATUS "Archive" (MESSAGES 1203)',
        '* STATUS "Trash" (MESSAGES 1100)',
    ]


@pytest.mark.rfc("3501 section 6.4.7")
async def test_copy_is_all_or_nothing(world: SimulatedWorld) -> None:
    house = await open_house(world)
    await fill(house, 1203)
    client, other = await house.log_in("alice"), await house.log_in("alice")
    await client.command("a SELECT INBOX")
    await other.command("a SELECT INBOX")
    await other.command(r"b STORE 1202 +FLAGS (\Deleted)")
    await other.command("c EXPUNGE")
    gone = "b NO [EXPUNGEISSUED] Some of the messages are gone"
    assert (await client.command("b COPY 1:* Archive"))[-1] == gone
    assert (await other.command("d STATUS Archive (MESSAGES)"))[
        0
    ] == '* STATUS "Archive" (MESSAGES 0)'


async def test_a_body_that_goes_away_ends_the_connection(world: SimulatedWorld) -> None:
    """A literal was announced; there is nothing that could be said instead of its octets."""
    house = await open_house(world)
    await house.deliver("alice", HEADER + b"x" * (PART_SIZE * 4))
    client = await house.log_in("alice")
    await client.command("a SELECT INBOX")
    client.send(b"b FETCH 1 BODY[]\r\n")
    original = house.mailboxes.read_body

    async def read_body(*span: object) -> bytes:
        def expunge(tx: Tx) -> None:
            account = accounts.get_account(tx, "alice@example.org")
            inbox = mailboxes.get(tx, account.id, "INBOX")
            messages.clear(tx, account.id, inbox.id, 10)

        await house.house.store.write(expunge)
        return await original(*span)  # type: ignore[arg-type]

    house.mailboxes.read_body = read_body  # type: ignore[method-assign]
    assert not (await client.leftover()).endswith(b"completed\r\n")
    with pytest.raises(ConnectionResetError):
        await client.line()


async def test_one_page_is_read_ahead_and_no_more(
    world: SimulatedWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody who asks for much and takes nothing has more than two pages in memory."""
    monkeypatch.setattr(fetch, "ROWS_LIMIT", 2)
    house = await open_house(world)
    await fill(house, 9)
    client = await house.log_in("alice")
    await client.command("a SELECT INBOX")
    original, pages, stuck = house.mailboxes.page, [], asyncio.Event()

    async def page(*wanted: Any) -> Any:
        pages.append(wanted)
        return await original(*wanted)

    async def wait(stream: MemoryStream) -> None:
        if stream.local.port == PORT:
            await stuck.wait()
            raise ConnectionResetError

    monkeypatch.setattr(house.mailboxes, "page", page)
    monkeypatch.setattr(MemoryStream, "congested", property(lambda stream: len(pages) > 1))
    monkeypatch.setattr(MemoryStream, "flush", wait)
    before = asyncio.all_tasks()
    client.send(b"b FETCH 1:* (ENVELOPE)\r\n")
    await world.sleep(seconds=10)
    assert len(pages) == 3
    stuck.set()
    await world.sleep(seconds=10)
    assert len(pages) == 3
    assert asyncio.all_tasks() < before


async def test_sessions_share_one_array_of_uids(world: SimulatedWorld) -> None:
    house = await open_house(world)
    await fill(house, 3)
    account = await house.house.store.read(lambda tx: accounts.get_account(tx, "alice@example.org"))
    first = await house.mailboxes.open(account.id, "INBOX")
    second = await house.mailboxes.open(account.id, "INBOX")
    assert first.contents is second.contents
    await house.deliver("alice", compose("new"))
    third = await house.mailboxes.open(account.id, "INBOX")
    update = await house.mailboxes.update(first.contents)
    assert update is not None
    assert update.contents is third.contents
    assert list(third.contents.uids) == [1, 2, 3, 4]


# ---------------------------------------------------------------------- TLS


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    """A server's context with a certificate of its own making."""
    return own_context(tmp_path_factory.mktemp("tls"), ["mx.example.org"], START)


async def secure(client: Client) -> Client:
    """The client inside TLS."""
    stream = TlsStream(client.stream, opportunistic_context(), server_side=False)
    await stream.handshake()
    return Client(stream)


@pytest.mark.rfc("3501 section 6.2.1")
async def test_starttls(world: SimulatedWorld, tls: ssl.SSLContext) -> None:
    house = await open_house(world, Door(tls=tls))
    client = await house.connect()
    offered = "IMAP4rev1 IMAP4rev2 LITERAL+ SASL-IR ID IDLE"
    assert await client.line() == (
        f"* OK [CAPABILITY {offered} STARTTLS LOGINDISABLED] mx.example.org is ready"
    )
    # What was sent before the handshake must not be run inside it (CVE-2021-33515).
    client.send(b"a STARTTLS\r\nb LOGOUT\r\n")
    assert await client.line() == "a OK Begin TLS now"
    client = await secure(client)
    assert (await client.command("c CAPABILITY"))[
        0
    ] == f"* CAPABILITY {offered} AUTH=PLAIN AUTH=SCRAM-SHA-256"
    assert await client.command("d STARTTLS") == ["d BAD TLS is not to be had here"]
    assert (await client.command("e LOGIN alice@example.org secret"))[0].startswith("e OK ")
    assert (await client.command("f SELECT INBOX"))[-1] == "f OK [READ-WRITE] SELECT completed"
    client.send(b"g IDLE\r\n")
    assert await client.line() == "+ idling"
    await house.deliver("alice", compose("inside TLS"))
    assert await client.line() == "* 1 EXISTS"


async def test_implicit_tls(world: SimulatedWorld, tls: ssl.SSLContext) -> None:
    house = await open_house(world, Door(tls=tls, implicit_tls=True))
    client = await secure(await house.connect())
    assert (await client.line()).startswith("* OK [CAPABILITY IMAP4rev1 ")
    assert (await client.command("a LOGIN alice@example.org secret"))[0].startswith("a OK ")


async def test_rubbish_instead_of_a_handshake(world: SimulatedWorld, tls: ssl.SSLContext) -> None:
    house = await open_house(world, Door(tls=tls, implicit_tls=True))
    client = await house.connect()
    client.send(b"a LOGIN alice@example.org secret\r\n")
    assert b"OK" not in await client.leftover()


# ---------------------------------------------------------------------- the rest


async def test_a_client_that_goes_away_leaves_nothing(world: SimulatedWorld) -> None:
    house = await open_house(world)
    client = await house.log_in("alice")
    await client.command("a SELECT INBOX")
    client.send(b"b IDLE\r\n")
    await client.line()
    client.stream.abort()
    await world.sleep(seconds=1)
    await house.deliver("alice", compose("nobody hears it"))
    assert house.house.watch._watchers == {}
