"""Rules that keep mail back when its turn comes: whose, of which stream, from whom, to whom.

A rule counts for what waits already and for what comes, as long as it stands; what it held stays
held until it is released. Empty patterns (0 of the organisation) match all; a pattern of addresses
is one address or "@domain".
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from mailstead.model.entries import Changed
from mailstead.model.errors import Refusal
from mailstead.model.numbers import OrganisationId
from mailstead.storage import journal
from mailstead.storage.plan import JournalRow
from mailstead.storage.queue import Outgoing, Waiting
from mailstead.storage.store import Tx, from_micros, to_micros

RULES_LIMIT = 100  # each is looked at for each recipient whose turn comes


class HoldRule(msgspec.Struct, frozen=True):
    """One rule; `reason` is for people."""

    id: int
    organisation: OrganisationId  # 0: of all
    stream: str
    reverse_path: str
    recipient: str
    reason: str
    created: datetime

    def matches(self, row: Waiting, outgoing: Outgoing) -> bool:
        """Whether the recipient is kept back."""
        return (
            self.organisation in (0, outgoing.organisation)
            and self.stream in ("", outgoing.stream)
            and _fits(self.reverse_path, outgoing.reverse_path)
            and _fits(self.recipient, row.recipient)
        )


def _fits(pattern: str, address: str) -> bool:
    if pattern.startswith("@"):
        return address.lower().endswith(pattern.lower())
    return not pattern or address.lower() == pattern.lower()


def add(
    tx: Tx,
    organisation: OrganisationId,
    stream: str,
    reverse_path: str,
    recipient: str,
    reason: str,
) -> int:
    """A new rule; its number."""
    if tx.value("SELECT count(*) FROM hold_rule") >= RULES_LIMIT:
        raise Refusal(f"there are {RULES_LIMIT} rules, and no more can be: remove some", "LIMIT")
    id_ = tx.allocate("hold_rule")
    tx.run(
        "INSERT INTO hold_rule (id, organisation, stream, reverse_path, recipient, reason, created)"
        " VALUES (:id, :organisation, :stream, :reverse_path, :recipient, :reason, :created)",
        id=id_,
        organisation=organisation,
        stream=stream,
        reverse_path=reverse_path,
        recipient=recipient,
        reason=reason,
        created=to_micros(tx.now),
    )
    return id_


def remove(tx: Tx, id_: int) -> bool:
    """Without the rule; whether there was one."""
    return tx.run("DELETE FROM hold_rule WHERE id = :id", id=id_) > 0


def list_all(tx: Tx) -> list[HoldRule]:
    """All rules, in the order they came."""
    rows = tx.rows(
        "SELECT id, organisation, stream, reverse_path, recipient, reason, created FROM hold_rule"
        " ORDER BY id LIMIT :limit",
        limit=RULES_LIMIT,
    )
    return [_rule(row) for row in rows]


def _rule(row: tuple[Any, ...]) -> HoldRule:
    id_, organisation, stream, reverse_path, recipient, reason, created = row
    return HoldRule(
        id_, organisation, stream, reverse_path, recipient, reason, from_micros(created)
    )


def apply(tx: Tx, rows: Sequence[Waiting], messages: dict[int, Outgoing]) -> list[Waiting]:
    """Hold those of the claimed recipients that a rule is about; those that are left."""
    rules = list_all(tx)
    held: dict[Waiting, str] = {}
    for row in rows:
        outgoing = messages[row.outgoing]
        for rule in rules:
            if rule.matches(row, outgoing):
                held[row] = rule.reason or f"rule {rule.id}"
                break
    if held:
        _hold(tx, held, messages)
    return [row for row in rows if row not in held]


def _hold(tx: Tx, held: dict[Waiting, str], messages: dict[int, Outgoing]) -> None:
    tx.many(
        "UPDATE queue SET hold = 1, lease = NULL, due = :due WHERE id = :id",
        [{"id": row.id, "due": to_micros(row.due)} for row in held],
    )
    entries: dict[int, list[Changed]] = {}
    for row, reason in held.items():
        entry = Changed(at=tx.now, recipient=row.recipient, change="held", detail=reason)
        entries.setdefault(row.outgoing, []).append(entry)
    journal.add(
        tx,
        [
            JournalRow(messages[id_].trace, messages[id_].organisation, tuple(some))
            for id_, some in entries.items()
        ],
    )
