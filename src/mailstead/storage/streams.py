"""Streams: kinds of mail that an organisation sends apart from what its people write.

Each has a priority in the queue, suppressions of its own, and signed return paths.
"""

import re
from datetime import datetime

import msgspec

from mailstead.model.errors import Refusal
from mailstead.model.numbers import OrganisationId
from mailstead.storage.store import Tx, from_micros, to_micros

PRIORITIES = {"people": 0, "transactional": 10, "bulk": 20}
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


class Stream(msgspec.Struct, frozen=True):
    """One stream of an organisation; lower priorities leave first."""

    organisation: OrganisationId
    name: str
    priority: int
    created: datetime


def add(tx: Tx, organisation: OrganisationId, name: str, priority: int) -> None:
    """A new stream; Refusal if the name is none, or taken."""
    if not _NAME.fullmatch(name):
        raise Refusal(f"{name!r} is no name for a stream: letters a-z, digits, dots and dashes")
    if find(tx, organisation, name):
        raise Refusal(f"there is a stream {name} already: mailstead stream list")
    tx.run(
        "INSERT INTO stream (organisation, name, priority, created)"
        " VALUES (:organisation, :name, :priority, :now)",
        organisation=organisation,
        name=name,
        priority=priority,
        now=to_micros(tx.now),
    )


def find(tx: Tx, organisation: OrganisationId, name: str) -> Stream | None:
    """The organisation's stream of that name."""
    row = tx.row(
        "SELECT organisation, name, priority, created FROM stream"
        " WHERE organisation = :organisation AND name = :name",
        organisation=organisation,
        name=name,
    )
    return None if row is None else _stream(row)


def get(tx: Tx, organisation: OrganisationId, name: str) -> Stream:
    """The same; Refusal if there is none."""
    found = find(tx, organisation, name)
    if found is None:
        raise Refusal(f"there is no stream {name}: mailstead stream list", "NONEXISTENT")
    return found


def list_all(tx: Tx, organisation: OrganisationId) -> list[Stream]:
    """The organisation's streams, those first that leave first."""
    rows = tx.rows(
        "SELECT organisation, name, priority, created FROM stream"
        " WHERE organisation = :organisation ORDER BY priority, name",
        organisation=organisation,
    )
    return [_stream(row) for row in rows]


def set_priority(tx: Tx, organisation: OrganisationId, name: str, priority: int) -> None:
    """Let what is submitted from now on leave earlier or later."""
    get(tx, organisation, name)
    tx.run(
        "UPDATE stream SET priority = :priority"
        " WHERE organisation = :organisation AND name = :name",
        organisation=organisation,
        name=name,
        priority=priority,
    )


def remove(tx: Tx, organisation: OrganisationId, name: str) -> None:
    """Take it away; Refusal while accounts send in it."""
    get(tx, organisation, name)
    user = tx.value(
        "SELECT login FROM account WHERE organisation = :organisation AND stream = :name LIMIT 1",
        organisation=organisation,
        name=name,
    )
    if user is not None:
        raise Refusal(f"{user} sends in it; first: mailstead sender stream {user}")
    tx.run(
        "DELETE FROM stream WHERE organisation = :organisation AND name = :name",
        organisation=organisation,
        name=name,
    )


def _stream(row: tuple[OrganisationId, str, int, int]) -> Stream:
    return Stream(row[0], row[1], row[2], from_micros(row[3]))
