"""`mailstead message`: what happened to a message, and why, from the journal."""

from datetime import datetime

import click
import msgspec

from mailstead.cli.house import read
from mailstead.cli.printing import for_operators, show, table
from mailstead.model.entries import Accepted, AnyEntry, Refused
from mailstead.model.errors import Refusal
from mailstead.model.numbers import QueueId, TraceId
from mailstead.services.explain import Line, explain, format_time, outcome
from mailstead.storage import journal, queue
from mailstead.storage.journal import Story
from mailstead.storage.store import Tx

INDENT = " " * 21  # under the sentence: the width of a time and two spaces
RECIPIENTS_SHOWN = 3


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


@message.command("list")
@click.option("--limit", type=click.IntRange(1, 10_000), default=20, help="At most so many.")
@for_operators
def list_(limit: int, as_json: bool) -> None:
    """List the newest messages, newest first, refused ones too."""
    found = read(lambda tx: _newest(tx, limit))
    rows = [
        (m.trace, format_time(m.at), m.reverse_path or "<>", _recipients(m), m.outcome)
        for m in found
    ]
    text = table(("ID", "TIME (UTC)", "FROM", "TO", "OUTCOME"), rows)
    text += "\n\nThe story of one: mailstead message explain ID"
    show(found, text if rows else "No messages yet.", as_json)


@message.command("explain")
@click.argument("id_", metavar="ID")
@for_operators
def explain_(id_: str, as_json: bool) -> None:
    """Tell what happened to a message, in order, and why.

    ID is that of log lines, Received fields and `message list`, or the number of a recipient in
    the queue, as 123 or #123.
    """
    story = read(lambda tx: _find(tx, id_))
    lines = explain(story.entries)
    text = "\n".join(_paragraph(line) for line in lines)
    found = Explained(story.trace, outcome(story.entries), lines, story.entries)
    show(found, f"Message {story.trace}, times in UTC\n\n{text}", as_json)


def _newest(tx: Tx, limit: int) -> list[ShownMessage]:
    """One row a message: with a refused recipient, it has several arrivals in the journal."""
    traces = dict.fromkeys(story.trace for story in journal.arrivals(tx, limit))
    stories = [story for trace in traces if (story := journal.find(tx, trace))]
    return [_shown(story) for story in stories]


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


def _find(tx: Tx, id_: str) -> Story:
    found = journal.find(tx, TraceId(id_)) if id_ else None
    number = id_.removeprefix("#")
    if found is None and number.isascii() and number.isdigit() and len(number) < 19:
        waiting = queue.find(tx, queue.Filter(ids=(QueueId(int(number)),)), 1)
        if not waiting:
            raise Refusal(
                f"no recipient #{number} is in the queue; if it has left, look for its message:"
                " mailstead message list",
                "NONEXISTENT",
            )
        found = journal.find(tx, waiting[0][1].trace)
    if found is None:
        raise Refusal(
            f"nothing is known of a message {id_}; what is kept: mailstead message list",
            "NONEXISTENT",
        )
    return found


def _paragraph(line: Line) -> str:
    lines = [f"{format_time(line.at)}  {line.text}"]
    lines += [f"{INDENT}  {fact}" for fact in line.evidence]
    if line.next:
        lines.append(f"{INDENT}> {line.next}")
    return "\n".join(" ".join(one.split("\n")) for one in lines)
