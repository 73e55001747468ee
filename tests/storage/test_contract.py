"""What every store keeps to, whatever database is behind it."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import islice

import msgspec
import pytest

from mailstead.message import mime, structure
from mailstead.model.address import Domain, parse_address
from mailstead.model.entries import Accepted, Delivered, Queued
from mailstead.model.errors import Refusal
from mailstead.model.flags import DELETED, FLAGGED, SEEN
from mailstead.model.numbers import AccountId, MailboxId, OrganisationId, TraceId
from mailstead.storage import accounts, blobs, changes, journal, mailboxes, messages, placing, queue
from mailstead.storage.accounts import Elsewhere, ToAccount, ToNobody, ToTargets
from mailstead.storage.apply import apply_together
from mailstead.storage.claims import Asked, claim
from mailstead.storage.plan import (
    Append,
    Enqueue,
    JournalRow,
    Plan,
    Postpone,
    QueuedRecipient,
    Release,
    Rendered,
    Step,
)
from mailstead.storage.store import Store, Tx
from mailstead.testing.invariants import broken

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
HEADER = b"From: bob@example.net\r\nSubject: Hello\r\n\r\n"
ALL = [(1, 2**32 - 1)]

Open = Callable[[], Store]


def populate(tx: Tx) -> None:
    organisation = accounts.create_organisation(tx, "example")
    accounts.create_domain(tx, organisation, Domain("example.org"))
    accounts.create_account(tx, parse_address("alice@example.org"), "hash", quota=100_000)
    accounts.create_account(tx, parse_address("bob@example.org"), "hash")
    accounts.create_alias(
        tx, parse_address("team@example.org"), [parse_address("alice@example.org")]
    )


def inbox(tx: Tx, login: str = "alice@example.org") -> tuple[AccountId, MailboxId]:
    account = accounts.get_account(tx, login)
    return account.id, mailboxes.get(tx, account.id, "INBOX").id


def render(header: bytes, body: bytes) -> Rendered:
    part = mime.scan(header, body)
    return Rendered(
        structure.dump(part),
        structure.envelope(header),
        structure.body_structure(part),
        structure.digest(header, part),
    )


def append(place: tuple[AccountId, MailboxId], body: bytes = b"Hi\r\n", **more: object) -> Append:
    account, mailbox = place
    return Append(account, mailbox, HEADER, render(HEADER, body), NOW, **more)  # type: ignore[arg-type]


def plan(*steps: Step, body: bytes = b"Hi\r\n", trace: str = "t1", **more: object) -> Plan:
    return Plan(steps, TraceId(trace), OrganisationId(1), blobs.MemoryBody(body), **more)  # type: ignore[arg-type]


def count_parts(tx: Tx) -> int:
    count: int = tx.value("SELECT (SELECT count(*) FROM blob) + (SELECT count(*) FROM packed)")
    return count


async def prepared(open_store: Open) -> Store:
    store = open_store()
    await store.write(populate)
    return store


async def test_what_was_written_is_there_after_opening_again(open_store: Open) -> None:
    store = await prepared(open_store)
    await store.close()
    store = open_store()
    assert (await store.read(inbox))[0] == 1
    await store.close()


@pytest.mark.parametrize(
    ("address", "kind", "rule"),
    [
        ("alice@example.org", ToAccount, "account"),
        ("ALICE@example.org", ToAccount, "account"),
        ("alice+tag@example.org", ToAccount, "subaddress"),
        ("postmaster@example.org", ToAccount, "role"),
        ("abuse@example.org", ToAccount, "role"),
        ("team@example.org", ToTargets, None),
        ("+tag@example.org", ToNobody, None),
        ("nobody@example.org", ToNobody, None),
        ("alice@example.net", Elsewhere, None),
    ],
)
async def test_find_destination(
    open_store: Open, address: str, kind: type, rule: str | None
) -> None:
    store = await prepared(open_store)
    found = await store.look_up(lambda tx: accounts.find_destination(tx, parse_address(address)))
    assert isinstance(found, kind)
    assert getattr(found, "rule", None) == rule
    await store.close()


async def test_the_catch_all_comes_last(open_store: Open) -> None:
    store = await prepared(open_store)
    name, target = Domain("example.org"), parse_address("bob@example.org")
    await store.write(lambda tx: accounts.set_catch_all(tx, name, target))
    for local_part, rule in (("nobody", "catch-all"), ("alice", "account"), ("abuse", "role")):
        address = parse_address(f"{local_part}@example.org")
        found = await store.read(lambda tx, a=address: accounts.find_destination(tx, a))
        assert isinstance(found, ToAccount)
        assert found.rule == rule
    await store.close()


async def test_appends_get_growing_uids_and_are_counted(open_store: Open) -> None:
    store = await prepared(open_store)
    place = await store.read(inbox)
    applied = await asyncio.gather(
        *(store.apply(plan(append(place, flags=SEEN * (n % 2)))) for n in range(10))
    )
    assert sorted(one.appended[0].uid for one in applied) == list(range(1, 11))
    mailbox = await store.read(lambda tx: mailboxes.get(tx, place[0], "INBOX"))
    assert (mailbox.messages, mailbox.unseen, mailbox.uidnext) == (10, 5, 11)
    assert mailbox.size == 10 * (len(HEADER) + 4)
    assert await store.read(broken) == []
    await store.close()


async def test_one_body_is_shared_by_all_steps(open_store: Open) -> None:
    store = await prepared(open_store)
    alice = await store.read(inbox)
    bob = await store.read(lambda tx: inbox(tx, "bob@example.org"))
    out = Enqueue(
        HEADER, "a@b.example", (QueuedRecipient("c@d.example", "smtp", "d.example", NOW),)
    )
    await store.apply(plan(append(alice), append(bob), out))
    assert await store.read(count_parts) == 1
    assert await store.read(lambda tx: tx.value("SELECT count(*) FROM content")) == 1
    assert await store.read(broken) == []
    await store.close()


@pytest.mark.parametrize("size", [0, 1, blobs.PART_SIZE, blobs.PART_SIZE + 1, 3 * blobs.PART_SIZE])
async def test_bodies_of_every_size_come_back(open_store: Open, size: int) -> None:
    store = await prepared(open_store)
    place = await store.read(lambda tx: inbox(tx, "bob@example.org"))
    body = bytes(number % 251 for number in range(size))
    await store.apply(plan(append(place, body), body=body))

    def read(tx: Tx, start: int, end: int | None) -> bytes:
        blob, octets = tx.rows("SELECT blob, body_size FROM content")[0]
        return blobs.read(tx, blobs.StoredBody(blob, octets), start, end)

    edges = [0, 1, size // 2, max(0, size - 1), size, size + 5]
    for start in edges:
        for end in [*edges, None]:
            found = await store.read(lambda tx, s=start, e=end: read(tx, s, e))
            assert found == body[start:end]
    assert await store.read(broken) == []
    await store.close()


async def test_a_plan_that_cannot_be_done_costs_nobody_else(open_store: Open) -> None:
    store = await prepared(open_store)
    place = await store.read(inbox)
    gone = (place[0], MailboxId(999))
    results = await asyncio.gather(
        store.apply(plan(append(place))),
        store.apply(plan(append(place), append(gone))),
        store.write(lambda tx: tx.run("INSERT INTO nowhere VALUES (1)")),
        store.write(lambda tx: accounts.create_organisation(tx, "example")),
        store.apply(plan(append(place))),
        return_exceptions=True,
    )
    assert [isinstance(result, Exception) for result in results] == [False, True, True, True, False]
    assert isinstance(results[1], Refusal)
    assert isinstance(results[3], Refusal)
    count = await store.read(lambda tx: tx.value("SELECT count(*) FROM placement"))
    assert count == 2
    assert await store.read(broken) == []
    await store.close()


async def test_plans_that_go_together(open_store: Open) -> None:
    store = await prepared(open_store)
    place = await store.read(inbox)
    gone = (place[0], MailboxId(999))
    good = [plan(append(place, b"one"), body=b"one"), plan(append(place))]
    with pytest.raises(Refusal):
        await store.write(lambda tx: apply_together(tx, [*good, plan(append(gone))]))
    count = await store.read(lambda tx: tx.value("SELECT count(*) FROM placement"))
    assert count == 0
    assert await store.read(count_parts) == 0
    applied = await store.write(lambda tx: apply_together(tx, good))
    assert [one.appended[0].uid for one in applied] == [1, 2]
    assert await store.read(broken) == []
    await store.close()


async def test_quota_is_enforced_where_asked(open_store: Open) -> None:
    store = await prepared(open_store)
    place = await store.read(inbox)
    body = bytes(60_000)
    await store.apply(plan(append(place, body), body=body))
    with pytest.raises(Refusal) as caught:
        await store.apply(plan(append(place, body, enforce_quota=True), body=body))
    assert caught.value.code == "OVERQUOTA"
    await store.apply(plan(append(place, body), body=body))  # a delivery has its grace
    found = await store.read(
        lambda tx: accounts.find_destination(tx, parse_address("alice@example.org"))
    )
    assert isinstance(found, ToAccount)
    assert found.full
    await store.close()


async def test_flags_copy_move_and_expunge_keep_the_books(open_store: Open) -> None:
    store = await prepared(open_store)
    account, mailbox = await store.read(inbox)
    archive = await store.read(lambda tx: mailboxes.get(tx, account, "Archive").id)
    for number in range(6):
        await store.apply(plan(append((account, mailbox)), trace=f"t{number}"))
    changed = await store.write(
        lambda tx: messages.set_flags(tx, mailbox, [(2, 4)], "add", SEEN | DELETED, "$Junk")
    )
    assert [row.uid for row in changed] == [2, 3, 4]
    again = await store.write(
        lambda tx: messages.set_flags(tx, mailbox, [(3, 5)], "add", SEEN, "$junk")
    )
    assert [row.uid for row in again] == [5]  # the others had it all
    copied = await store.write(lambda tx: placing.copy(tx, mailbox, [(1, 2)], archive))
    assert (copied.sources, copied.copies) == ((1, 2), (1, 2))
    twice = await store.write(lambda tx: placing.copy(tx, mailbox, [(1, 1)], archive))
    assert twice.copies == (3,)
    moved = await store.write(lambda tx: placing.move(tx, mailbox, [(1, 1), (6, 6)], archive))
    assert (moved.sources, moved.copies) == ((1, 6), (4, 5))
    assert await store.read(broken) == []
    gone = await store.write(lambda tx: messages.expunge(tx, mailbox, ALL))
    assert gone == [2, 3, 4]
    assert await store.read(broken) == []
    snapshot = await store.read(lambda tx: messages.snapshot(tx, archive))
    assert snapshot is not None
    assert list(snapshot.uids) == [1, 2, 3, 4, 5]
    assert snapshot.keywords[1] == "$Junk"
    for place in (mailbox, archive):
        await store.write(lambda tx, p=place: messages.set_flags(tx, p, ALL, "add", DELETED, ""))
        await store.write(lambda tx, p=place: messages.expunge(tx, p, ALL))
    assert await store.read(count_parts) == 0
    assert await store.read(broken) == []
    await store.close()


async def test_changes_since_tell_all_and_only_what_is_new(open_store: Open) -> None:
    store = await prepared(open_store)
    account, mailbox = await store.read(inbox)
    for _ in range(4):
        await store.apply(plan(append((account, mailbox))))
    before = await store.read(lambda tx: mailboxes.get(tx, account, "INBOX").modseq)
    await store.write(lambda tx: messages.set_flags(tx, mailbox, [(1, 1)], "replace", FLAGGED, ""))
    await store.write(lambda tx: messages.set_flags(tx, mailbox, [(2, 2)], "add", DELETED, ""))
    await store.write(lambda tx: messages.expunge(tx, mailbox, ALL))
    await store.apply(plan(append((account, mailbox))))
    found = await store.read(lambda tx: changes.since(tx, mailbox, before))
    assert found is not None
    assert [(row.uid, row.flags) for row in found.rows] == [(1, FLAGGED), (5, 0)]
    assert found.expunged == (2,)
    latest = await store.read(lambda tx: changes.since(tx, mailbox, found.modseq))
    assert latest == changes.Changes(found.modseq, (), ())
    await store.close()


async def test_ids_are_never_used_again(open_store: Open) -> None:
    store = await prepared(open_store)
    place = await store.read(inbox)
    first = (await store.apply(plan(append(place, flags=DELETED)))).appended[0]
    await store.write(lambda tx: messages.expunge(tx, place[1], ALL))
    second = (await store.apply(plan(append(place)))).appended[0]
    assert (second.uid, second.email > first.email) == (2, True)
    await store.close()


async def test_a_queued_recipient_is_claimed_once_until_its_lease_ends(open_store: Open) -> None:
    store = await prepared(open_store)
    now = await store.read(lambda tx: tx.now)
    waiting = tuple(
        QueuedRecipient(f"{name}@{domain}", "smtp", domain, now - timedelta(seconds=1))
        for domain in ("one.example", "two.example")
        for name in ("a", "b")
    )
    later = QueuedRecipient("later@one.example", "smtp", "one.example", now + timedelta(hours=1))
    held = QueuedRecipient("held@one.example", "smtp", "one.example", now, hold=True)
    applied = await store.apply(plan(Enqueue(HEADER, "a@b.example", (*waiting, later, held))))
    assert len(applied.enqueued[0].queue_ids) == 6
    lease = timedelta(minutes=30)
    asked = Asked(lease, 10, 100)
    past = msgspec.structs.replace(asked, shut={"two.example": 0})
    jobs = (await store.write(lambda tx: claim(tx, past))).jobs
    assert [[one.recipient for one in job.recipients] for job in jobs] == [
        ["a@one.example", "b@one.example"]
    ]
    assert (await store.write(lambda tx: claim(tx, past))).jobs == []
    rest = (await store.write(lambda tx: claim(tx, Asked(timedelta(0), 10, 1)))).jobs
    assert len(rest) == 2
    again = (await store.write(lambda tx: claim(tx, asked))).jobs
    assert [len(job.recipients) for job in again] == [2]  # their lease of no length has ended
    a, b = (one.id for one in jobs[0].recipients)
    outcome = Plan(
        (Release(a), Postpone(b, now + timedelta(minutes=5), 1, "450 4.2.0 later")),
        TraceId("t1"),
        OrganisationId(1),
    )
    await store.apply(outcome)
    left = await store.read(lambda tx: queue.find(tx, queue.Filter(lane="one.example"), 10))
    assert [(one.recipient, one.attempts) for one, _ in left] == [
        ("b@one.example", 1),
        ("later@one.example", 0),
        ("held@one.example", 0),
    ]
    everything = await store.read(lambda tx: queue.find(tx, queue.Filter(), 10))
    steps = tuple(Release(one.id) for one, _ in everything)
    await store.apply(Plan(steps, TraceId("t1"), OrganisationId(1)))
    assert await store.read(lambda tx: tx.value("SELECT count(*) FROM outgoing")) == 0
    assert await store.read(count_parts) == 0
    await store.close()


async def test_the_journal_tells_the_story_in_order(open_store: Open) -> None:
    store = await prepared(open_store)
    place = await store.read(inbox)
    accepted = Accepted(at=NOW, reverse_path="x@y.example", recipients=("a@b.example",), size=5)
    out = Enqueue(
        HEADER, "x@y.example", (QueuedRecipient("c@d.example", "smtp", "d.example", NOW),)
    )
    step = append(place, recipient="alice@example.org")
    await store.apply(plan(step, out, journal=(accepted,), arrival=True))
    store.note(JournalRow(TraceId("t1"), OrganisationId(1), (accepted,)))
    await store.close()  # what was noted rides along
    store = open_store()
    story = await store.read(lambda tx: journal.find(tx, TraceId("t1")))
    assert story is not None
    assert [type(entry) for entry in story.entries] == [Accepted, Delivered, Queued, Accepted]
    assert len(await store.read(lambda tx: journal.arrivals(tx, 10))) == 1
    assert await store.read(lambda tx: journal.find(tx, TraceId("t2"))) is None
    await store.close()


async def test_an_older_program_refuses_a_newer_database(open_store: Open) -> None:
    store = await prepared(open_store)
    await store.write(lambda tx: tx.run("INSERT INTO schema_version (version) VALUES (9999)"))
    await store.close()
    with pytest.raises(Exception, match="schema 9999"):
        open_store()


async def test_rows_that_are_not_taken_are_left(open_store: Open) -> None:
    """A stream that is left in the midst is in nobody's way."""
    store = await prepared(open_store)
    place = await store.read(inbox)
    for _ in range(3):
        await store.apply(plan(*(append(place, b"Hi\r\n") for _ in range(100))))

    def look(tx: Tx) -> tuple[list[int], list[int], int]:
        with messages.stream(tx, place[1], (2, 299), 290, ("uid", "header"), 64) as some:
            first = [uid for uid, _ in islice(some, 70)]
        with messages.stream(tx, place[1], (2, 299), 290, ("uid", "header"), 7) as rows:
            every = [uid for uid, header in rows if header == HEADER]
        return first, every, tx.value("SELECT count(*) FROM placement")

    for ask in (store.read, store.look_up, store.write):
        assert await ask(look) == (list(range(2, 72)), list(range(2, 292)), 300)
    await store.close()
