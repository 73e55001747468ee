"""Plans into rows: the hot path of the store, a whole batch of plans at a time.

Each plan is checked first, against counters that are loaded once per mailbox and account; only a
plan that can be done leaves a trace. Then all rows go in, table by table, and each counter is
written once.
Holds: UIDs only grow; modseqs come from the account's counter; counters equal the rows.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from mailstead.message.structure import RENDER_VERSION
from mailstead.model.entries import AnyEntry, Delivered, Queued
from mailstead.model.errors import Refusal
from mailstead.model.flags import DELETED, SEEN
from mailstead.model.numbers import (
    AccountId,
    BlobId,
    EmailId,
    MailboxId,
    ModSeq,
    OrganisationId,
    OutgoingId,
    QueueId,
    Uid,
    UidValidity,
)
from mailstead.storage import blobs, journal, journal_index, queue, senders, sources, suppression
from mailstead.storage.plan import (
    Append,
    Appended,
    Applied,
    CountSent,
    Enqueue,
    Enqueued,
    JournalRow,
    Plan,
    Postpone,
    Release,
    StoredBody,
    Suppress,
    Wrote,
)
from mailstead.storage.store import Tx, to_micros

UID_LIMIT = 2**32 - 1  # RFC 9051 section 9: nz-number
_NO_BODY = StoredBody(BlobId(0), 0)


class _Account(msgspec.Struct):
    login: str
    quota: int
    used: int
    emails: int
    modseq: int
    fresh: bool = False  # has this batch's modseq been drawn?


class _Mailbox(msgspec.Struct):
    account: int
    name: str
    uidvalidity: int
    uidnext: int
    modseq: int
    messages: int
    unseen: int
    deleted: int
    size: int
    keywords: set[str] = msgspec.field(default_factory=set)


def apply_plans(tx: Tx, plans: Sequence[Plan]) -> list[Applied | Exception]:
    """What came of each plan, in order; the exception of a plan that cannot be done."""
    batch = _Batch(tx)
    batch.load(plans)
    results = [batch.take(plan) for plan in plans]
    batch.write()
    return results


def apply_together(tx: Tx, plans: Sequence[Plan]) -> list[Applied]:
    """What came of each plan, in order; raises, so that nothing is done, if one cannot be done."""
    applied: list[Applied] = []
    for result in apply_plans(tx, plans):
        if isinstance(result, Exception):
            raise result
        applied.append(result)
    return applied


class _Batch:
    def __init__(self, tx: Tx) -> None:
        self.tx = tx
        self.now = to_micros(tx.now)
        self.accounts: dict[int, _Account] = {}
        self.mailboxes: dict[int, _Mailbox] = {}
        self.rows: dict[str, list[dict[str, Any]]] = {}
        self.complaints: list[tuple[OrganisationId, Suppress]] = []
        self.days: dict[AccountId, list[int]] = {}  # recipients today, and strangers among them
        self.written: set[tuple[AccountId, str]] = set()
        self.sent: list[CountSent] = []
        self.moved: list[Postpone] = []

    def load(self, plans: Sequence[Plan]) -> None:
        """The counters that the plans change, locked."""
        appends = [step for plan in plans for step in plan.steps if isinstance(step, Append)]
        accounts = {step.account for step in appends}
        self.accounts = {row[0]: _Account(*row[1:]) for row in self.tx.lock(_ACCOUNTS, accounts)}
        mailboxes = {step.mailbox for step in appends}
        self.mailboxes = {row[0]: _Mailbox(*row[1:]) for row in self.tx.lock(_MAILBOXES, mailboxes)}

    def take(self, plan: Plan) -> Applied | Exception:
        """Check the plan and collect its rows, or give back why it cannot be done."""
        try:
            self._check(plan)
        except Refusal as refusal:
            return refusal
        return self._collect(plan)

    # ------------------------------------------------------------------ checks

    def _check(self, plan: Plan) -> None:
        body_size = plan.body.size if plan.body else 0
        wanted: dict[int, int] = {}
        for step in plan.steps:
            if isinstance(step, Append):
                mailbox = self._mailbox(step.mailbox)
                if mailbox.uidnext >= UID_LIMIT:
                    raise Refusal("the mailbox has used up its UIDs", "LIMIT")
                wanted[mailbox.account] = (
                    wanted.get(mailbox.account, 0) + len(step.header) + body_size
                )
                if step.enforce_quota:
                    self._check_quota(mailbox.account, wanted[mailbox.account])

    def _check_quota(self, account: int, more: int) -> None:
        row = self._account(account)
        if row.quota and row.used + more > row.quota:
            raise Refusal("the account's quota is used up: delete some mail first", "OVERQUOTA")

    def _mailbox(self, mailbox: int) -> _Mailbox:
        found = self.mailboxes.get(mailbox)
        if found is None:
            raise Refusal("the mailbox is gone", "TRYCREATE")
        return found

    def _account(self, account: int) -> _Account:
        found = self.accounts.get(account)
        if found is None:
            raise Refusal("the account is gone", "NONEXISTENT")
        return found

    # ------------------------------------------------------------------ rows

    def _collect(self, plan: Plan) -> Applied:
        body = self._store_body(plan)
        contents: dict[bytes, int] = {}
        story: list[AnyEntry] = list(plan.journal)
        appended: list[Appended] = []
        enqueued: list[Enqueued] = []
        for step in plan.steps:
            match step:
                case Append():
                    appended.append(self._append(step, plan, body, contents, story))
                case Enqueue():
                    enqueued.append(self._enqueue(step, plan, body, story))
                case Release(queue_id):
                    self._row("release", id=queue_id)
                case Postpone():
                    self._row("postpone", **queue.postpone_row(step, self.now))
                    self.moved += [step] if step.source else []
                case CountSent():
                    self.sent.append(step)
                case Suppress(complaint=True):
                    self.complaints.append((plan.organisation, step))
                case Wrote():
                    self._count(step)
                case Suppress():
                    failed = suppression.failed_row(self.tx, plan.organisation, step)
                    self._row("suppress", **failed)
        if story:
            row = JournalRow(plan.trace, plan.organisation, tuple(story), plan.arrival)
            self._journal(row)
        for row in plan.rows:
            self._journal(row)
        return Applied(tuple(appended), tuple(enqueued), tuple(story))

    def _count(self, step: Wrote) -> None:
        """A statement changes a row only once, so what several plans count is added up first."""
        day = self.days.setdefault(step.account, [0, 0])
        day[0] += len(step.recipients)
        day[1] += step.strangers
        self.written.update((step.account, suppression.fold(one)) for one in step.recipients)

    def _store_body(self, plan: Plan) -> StoredBody:
        if plan.body is None or isinstance(plan.body, StoredBody):
            return plan.body or _NO_BODY
        stored, rows = blobs.rows_of(self.tx, plan.body)
        self.rows.setdefault("blob", []).extend(rows)
        return stored

    def _append(
        self,
        step: Append,
        plan: Plan,
        body: StoredBody,
        contents: dict[bytes, int],
        story: list[AnyEntry],
    ) -> Appended:
        content = contents.get(step.header)
        if content is None:
            content = contents[step.header] = self._content(step, body)
        size = len(step.header) + body.size
        mailbox = self._mailbox(step.mailbox)
        account = self._charge(mailbox, step, size)
        uid, email = mailbox.uidnext - 1, self.tx.allocate("email")
        self._row(
            "email",
            id=email,
            account=mailbox.account,
            content=content,
            thread=email,
            trace=plan.trace,
            modseq=account.modseq,
        )
        self._row(
            "placement",
            mailbox=step.mailbox,
            uid=uid,
            email=email,
            content=content,
            modseq=account.modseq,
            flags=step.flags,
            keywords=step.keywords,
            internal_date=to_micros(step.internal_date),
            saved=self.now,
            size=size,
        )
        if step.recipient:
            story.append(
                Delivered(
                    at=self.tx.now,
                    recipient=step.recipient,
                    account=account.login,
                    mailbox=mailbox.name,
                    uid=uid,
                )
            )
        return Appended(
            MailboxId(step.mailbox),
            UidValidity(mailbox.uidvalidity),
            Uid(uid),
            ModSeq(account.modseq),
            EmailId(email),
        )

    def _charge(self, mailbox: _Mailbox, step: Append, size: int) -> _Account:
        """Count the message in its mailbox and account."""
        account = self._account(mailbox.account)
        if not account.fresh:
            account.modseq += 1
            account.fresh = True
        account.used += size
        account.emails += 1
        mailbox.uidnext += 1
        mailbox.modseq = account.modseq
        mailbox.messages += 1
        mailbox.size += size
        mailbox.unseen += not step.flags & SEEN
        mailbox.deleted += bool(step.flags & DELETED)
        if step.keywords:
            mailbox.keywords.update(step.keywords.split(" "))
        return account

    def _content(self, step: Append, body: StoredBody) -> int:
        content = self.tx.allocate("content")
        digest = step.rendered.digest
        self._row(
            "content",
            id=content,
            blob=body.blob,
            body_size=body.size,
            header=step.header,
            structure=step.rendered.structure,
            envelope=step.rendered.envelope,
            bodystructure=step.rendered.bodystructure,
            render_version=RENDER_VERSION,
            message_id=digest.message_id,
            ancestors=" ".join(digest.references or (digest.in_reply_to,)),
            base_subject=digest.base_subject,
            sent=None if digest.sent is None else to_micros(digest.sent),
            from_key=digest.from_,
            to_key=digest.to,
            cc_key=digest.cc,
            attachment=int(digest.has_attachment),
        )
        return content

    def _enqueue(
        self, step: Enqueue, plan: Plan, body: StoredBody, story: list[AnyEntry]
    ) -> Enqueued:
        outgoing = self.tx.allocate("outgoing")
        self._row(
            "outgoing",
            id=outgoing,
            trace=plan.trace,
            organisation=plan.organisation,
            account=step.account,
            reverse_path=step.reverse_path,
            header=step.header,
            blob=body.blob,
            body_size=body.size,
            body_type=step.body_type.value,
            smtputf8=int(step.smtputf8),
            notify=int(step.notify),
            created=self.now,
            envid=step.envid,
            ret=step.ret,
            require_tls=step.tls.value,
            release=step.release,
            stream=step.stream,
            return_domain=step.return_domain,
        )
        first = self.tx.allocate("queue", len(step.recipients))
        ids = tuple(QueueId(first + n) for n in range(len(step.recipients)))
        for queue_id, recipient in zip(ids, step.recipients, strict=True):
            row = queue.new_row(queue_id, outgoing, plan.organisation, step.priority, recipient)
            # Its time in the queue begins when it may leave (RFC 4865).
            self._row("queue", **row, created=max(self.now, row["due"]))
            story.append(
                Queued(
                    at=self.tx.now,
                    recipient=recipient.recipient,
                    queue_id=queue_id,
                    lane=recipient.lane,
                    held=recipient.hold,
                    stream=step.stream,
                )
            )
        return Enqueued(OutgoingId(outgoing), ids)

    def _journal(self, row: JournalRow) -> None:
        values = journal.new_row(self.tx, row)
        self.rows.setdefault("journal", []).append(values)
        keys = journal_index.new_rows(values["id"], row.entries)
        self.rows.setdefault("journal_key", []).extend(keys)

    def _row(self, table: str, **values: Any) -> None:
        self.rows.setdefault(table, []).append(values)

    # ------------------------------------------------------------------ writing

    def write(self) -> None:
        """All rows and counters into the database."""
        for row in self.rows.get("suppress", ()):
            self.tx.run(suppression.FAILED, **row)
        for organisation, step in self.complaints:
            suppression.complained(self.tx, organisation, step)
        with self.tx.together():
            self._write_counts()
            for table, sql in _INSERT.items():
                if rows := self.rows.get(table):
                    self.tx.many(sql, rows)
            queue.postpone(self.tx, self.rows.get("postpone", []))
            queue.change_source(self.tx, self.moved)
            self.tx.many(sources.COUNT, sources.count_rows(self.sent))
            self.tx.many(_MAILBOX, [_counters(id_, row) for id_, row in self.mailboxes.items()])
            self.tx.many(_ACCOUNT, [_usage(id_, row) for id_, row in self.accounts.items()])
            self.tx.many(_KEYWORD, self._new_keywords())
        # Last: a body that left the queue for a mailbox is in use only now.
        if released := self.rows.get("release"):
            queue.release(self.tx, [row["id"] for row in released])

    def _write_counts(self) -> None:
        """In the order of their keys, as everybody locks them."""
        day = senders.day_of(self.tx.now)
        counted = [
            {"account": account, "day": day, "recipients": recipients, "strangers": strangers}
            for account, (recipients, strangers) in sorted(self.days.items())
        ]
        written = [
            {"account": account, "address": address, "last": day}
            for account, address in sorted(self.written)
        ]
        self.tx.many(senders.COUNT_DAY, counted)
        self.tx.many(senders.COUNT_CORRESPONDENT, written)

    def _new_keywords(self) -> list[dict[str, Any]]:
        return [
            {"mailbox": id_, "name": name}
            for id_, row in self.mailboxes.items()
            for name in sorted(row.keywords)
        ]


def _counters(mailbox: int, row: _Mailbox) -> dict[str, Any]:
    return {
        "id": mailbox,
        "uidnext": row.uidnext,
        "modseq": row.modseq,
        "messages": row.messages,
        "unseen": row.unseen,
        "deleted": row.deleted,
        "size": row.size,
    }


def _usage(account: int, row: _Account) -> dict[str, Any]:
    return {"id": AccountId(account), "used": row.used, "emails": row.emails, "modseq": row.modseq}


_ACCOUNTS = "SELECT id, login, quota, used, emails, modseq FROM account WHERE id = :id"
_MAILBOXES = (
    "SELECT id, account, name, uidvalidity, uidnext, modseq, messages, unseen, deleted, size"
    " FROM mailbox WHERE id = :id"
)
_MAILBOX = (
    "UPDATE mailbox SET uidnext = :uidnext, modseq = :modseq, messages = :messages,"
    " unseen = :unseen, deleted = :deleted, size = :size WHERE id = :id"
)
_ACCOUNT = "UPDATE account SET used = :used, emails = :emails, modseq = :modseq WHERE id = :id"
_KEYWORD = "INSERT INTO keyword (mailbox, name) VALUES (:mailbox, :name) ON CONFLICT DO NOTHING"
_INSERT = {
    "blob": "INSERT INTO blob (id, data) VALUES (:id, :data)",
    "content": "INSERT INTO content (id, blob, body_size, header, structure, envelope,"
    " bodystructure, render_version, message_id, ancestors, base_subject, sent, from_key, to_key,"
    " cc_key, attachment) VALUES (:id, :blob, :body_size, :header, :structure, :envelope,"
    " :bodystructure, :render_version, :message_id, :ancestors, :base_subject, :sent, :from_key,"
    " :to_key, :cc_key, :attachment)",
    "email": "INSERT INTO email (id, account, content, thread, trace, modseq)"
    " VALUES (:id, :account, :content, :thread, :trace, :modseq)",
    "placement": "INSERT INTO placement (mailbox, uid, email, content, modseq, flags, keywords,"
    " internal_date, saved, size) VALUES (:mailbox, :uid, :email, :content, :modseq, :flags,"
    " :keywords, :internal_date, :saved, :size)",
    "outgoing": "INSERT INTO outgoing (id, trace, organisation, account, reverse_path, header,"
    " blob, body_size, body_type, smtputf8, notify, created, envid, ret, require_tls, release,"
    " stream, return_domain) VALUES (:id, :trace, :organisation, :account, :reverse_path, :header,"
    " :blob, :body_size, :body_type, :smtputf8, :notify, :created, :envid, :ret, :require_tls,"
    " :release, :stream, :return_domain)",
    "queue": queue.INSERT,
    "journal": journal.INSERT,
    "journal_key": journal_index.INSERT,
}
