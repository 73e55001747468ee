"""`mailstead spam quarantine`: mail that waits until somebody has looked at it."""

from datetime import datetime

import click
import msgspec

from mailstead.cli.house import operate
from mailstead.cli.printing import for_operators, format_age, format_size, show, table
from mailstead.model.errors import Refusal
from mailstead.model.numbers import QueueId
from mailstead.server.wiring import House
from mailstead.services.delivery.plan import QUARANTINE
from mailstead.storage.queue import Filter

LIST_LIMIT = 1000


class ShownMessage(msgspec.Struct, frozen=True):
    """One message for one recipient."""

    id: QueueId
    trace: str
    reverse_path: str
    recipient: str
    created: datetime
    size: int


class Changed(msgspec.Struct, frozen=True):
    """How many, and what became of them."""

    change: str
    messages: int


@click.group()
def quarantine() -> None:
    """Mail that waits until somebody has looked at it."""


@quarantine.command("list")
@for_operators
def list_(as_json: bool) -> None:
    """List what waits; `mailstead message explain MESSAGE` says why."""
    found, now = operate(_list)
    titles = ("ID", "MESSAGE", "FROM", "TO", "AGE", "SIZE")
    cells = [
        (
            one.id,
            one.trace,
            one.reverse_path or "<>",
            one.recipient,
            format_age(one.created, now),
            format_size(one.size),
        )
        for one in found
    ]
    show(found, table(titles, cells) if cells else "Nothing is quarantined.", as_json)


async def _list(house: House) -> tuple[list[ShownMessage], datetime]:
    found = await house.operators.find(Filter(lane=QUARANTINE), LIST_LIMIT)
    shown = [
        ShownMessage(
            id=row.id,
            trace=outgoing.trace,
            reverse_path=outgoing.reverse_path,
            recipient=row.recipient,
            created=row.created,
            size=outgoing.header_size + outgoing.body.size,
        )
        for row, outgoing in found
    ]
    return shown, house.world.clock.now()


@quarantine.command()
@click.argument("ids", type=int, nargs=-1, required=True)
@for_operators
def release(ids: tuple[int, ...], as_json: bool) -> None:
    """Deliver these to their recipients."""
    wanted = _filter(ids)
    count = operate(lambda house: house.operators.release(wanted))
    _done("released", count, as_json)


@quarantine.command()
@click.argument("ids", type=int, nargs=-1, required=True)
@for_operators
def delete(ids: tuple[int, ...], as_json: bool) -> None:
    """Delete these; nobody is told."""
    wanted = _filter(ids)
    count = operate(lambda house: house.operators.drop(wanted))
    _done("deleted", count, as_json)


def _filter(ids: tuple[int, ...]) -> Filter:
    return Filter(ids=tuple(map(QueueId, ids)), lane=QUARANTINE)


def _done(change: str, count: int, as_json: bool) -> None:
    if not count:
        raise Refusal("none of them is quarantined: mailstead spam quarantine list", "NONEXISTENT")
    show(Changed(change, count), f"{count} {change}.", as_json)
