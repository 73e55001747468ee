"""`mailstead message`: what happened to a message, and why, from the journal."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import click
import msgspec

from mailstead.cli.house import read
from mailstead.cli.parameters import TIME
from mailstead.cli.printing import for_operators, note, show, table
from mailstead.model.address import parse_address
from mailstead.model.entries import Accepted, AnyEntry, Refused
from mailstead.model.errors import Refusal
from mailstead.model.numbers import QueueId, TraceId
from mailstead.services.explain import Line, explain, format_time, outcome
from mailstead.storage import journal
from mailstead.storage.journal import Story
from mailstead.storage.journal_index import Wanted, search
from mailstead.storage.store import Tx

INDENT = " " * 21  # under the sentence: the width of a time and two spaces
RECIPIENTS_SHOWN = 3
OTHERS_SHOWN = 5  # further messages that match

F = TypeVar("F", bound=Callable[..., object])


class ShownMessage(msgspec.Struct, frozen=True):
    """A message as it is listed: as it came in."""

    trace: TraceId
    at: datetime
    reverse_path: str
    recipients: list[str]
    size: int
    outcome: str


class Explained(msgspec.Struct, frozen=True):
    """The whole story: in sentences, and the entries that they come from."""

    trace: TraceId
    outcome: str
    lines: list[Line]
    entries: tuple[AnyEntry, ...]


@click.group()
def message() -> None:
    """What happened to a message, and why."""


def wanted_messages(function: F) -> F:
    """The options that say which messages are meant."""
    for decorate in reversed(_WANTED):
        function = decorate(function)
    return function


_WANTED = (
    click.option("--from", "sender", metavar="ADDRESS", help="Its reverse-path; <> for notices."),
    click.option("--to", "recipient", metavar="ADDRESS", help="One of its recipients."),
    click.option("--message-id", metavar="ID", help="Its Message-ID field."),
    click.option("--since", type=TIME, help="No older ones: 2h, 3d, 2026-11-21, in UTC."),
    click.option("--until", type=TIME, help="Only older ones."),
)


@message.command("list")
@wanted_messages
@click.option("--limit", type=click.IntRange(1, 10_000), default=20, help="At most so many.")
@for_operators
def list_(limit: int, as_json: bool, **options: Any) -> None:
    """List the newest messages, newest first, refused ones too.

    Where is the mail from Bob to Alice of this morning? --from bob@example.net
    --to alice@example.org --since 6h
    """
    found = read(lambda tx: _newest(tx, _wanted(tx, **options), limit))
    rows = [
        (m.trace, format_time(m.at), m.reverse_path or "<>", _recipients(m), m.outcome)
        for m in found
    ]
    text = table(("ID", "TIME (UTC)", "FROM", "TO", "OUTCOME"), rows)
    text += "\n\nThe story of one: mailstead message explain ID"
    nothing = "No such messages." if any(options.values()) else "No messages yet."
    show(found, text if rows else nothing, as_json)


@message.command("explain")
@click.argument("id_", metavar="[ID]", required=False)
@wanted_messages
@for_operators
def explain_(id_: str | None, as_json: bool, **options: Any) -> None:
    """Tell what happened to a message, in order, and why.

    ID is that of log lines, Received fields and `message list`; or the number of a recipient in
    the queue, now or earlier, as 123 or #123; or a Message-ID, as "<...@...>". Without an ID:
    the newest message that the options mean.
    """
    if (id_ is None) != any(options.values()):
        raise click.UsageError("say which message: by its ID, or by --from, --to, --since ...")
    story, others = read(lambda tx: _find(tx, id_) if id_ is not None else _first(tx, **options))
    lines = explain(story.entries)
    text = "\n".join(_paragraph(line) for line in lines)
    found = Explained(story.trace, outcome(story.entries), lines, story.entries)
    show(found, f"Message {story.trace}, times in UTC\n\n{text}", as_json)
    if others:
        note("\nOlder ones: " + ", ".join(f"mailstead message explain {one}" for one in others))


def _wanted(
    tx: Tx,
    sender: str | None,
    recipient: str | None,
    message_id: str | None,
    since: datetime | timedelta | None,
    until: datetime | timedelta | None,
) -> Wanted:
    return Wanted(
        reverse_path=None if sender is None else _address(sender),
        recipient=None if recipient is None else _address(recipient),
        message_id=None if message_id is None else _message_id(message_id),
        since=_time(since, tx.now),
        until=_time(until, tx.now),
    )


def _address(text: str) -> str:
    """As the journal has it: the domain in A-labels, nothing for the null reverse-path."""
    text = text.strip().removeprefix("<").removesuffix(">")
    try:
        return str(parse_address(text)) if text else ""
    except ValueError:
        return text


def _message_id(text: str) -> str:
    text = text.strip()
    return text if text.startswith("<") else f"<{text}>"


def _time(at: datetime | timedelta | None, now: datetime) -> datetime | None:
    if isinstance(at, timedelta):
        return now - at if at < now - _EPOCH else _EPOCH
    return at


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _newest(tx: Tx, wanted: Wanted, limit: int) -> list[ShownMessage]:
    stories = (journal.find(tx, trace) for trace in search(tx, wanted, limit))
    return [_shown(story) for story in stories if story]


def _shown(story: Story) -> ShownMessage:
    reverse_path, recipients, size = "", dict[str, None](), 0
    for entry in story.entries:
        match entry:
            case Accepted():
                reverse_path, size = entry.reverse_path, entry.size
                recipients |= dict.fromkeys(entry.recipients)
            case Refused():
                reverse_path = reverse_path or entry.reverse_path
                recipients |= dict.fromkeys(filter(None, [entry.recipient]))
            case _:
                pass
    at = story.entries[0].at
    words = outcome(story.entries)
    return ShownMessage(story.trace, at, reverse_path, list(recipients), size, words)


def _recipients(one: ShownMessage) -> str:
    shown, more = one.recipients[:RECIPIENTS_SHOWN], len(one.recipients) - RECIPIENTS_SHOWN
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "") or "-"


def _find(tx: Tx, id_: str) -> tuple[Story, list[TraceId]]:
    """The story that the ID means, and the ids of older ones."""
    if id_ and (found := journal.find(tx, TraceId(id_))):
        return found, []
    number = id_.removeprefix("#")
    if number.isascii() and number.isdigit() and len(number) < 19:
        wanted = Wanted(queue_id=QueueId(int(number)))
    elif "@" in id_ or id_.startswith("<"):
        wanted = Wanted(message_id=_message_id(id_))
    else:
        raise _unknown(f"a message {id_}")
    return _stories(tx, wanted, f"a message {id_}")


def _first(tx: Tx, **options: Any) -> tuple[Story, list[TraceId]]:
    return _stories(tx, _wanted(tx, **options), "such a message")


def _stories(tx: Tx, wanted: Wanted, what: str) -> tuple[Story, list[TraceId]]:
    traces = search(tx, wanted, OTHERS_SHOWN + 1)
    found = journal.find(tx, traces[0]) if traces else None
    if found is None:
        raise _unknown(what)
    return found, traces[1:]


def _unknown(what: str) -> Refusal:
    return Refusal(
        f"nothing is known of {what}; what is kept: mailstead message list", "NONEXISTENT"
    )


def _paragraph(line: Line) -> str:
    lines = [f"{format_time(line.at)}  {line.text}"]
    lines += [f"{INDENT}  {fact}" for fact in line.evidence]
    if line.next:
        lines.append(f"{INDENT}> {line.next}")
    return "\n".join(" ".join(one.split("\n")) for one in lines)
