"""`mailstead stream`: kinds of mail that an organisation sends apart from what its people write."""

from typing import Any

import click
import msgspec

from mailstead.cli.house import read, teaching, write
from mailstead.cli.printing import for_operators, show, table
from mailstead.cli.suppression import find_organisation
from mailstead.services.leaving import STREAM_FIELD
from mailstead.storage import streams
from mailstead.storage.streams import PRIORITIES, Stream

_WORDS = {number: word for word, number in PRIORITIES.items()}


class ShownStream(msgspec.Struct, frozen=True):
    """A stream as it is listed."""

    name: str
    priority: str


def _of_organisation(function: Any) -> Any:
    return click.option("--organisation", default="", help="Whose; the first one if not given.")(
        function
    )


def _priority(function: Any) -> Any:
    return click.option(
        "--priority",
        type=click.Choice(list(PRIORITIES)),
        default="transactional",
        help="What leaves first, when much waits.",
    )(function)


@click.group()
def stream() -> None:
    """Kinds of mail that an organisation sends apart from what its people write."""


@stream.command("list")
@_of_organisation
@for_operators
def list_(organisation: str, as_json: bool) -> None:
    """List the streams, those first that leave first."""
    found = read(lambda tx: streams.list_all(tx, find_organisation(tx, organisation)))
    shown = [_shown(one) for one in found]
    rows = [(one.name, one.priority) for one in shown]
    empty = "No streams. Next: mailstead stream add newsletter --priority bulk"
    show(shown, table(("STREAM", "PRIORITY"), rows) if rows else empty, as_json)


@stream.command()
@click.argument("name")
@_priority
@_of_organisation
@for_operators
def add(name: str, priority: str, organisation: str, as_json: bool) -> None:
    """Make a stream: each of its recipients gets a return path of its own, and bounces come home.

    A message is in it if its header says "Mailstead-Stream: NAME", or if its account sends in it.
    """
    number = PRIORITIES[priority]
    write(lambda tx: streams.add(tx, find_organisation(tx, organisation), name, number))
    text = (
        f"The stream {name} is there. A message is in it with the field {STREAM_FIELD}: {name},\n"
        f"or if its account sends in it: mailstead sender stream LOGIN {name}"
    )
    show(ShownStream(name, priority), text, as_json)


@stream.command("set")
@click.argument("name")
@_priority
@_of_organisation
@for_operators
def set_(name: str, priority: str, organisation: str, as_json: bool) -> None:
    """Let what is submitted from now on leave earlier or later."""
    number = PRIORITIES[priority]
    with teaching(NONEXISTENT="mailstead stream list"):
        write(
            lambda tx: streams.set_priority(tx, find_organisation(tx, organisation), name, number)
        )
    show(ShownStream(name, priority), f"The stream {name} is {priority} from now on.", as_json)


@stream.command()
@click.argument("name")
@_of_organisation
@for_operators
def remove(name: str, organisation: str, as_json: bool) -> None:
    """Take a stream away; what waits in the queue leaves all the same."""
    with teaching(NONEXISTENT="mailstead stream list"):
        write(lambda tx: streams.remove(tx, find_organisation(tx, organisation), name))
    show({"removed": name}, f"The stream {name} is gone.", as_json)


def _shown(one: Stream) -> ShownStream:
    return ShownStream(one.name, _WORDS.get(one.priority, str(one.priority)))
