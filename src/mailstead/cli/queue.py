"""`mailstead queue`: mail that waits to leave. Every change wakes the running server."""

import sys
from collections.abc import Awaitable, Callable
from datetime import datetime
from shlex import quote
from typing import TypeVar

import click
import msgspec

from mailstead.cli import queue_rules
from mailstead.cli.house import operate, read
from mailstead.cli.printing import for_operators, format_age, format_size, show, table
from mailstead.cli.suppression import find_organisation
from mailstead.model.errors import Refusal
from mailstead.model.numbers import QueueId
from mailstead.server.wiring import House
from mailstead.services.explain import format_time
from mailstead.services.outbound.operators import Operators
from mailstead.storage import queue as rows
from mailstead.storage.queue import Filter, Outgoing, Waiting
from mailstead.storage.store import Tx

F = TypeVar("F", bound=Callable[..., object])

LIST_LIMIT = 100
REPLY_SHOWN = 60  # characters of the last reply in the table


class ShownRecipient(msgspec.Struct, frozen=True):
    """One recipient in the queue, with what its message says of it."""

    id: QueueId
    trace: str
    reverse_path: str
    recipient: str
    state: str  # "waiting", "held", "trying"
    lane: str
    transport: str
    route: str
    created: datetime
    due: datetime
    attempts: int
    last_tried: datetime | None
    last_reply: str
    size: int
    stream: str = ""
    source: str = ""


class Changed(msgspec.Struct, frozen=True):
    """How many recipients were changed, and how."""

    change: str
    recipients: int


@click.group()
def queue() -> None:
    """Mail that waits to leave."""


queue.add_command(queue_rules.rules)


def _filters(function: F) -> F:
    """The options that say which recipients are meant; those given all have to fit."""
    for option in (
        click.option("--held/--not-held", default=None, help="Those held back, or not."),
        click.option("--from", "reverse_path", default="", help="Of this reverse-path."),
        click.option("--to", "recipient", default="", help='This recipient, or "@domain".'),
        click.option("--source", default="", help="That leave from this source."),
        click.option("--organisation", default="", help="Of this organisation."),
        click.option("--stream", default="", help="Of this stream."),
        click.option("--lane", default="", help="In this lane: a site, a domain, or host:port."),
        click.option("--trace", default="", help="Of the message with this id."),
        click.option("--id", "ids", type=int, multiple=True, help="This number; repeatable."),
    ):
        function = option(function)
    return function


def _filter(
    ids: tuple[int, ...],
    trace: str,
    lane: str,
    recipient: str,
    reverse_path: str,
    held: bool | None,
    stream: str,
    organisation: str,
    source: str,
) -> Filter:
    return Filter(
        ids=tuple(map(QueueId, ids)),
        trace=trace,
        lane=lane,
        recipient=recipient,
        reverse_path=reverse_path,
        held=held,
        stream=stream,
        organisation=(
            read(lambda tx: find_organisation(tx, organisation)) if organisation else None
        ),
        source=source,
    )


# ---------------------------------------------------------------------- look


@queue.command("list")
@_filters
@click.option(
    "--limit", type=click.IntRange(1, 100_000), default=LIST_LIMIT, help="At most so many."
)
@for_operators
def list_(limit: int, as_json: bool, **which: object) -> None:
    """List the recipients in the queue, in the order they came."""
    wanted = _filter(**which)  # type: ignore[arg-type]
    found, total, now = read(lambda tx: _list(tx, wanted, limit))
    cells = [_cells(one, now) for one in found]
    titles = ("ID", "MESSAGE", "FROM", "TO", "AGE", "TRIES", "NEXT (UTC)", "LAST REPLY")
    text = table(titles, cells) if cells else "No recipient in the queue matches."
    if not total:
        text = "The queue is empty."
    elif len(found) < total:
        text += f"\n\n{len(found)} of {total} recipients in the queue."
    show(found, text, as_json)


def _list(tx: Tx, wanted: Filter, limit: int) -> tuple[list[ShownRecipient], int, datetime]:
    found = [_shown(*pair) for pair in rows.find(tx, wanted, limit)]
    return found, rows.count(tx), tx.now


def _cells(one: ShownRecipient, now: datetime) -> tuple[object, ...]:
    age, reply = format_age(one.created, now), one.last_reply[:REPLY_SHOWN]
    sender = one.reverse_path or "<>"
    return one.id, one.trace, sender, one.recipient, age, one.attempts, _next(one), reply


def _next(one: ShownRecipient) -> str:
    return format_time(one.due) if one.state == "waiting" else one.state


def _shown(row: Waiting, outgoing: Outgoing) -> ShownRecipient:
    return ShownRecipient(
        id=row.id,
        trace=outgoing.trace,
        reverse_path=outgoing.reverse_path,
        recipient=row.recipient,
        state="trying" if row.claimed else "held" if row.held else "waiting",
        lane=row.lane,
        transport=row.transport,
        route=row.route,
        created=row.created,
        due=row.due,
        attempts=row.attempts,
        last_tried=row.last_tried,
        last_reply=row.last_reply,
        size=outgoing.header_size + outgoing.body.size,
        stream=outgoing.stream,
        source=row.source,
    )


@queue.command("show")
@click.argument("id_", metavar="ID", type=int)
@click.option("--header", "with_header", is_flag=True, help="The header of the message, too.")
@for_operators
def show_(id_: int, with_header: bool, as_json: bool) -> None:
    """Show one recipient in the queue."""
    one, header = operate(lambda house: _get(house, QueueId(id_)))
    lines = [
        f"Number      {one.id}",
        f"Message     {one.trace} ({format_size(one.size)})",
        f"From        {one.reverse_path or '<> (a notice)'}",
        f"To          {one.recipient}",
        f"State       {one.state}, next attempt {format_time(one.due)} UTC",
        f"In queue    since {format_time(one.created)} UTC, lane {one.lane}",
        f"Way         {one.route or 'as the DNS or the configuration says'}",
        f"Stream      {one.stream or '- (people)'}, source {one.source or 'as usual'}",
        f"Tried       {_tried(one)}",
        f"Last reply  {one.last_reply or '-'}",
    ]
    text = "\n".join(" ".join(line.split("\n")) for line in lines)
    if with_header:
        text += f"\n\n{header.rstrip()}"
    text += f"\n\nThe whole story: mailstead message explain {one.trace}\n{_command(one)}"
    value = {"recipient": one, "header": header} if with_header else one
    show(value, text, as_json)


def _tried(one: ShownRecipient) -> str:
    if one.last_tried is None:
        return "not yet"
    return f"{one.attempts} times, last {format_time(one.last_tried)} UTC"


def _command(one: ShownRecipient) -> str:
    if one.state == "held":
        return f"Let it go on: mailstead queue release --id {one.id}"
    return f"Try it now: mailstead queue retry --id {one.id}"


async def _get(house: House, id_: QueueId) -> tuple[ShownRecipient, str]:
    operators = _operators(house)
    found = await operators.show(id_)
    if found is None:
        raise Refusal(f"no recipient {id_} is in the queue: mailstead queue list", "NONEXISTENT")
    header = await operators.show_header(id_) or b""
    return _shown(*found), header.decode("utf-8", "replace").replace("\r\n", "\n")


# ---------------------------------------------------------------------- change


def _changing(function: F) -> F:
    """The options of a command that changes recipients."""
    every = click.option("--all", "every", is_flag=True, help="All that is in the queue.")
    return _filters(every(for_operators(function)))


@queue.command()
@_changing
def retry(every: bool, as_json: bool, **which: object) -> None:
    """Try recipients now, whenever they would be due."""
    _change("tried now", every, which, as_json, lambda op, wanted: op.retry(wanted))


@queue.command()
@_changing
def hold(every: bool, as_json: bool, **which: object) -> None:
    """Keep recipients back until they are released."""
    _change("held", every, which, as_json, lambda op, wanted: op.hold(wanted))


@queue.command()
@_changing
def release(every: bool, as_json: bool, **which: object) -> None:
    """Let held recipients go on."""
    _change("released", every, which, as_json, lambda op, wanted: op.release(wanted))


@queue.command()
@click.argument("route", required=False, default="")
@click.option("--usual", is_flag=True, help="Back to the usual way.")
@_changing
def reroute(route: str, usual: bool, every: bool, as_json: bool, **which: object) -> None:
    """Send recipients by ROUTE (host:port), and at once; --usual goes back."""
    if bool(route) == usual:
        raise click.UsageError("give a route as mx.example.net:25, or --usual")
    _change("rerouted", every, which, as_json, lambda op, wanted: op.reroute(wanted, route))


@queue.command()
@click.option("--yes", is_flag=True, help="Do not ask.")
@_changing
def expire(yes: bool, every: bool, as_json: bool, **which: object) -> None:
    """Give recipients up now, as if their time were over: the senders get a failure notice."""
    _confirm(yes, "Give this mail up for good, and tell the senders?")
    _change("expired", every, which, as_json, lambda op, wanted: op.expire(wanted))


@queue.command()
@click.option("--notify", is_flag=True, help="Send the senders a failure notice (DSN).")
@click.option("--yes", is_flag=True, help="Do not ask.")
@_changing
def drop(notify: bool, yes: bool, every: bool, as_json: bool, **which: object) -> None:
    """Take recipients out of the queue: they will not get the message."""
    _confirm(yes, "Drop this mail from the queue for good?")
    _change("dropped", every, which, as_json, lambda op, wanted: op.drop(wanted, notify))


def _confirm(yes: bool, question: str) -> None:
    if not yes and not sys.stdin.isatty():
        raise click.UsageError("nobody can be asked here: give --yes")
    if not yes:
        click.confirm(question, abort=True)


def _change(
    change: str,
    every: bool,
    which: dict[str, object],
    as_json: bool,
    do: Callable[[Operators, Filter], Awaitable[int]],
) -> None:
    """Change all that match; a refusal if nothing did."""
    wanted = _filter(**which)  # type: ignore[arg-type]
    if (wanted == Filter()) != every:
        raise click.UsageError("say which: --id, --trace, --lane, --to, ... (see --help); or --all")
    count = operate(lambda house: do(_operators(house), wanted))
    if not count:
        raise Refusal(
            "no recipient in the queue matches, or what matches is so already:"
            f" mailstead queue list{_as_options(wanted)}"
        )
    noun = "recipient" if count == 1 else "recipients"
    show(Changed(change, count), f"{count} {noun} {change}.", as_json)


def _as_options(wanted: Filter) -> str:
    """The options that look for the same."""
    options = [f"--id {id_}" for id_ in wanted.ids]
    texts = {"trace": wanted.trace, "lane": wanted.lane, "to": wanted.recipient}
    texts |= {"from": wanted.reverse_path, "stream": wanted.stream, "source": wanted.source}
    options += [f"--{name} {quote(text)}" for name, text in texts.items() if text]
    return "".join(f" {option}" for option in options)


def _operators(house: House) -> Operators:
    return Operators(house.store, house.world, house.watch, house.config.hostname)
