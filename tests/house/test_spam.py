"""To the inbox, to Junk, refused or quarantined by the score; and what people teach the filter."""

import base64
import io
import time
import zipfile
from datetime import timedelta

import pytest

from mailstead.message import header as fields
from mailstead.model.address import parse_domain
from mailstead.model.entries import Refused, Scored
from mailstead.model.mailbox import Mailbox
from mailstead.model.reply import Reply
from mailstead.services import directory
from mailstead.services.explain import explain
from mailstead.services.replay import Change, replay
from mailstead.storage import (
    accounts,
    filter_lists,
    journal,
    queue,
    relays,
    spam_corpus,
    thresholds,
)
from mailstead.storage.filter_lists import ALLOW, BLOCK, Entry
from mailstead.storage.messages import Mode
from mailstead.storage.queue import Filter
from mailstead.storage.relays import RelayDomain
from mailstead.storage.spam_corpus import EVERYBODY
from mailstead.storage.store import Tx
from mailstead.storage.thresholds import NEVER, Whose
from mailstead.testing.cast.sink import sink
from mailstead.testing.clock import START
from mailstead.testing.house import SimulatedHouse, SimulatedWorld, compose_elsewhere
from mailstead.testing.smtp import SmtpClient

ALICE, CAROL, BOB = "alice@example.org", "carol@example.org", "bob@example.net"
HOST = "192.0.2.5"
CLEAN = ("Minutes of Tuesday", "Attached are the minutes, see you on Friday.\r\n")
OFFER = (
    "Save 90% now!!",
    "Click here http://192.0.2.7/x to order now: viagra, cialis, lowest prices, limited time\r\n",
)


async def receive(
    house: SimulatedHouse,
    subject: str,
    text: str,
    to: list[str] | None = None,
    author: str = BOB,
    header: bytes = b"",
) -> Reply:
    recipients = to or [ALICE]
    message = header + compose_elsewhere(author, recipients, subject, text)
    async with SmtpClient(house.world.network, house.address, 25, HOST) as client:
        return await client.send_message(author, recipients, message)


def told(house: SimulatedHouse) -> list[Scored]:
    return [entry for _, entry in house.told if isinstance(entry, Scored)]


async def subjects(house: SimulatedHouse, login: str = ALICE, name: str = "INBOX") -> list[str]:
    return [one.subject for one in await house.mailbox(login, name)]


async def put(house: SimulatedHouse, name: str, value: float, login: str = "") -> None:
    def work(tx: Tx) -> None:
        whose = Whose()
        if login:
            account = accounts.get_account(tx, login)
            whose = Whose(account.organisation, "", account.id)
        thresholds.put(tx, whose, name, value)

    await house.house.store.write(work)


async def add_to_list(house: SimulatedHouse, entry: str, verdict: str, login: str = "") -> None:
    def work(tx: Tx) -> None:
        account = accounts.get_account(tx, login or ALICE)
        whose = account.organisation, account.id if login else EVERYBODY
        filter_lists.add(tx, Entry(*whose, entry, verdict, "", tx.now))

    await house.house.store.write(work)


async def test_a_clean_message(world: SimulatedWorld) -> None:
    house = await world.house("example.org", ["alice"])
    assert (await receive(house, *CLEAN)).ok
    filed = await house.newest(ALICE)
    mark = fields.get(filed.header, "X-Spam-Status") or b""
    assert mark.startswith(b"No, score=")
    entry = told(house)[-1]
    assert (entry.action, entry.recipients) == ("inbox", (ALICE,))
    assert entry.total == round(sum(part.weight for part in entry.parts), 2) < 5


async def test_a_spam_goes_to_junk_and_says_why(world: SimulatedWorld) -> None:
    house = await world.house("example.org", ["alice"])
    assert (await receive(house, *OFFER)).ok
    assert await subjects(house) == []
    filed = await house.newest(ALICE, "Junk")
    assert (fields.get(filed.header, "X-Spam-Status") or b"").startswith(b"Yes, score=")
    story = await house.house.store.read(lambda tx: journal.find(tx, filed.trace))
    assert story is not None
    (line,) = [line for line in explain(story.entries) if line.text.startswith("The filter")]
    weights = [float(fact.split(" ")[0]) for fact in line.evidence]
    (entry,) = [one for one in story.entries if isinstance(one, Scored)]
    assert (round(sum(weights), 2), entry.action) == (entry.total, "junk")
    assert f"gives it {entry.total:g} points" in line.text


async def test_nobody_else_speaks_as_the_filter(world: SimulatedWorld) -> None:
    house = await world.house("example.org", ["alice"])
    forged = b"X-Spam-Status: No, score=-100\r\nX-Spam-Flag: NO\r\nX-Spammer: no\r\n"
    await receive(house, *CLEAN, header=forged)
    filed = await house.newest(ALICE)
    assert filed.header.count(b"X-Spam-") == 1
    assert b"score=-100" not in filed.header
    assert b"X-Spammer: no" in filed.header


async def test_a_program_is_refused_with_a_reference(world: SimulatedWorld) -> None:
    house = await world.house("example.org", ["alice"])
    header = (
        b"MIME-Version: 1.0\r\nContent-Type: application/octet-stream; name=invoice.pdf.exe\r\n"
        b"Content-Transfer-Encoding: base64\r\n"
    )
    reply = await receive(house, OFFER[0], "TVqQAAMAAAAEAAAA\r\n", header=header)
    assert (reply.code, reply.enhanced) == (550, "5.7.1")
    trace, _ = [(trace, one) for trace, one in house.told if isinstance(one, Refused)][-1]
    assert reply.text.endswith(trace)
    assert await house.mailbox(ALICE) == await house.mailbox(ALICE, "Junk") == []
    assert told(house)[-1].action == "refuse"


async def test_each_recipient_by_their_own_threshold(world: SimulatedWorld) -> None:
    house = await world.house("example.org", ["alice", "carol"])
    await put(house, "junk", NEVER, CAROL)
    await put(house, "refuse", 6, ALICE)
    await put(house, "refuse", NEVER, CAROL)
    assert (await receive(house, *OFFER, to=[ALICE, CAROL])).ok
    assert (len(await subjects(house, ALICE)), len(await subjects(house, CAROL))) == (0, 1)
    assert len(await subjects(house, ALICE, "Junk")) == 1
    actions = {entry.recipients: entry.action for entry in told(house)}
    assert actions == {(ALICE,): "refuse", (CAROL,): "inbox"}
    assert not (await receive(house, *OFFER, to=[ALICE])).ok


@pytest.mark.parametrize("role", ["postmaster", "abuse"])
async def test_roles_are_never_refused(world: SimulatedWorld, role: str) -> None:
    house = await world.house("example.org", ["alice"])
    await put(house, "refuse", 1)
    assert (await receive(house, *OFFER, to=[f"{role}@example.org"])).ok
    assert len(await subjects(house, ALICE, "Junk")) == 1


async def test_put_off_by_the_score(world: SimulatedWorld) -> None:
    house = await world.house("example.org", ["alice"])
    await put(house, "defer", 6)
    reply = await receive(house, *OFFER)
    assert (reply.code, reply.enhanced) == (451, "4.7.1")


async def test_quarantine(world: SimulatedWorld) -> None:
    house = await world.house("example.org", ["alice", "carol"])
    await put(house, "quarantine", 6, ALICE)
    assert (await receive(house, *OFFER, to=[ALICE, CAROL])).ok
    await world.sleep(days=10)
    assert await subjects(house) == await subjects(house, ALICE, "Junk") == []
    assert len(await subjects(house, CAROL, "Junk")) == 1
    store = house.house.store
    ((row, _),) = await store.read(lambda tx: queue.find(tx, Filter(lane="quarantine"), 10, 0))
    assert (row.recipient, row.held) == (ALICE, True)
    assert await house.house.operators.release(Filter(ids=(row.id,))) == 1
    await world.sleep(minutes=5)
    assert await subjects(house) == [OFFER[0]]


@pytest.mark.parametrize("entry", [BOB, "example.net", "192.0.2.0/24"])
async def test_who_is_blocked(world: SimulatedWorld, entry: str) -> None:
    house = await world.house("example.org", ["alice", "carol"])
    await add_to_list(house, entry, BLOCK, ALICE)
    reply = await receive(house, *CLEAN)
    assert (reply.code, reply.enhanced) == (550, "5.7.1")
    assert (await receive(house, *CLEAN, to=[ALICE, CAROL])).ok
    assert (len(await subjects(house)), len(await subjects(house, CAROL))) == (0, 1)


@pytest.mark.parametrize(
    ("entry", "spf", "expected"),
    [
        ("example.net", f"v=spf1 ip4:{HOST} -all", "INBOX"),
        ("example.net", "", "Junk"),  # anybody can claim the name
        (HOST, "", "INBOX"),
    ],
)
async def test_who_is_always_welcome(
    world: SimulatedWorld, entry: str, spf: str, expected: str
) -> None:
    if spf:
        world.zone["TXT", "example.net"] = spf
    house = await world.house("example.org", ["alice"])
    await add_to_list(house, filter_lists.parse_entry(entry), ALLOW)
    await receive(house, *OFFER)
    assert await subjects(house, ALICE, expected) == [OFFER[0]]


async def test_whom_one_wrote_to(world: SimulatedWorld) -> None:
    """A proven name is credited, a claimed one is not."""
    house = await world.house("example.org", ["alice"])
    await house.submit(ALICE, to=BOB)
    await receive(house, *CLEAN)
    world.zone["TXT", "example.net"] = f"v=spf1 ip4:{HOST} -all"
    await receive(house, *CLEAN)
    rules = [{part.rule for part in entry.parts} for entry in told(house)]
    assert ["you-wrote-to" in one for one in rules] == [False, True]


async def test_a_sender_is_remembered(world: SimulatedWorld) -> None:
    world.zone["TXT", "example.net"] = f"v=spf1 ip4:{HOST} -all"
    house = await world.house("example.org", ["alice"])
    for _ in range(6):
        await receive(house, *CLEAN)
        await world.sleep(minutes=2)
    first, *_, last = told(house)
    remembered = {part.rule: part.weight for part in last.parts if part.rule.startswith("sender")}
    assert set(remembered) == {"sender-network", "sender-domain", "sender-address"}
    assert all(weight < 0 for weight in remembered.values())
    assert last.total < first.total


async def test_who_imitates_a_domain_of_ours(world: SimulatedWorld) -> None:
    house = await world.house("example.org", ["alice"])
    await receive(house, *CLEAN, author="boss@exarnple.org")
    parts = {part.rule: part.detail for part in told(house)[-1].parts}
    assert parts["from-looks-like"] == "exarnple.org for example.org"


async def test_who_imitates_a_friend(world: SimulatedWorld) -> None:
    """Only for whom it is a friend."""
    house = await world.house("example.org", ["alice", "carol"])
    await house.submit(ALICE, to="bob@brewery.example")
    for to in (ALICE, CAROL):
        await receive(house, *CLEAN, to=[to], author="bob@brevvery.example")
    rules = [{part.rule: part.detail for part in entry.parts} for entry in told(house)]
    said = [one.get("from-looks-like-friend") for one in rules]
    assert said == ["brevvery.example for brewery.example, whom they write to", None]


async def test_a_bad_score_is_the_second_fact(world: SimulatedWorld) -> None:
    """RFC 9989 section 7.4: p=reject alone refuses nothing; a list may have broken it."""
    world.zone["TXT", "_dmarc.example.net"] = "v=DMARC1; p=reject"
    house = await world.house("example.org", ["alice"])
    through = b"ARC-Seal: i=1\r\n"
    assert (await receive(house, *CLEAN, header=through)).ok
    assert await subjects(house, ALICE, "Junk") == [CLEAN[0]]
    reply = await receive(house, *OFFER, header=through)
    assert (reply.code, reply.enhanced) == (550, "5.7.1")


async def test_a_big_message(world: SimulatedWorld) -> None:
    house = await world.house("example.org", ["alice"])
    assert (await receive(house, CLEAN[0], "word after word\r\n" * 60_000)).ok
    assert told(house)[-1].action == "inbox"


# ---------------------------------------------------------------------- what people teach

HAM = [
    ("Minutes of Tuesday", "Attached are the minutes, please check the third paragraph.\r\n"),
    ("Patch for the parser", "The second hunk does not apply, can you rebase it?\r\n"),
    ("Lunch on Friday", "Shall we meet at noon in the usual place?\r\n"),
    ("Build is broken", "The parser tests fail since the last patch, please check.\r\n"),
]
SPAM = [
    ("You have WON", "Claim your prize now, limited offer, http://win.example/claim\r\n"),
    ("Cheap pills", "Lowest prices guaranteed, order now, http://pills.example/order\r\n"),
    ("Lose weight", "Limited offer, order today, guaranteed http://pills.example/\r\n"),
    ("Your prize", "Claim your money, guaranteed, http://win.example/x\r\n"),
]


async def train(house: SimulatedHouse, times: int = 25) -> None:
    """What an operator has sorted."""
    for messages, spam in ((HAM, False), (SPAM, True)):
        whole = [compose_elsewhere(BOB, [ALICE], *one) for one in messages]
        organisation = await house.house.store.read(accounts.first_organisation)
        assert organisation is not None
        await house.house.training.train(organisation, EVERYBODY, whole * times, spam)


async def move(house: SimulatedHouse, source: str, target: str) -> None:
    """Alice moves all that is there."""

    async def mailbox(name: str) -> Mailbox:
        return await house.house.mailboxes.get(account.id, name)

    account = await house.house.store.read(lambda tx: accounts.get_account(tx, ALICE))
    before, after = await mailbox(source), await mailbox(target)
    await house.house.mailboxes.move(before.id, [(1, 1000)], after.id)


async def learnt(house: SimulatedHouse) -> dict[int, tuple[int, int]]:
    """Messages that each corpus has learnt: ham, spam; the organisation's is 0."""
    await house.house.training.learn()
    corpora = await house.house.store.read(spam_corpus.list_all)
    return {one.account: (one.totals.ham, one.totals.spam) for _, one in corpora}


async def test_what_was_learnt_decides(world: SimulatedWorld) -> None:
    house = await world.house("example.org", ["alice"])
    await train(house)
    await receive(house, "Lunch on Monday", "At noon in the usual place?\r\n")
    await receive(house, "Your prize", "Claim it, limited offer, http://win.example/z\r\n")
    assert await subjects(house) == ["Lunch on Monday"]
    assert await subjects(house, ALICE, "Junk") == ["Your prize"]
    learnt_parts = [[one for one in entry.parts if one.rule == "learnt"] for entry in told(house)]
    assert [parts[0].weight > 0 for parts in learnt_parts] == [False, True]


async def test_many_recipients_share_what_was_learnt(world: SimulatedWorld) -> None:
    """But for whom has lessons of their own."""
    names = [f"user{number}" for number in range(20)]
    house = await world.house("example.org", ["alice", *names])
    await train(house)
    await receive(house, *CLEAN)
    await move(house, "INBOX", "Junk")
    await learnt(house)
    await receive(house, *CLEAN, to=[ALICE, *(f"{name}@example.org" for name in names)])
    entries = told(house)[1:]
    weights = {
        one.recipients: part.weight
        for one in entries
        for part in one.parts
        if part.rule == "learnt"
    }
    assert sorted(map(len, weights)) == [1, 20]
    (others,) = [weight for whose, weight in weights.items() if whose != (ALICE,)]
    assert weights[ALICE,] > others


async def test_moving_one_back_lands_the_next_one_right(world: SimulatedWorld) -> None:
    """T13: a filter that was wrong once is right the second time."""
    world.zone["TXT", "example.net"] = f"v=spf1 ip4:{HOST} -all"
    world.zone["TXT", "_dmarc.example.net"] = "v=DMARC1; p=none"
    house = await world.house("example.org", ["alice"])
    await train(house)
    herbs = "Limited offer of our garden: order now at http://herbs.example/\r\n"
    news = ("Herbs of our garden!!", herbs)
    await receive(house, *news)
    assert await subjects(house, ALICE, "Junk") == [news[0]]
    await move(house, "Junk", "INBOX")
    await learnt(house)
    await receive(house, news[0], "Limited offer of our garden: order now the new sorts\r\n")
    assert await subjects(house) == [news[0]] * 2
    assert told(house)[1].total < told(house)[0].total - 3


async def test_what_people_move_is_learnt_and_taken_back(world: SimulatedWorld) -> None:
    house = await world.house("example.org", ["alice"])
    account = await house.house.store.read(lambda tx: accounts.get_account(tx, ALICE))
    await receive(house, *CLEAN)
    assert await learnt(house) == {}
    await move(house, "INBOX", "Junk")
    assert await learnt(house) == {0: (0, 1), account.id: (0, 1)}
    await move(house, "Junk", "INBOX")
    assert await learnt(house) == {0: (1, 0), account.id: (1, 0)}
    await move(house, "INBOX", "Archive")
    assert await learnt(house) == {0: (1, 0), account.id: (1, 0)}
    left = await house.house.store.read(
        lambda tx: tx.value("SELECT count(*) FROM spam_token WHERE spam > 0")
    )
    assert left == 0


async def test_who_is_gone_is_forgotten(world: SimulatedWorld) -> None:
    house = await world.house("example.org", ["alice", "carol"])
    await receive(house, *CLEAN)
    await move(house, "INBOX", "Junk")
    await learnt(house)
    await put(house, "junk", 7, ALICE)
    await add_to_list(house, BOB, BLOCK, ALICE)
    await directory.erase_account(house.house.store, ALICE, lambda gone: None)
    assert await learnt(house) == {0: (0, 1)}  # what all have learnt stays
    tables = ("filter_setting", "filter_list", "spam_lesson", "spam_learnt")
    for table in tables:
        rows = await house.house.store.read(lambda tx, t=table: tx.rows(f"SELECT * FROM {t}"))  # type: ignore[misc]
        assert rows == [], table
    assert (
        await house.house.store.read(
            lambda tx: tx.rows("SELECT account FROM spam_token WHERE account > 0")
        )
        == []
    )


async def test_the_filter_does_not_learn_from_itself(world: SimulatedWorld) -> None:
    house = await world.house("example.org", ["alice"])
    await receive(house, *OFFER)
    assert await subjects(house, ALICE, "Junk") == [OFFER[0]]
    assert await learnt(house) == {}
    await move(house, "Junk", "Trash")
    assert await learnt(house) == {}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ([("add", "$Junk")], (0, 1)),
        ([("add", "$NotJunk")], (1, 0)),
        ([("add", "$Junk"), ("remove", "$Junk")], (1, 0)),
        ([("add", "$Junk"), ("add", "$NotJunk")], (1, 0)),
        ([("replace", "$junk")], (0, 1)),
        ([("add", "Work")], None),
    ],
)
async def test_keywords_are_lessons(
    world: SimulatedWorld, changes: list[tuple[Mode, str]], expected: tuple[int, int] | None
) -> None:
    house = await world.house("example.org", ["alice"])
    await receive(house, *CLEAN)
    account = await house.house.store.read(lambda tx: accounts.get_account(tx, ALICE))
    mailbox = await house.house.mailboxes.get(account.id, "INBOX")
    for mode, keyword in changes:
        await house.house.mailboxes.set_flags(mailbox.id, [(1, 9)], mode, 0, keyword)
    assert (await learnt(house)).get(0) == expected


async def test_what_is_relayed_is_marked(world: SimulatedWorld) -> None:
    """The domain's own server puts it into its Junk."""
    primary = sink()
    world.network.listen("198.51.100.1", 25, primary.serve)
    house = await world.house("example.org", ["alice"])

    def relay(tx: Tx) -> None:
        owner = accounts.first_organisation(tx)
        assert owner is not None
        name = parse_domain("example.com")
        relays.add(tx, RelayDomain(name, owner, "198.51.100.1:25", "smtp", "list", 14, tx.now))
        relays.add_recipients(tx, name, ["carol"])

    await house.house.store.write(relay)
    assert (await receive(house, *OFFER, to=["carol@example.com"])).ok
    await world.sleep(minutes=1)
    (taken,) = primary.received
    assert (fields.get(taken.content, "X-Spam-Status") or b"").startswith(b"Yes, score=")


# ---------------------------------------------------------------------- what leaves


async def test_spam_of_a_stolen_account_is_held(world: SimulatedWorld) -> None:
    """T14: before fifty leave; who and why is told."""
    away = sink()
    world.zone["MX", "example.net"] = "10 mx.example.net"
    world.zone["A", "mx.example.net"] = "192.0.2.25"
    world.network.listen("192.0.2.25", 25, away.serve)
    house = await world.house("example.org", ["alice"])
    await house.submit(ALICE, BOB, *OFFER)
    assert told(house) == []  # nobody asked for it
    await put(house, "hold", 4)
    await house.submit(ALICE, BOB, *CLEAN)
    for number in range(60):
        assert (await house.submit(ALICE, f"b{number}@example.net", *OFFER)).ok
    await world.sleep(minutes=10)
    assert len(away.received) == 2
    assert [entry.action for entry in told(house)] == ["send"] + ["hold"] * 60
    held = await house.house.operators.find(Filter(held=True), 100)
    assert len(held) == 60
    trace = held[0][1].trace
    story = await house.house.store.read(lambda tx: journal.find(tx, trace))
    assert story is not None
    said = [line.text for line in explain(story.entries)]
    assert any("held back" in text and "b0@example.net" in text for text in said)
    await house.house.operators.release(Filter(ids=(held[0][0].id,)))
    await world.sleep(minutes=5)
    assert len(away.received) == 3


# ---------------------------------------------------------------------- what would change


async def test_a_replay_of_what_is_so_moves_nothing(world: SimulatedWorld) -> None:
    house = await world.house("example.org", ["alice"])
    await receive(house, *CLEAN)
    await receive(house, *OFFER)
    await put(house, "refuse", 6)
    await receive(house, *OFFER)
    await world.sleep(seconds=5)
    found = await replay(house.house.store, START, Change())
    assert (found.judged, found.moved) == (3, [])


async def test_a_replay_says_what_would_move_and_what_people_said(world: SimulatedWorld) -> None:
    house = await world.house("example.org", ["alice"])
    await receive(house, *CLEAN)
    await receive(house, *OFFER)
    await move(house, "Junk", "INBOX")
    await learnt(house)
    total = told(house)[1].total
    strict = await replay(house.house.store, START, Change(refuse=total))
    assert [(one.before, one.after, one.people) for one in strict.moved] == [
        ("junk", "refuse", "ham")
    ]
    mild = await replay(house.house.store, START, Change(weights={"words-of-remedies": -20}))
    assert [(one.before, one.after) for one in mild.moved] == [("junk", "inbox")]
    weight = next(x.weight for x in told(house)[1].parts if x.rule == "words-of-remedies")
    assert mild.moved[0].new_total == round(total - weight - 20, 2)
    later = START + timedelta(days=1)
    assert (await replay(house.house.store, later, Change(junk=-50))).judged == 0


# ---------------------------------------------------------------------- what is made to take long


def zip_bomb() -> bytes:
    """Archives of fifty megabytes of zeros, twenty in a row."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("zeros", bytes(50_000_000))
    return base64.encodebytes(buffer.getvalue() * 20).replace(b"\n", b"\r\n")


BOMBS = {
    "zip": b"Content-Type: application/zip; name=a.zip\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    + zip_bomb(),
    "fields": b"".join(b"X-%d: a\r\n" % n for n in range(15_000)) + b"\r\nhello\r\n",
    "parts": b"Content-Type: multipart/mixed; boundary=x\r\n\r\n" + b"--x\r\n\r\nhi\r\n" * 50_000,
    "nested": b"".join(
        b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n)
        for n in range(1000)
    ),
    "html": b"Content-Type: text/html\r\n\r\n" + b"<div style='<a <!-- \r\n" * 100_000,
}


@pytest.mark.parametrize("name", BOMBS)
async def test_a_bomb_gets_a_verdict(world: SimulatedWorld, name: str) -> None:
    house = await world.house("example.org", ["alice"])
    header = compose_elsewhere(BOB, [ALICE], "Look", "").removesuffix(b"\r\n")
    start = time.process_time()
    async with SmtpClient(house.world.network, house.address, 25, HOST) as client:
        reply = await client.send_message(BOB, [ALICE], header + BOMBS[name])
    assert time.process_time() - start < 10
    assert reply.code in (250, 550)
    (entry,) = told(house)
    assert entry.total == round(sum(part.weight for part in entry.parts), 2)


# ---------------------------------------------------------------------- five outcomes


@pytest.mark.parametrize("action", ["inbox", "junk", "quarantine", "defer", "refuse"])
async def test_every_outcome_can_be_looked_up(world: SimulatedWorld, action: str) -> None:
    """What the sender or the recipient sees of it opens the whole story."""
    house = await world.house("example.org", ["alice"])
    for name in ("junk", "quarantine", "defer", "refuse"):
        await put(house, name, -100 if name == action else NEVER)
    reply = await receive(house, *CLEAN)
    assert reply.code == {"defer": 451, "refuse": 550}.get(action, 250)
    await world.sleep(seconds=5)
    ((trace, entry),) = [(t, one) for t, one in house.told if isinstance(one, Scored)]
    assert entry.action == action
    story = await house.house.store.read(lambda tx: journal.find(tx, trace))
    assert story is not None
    assert entry in story.entries
    if reply.ok or action == "refuse":
        assert trace in reply.text
