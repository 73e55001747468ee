"""`mailstead filter add|list|remove|test|code`: other programs, and the operator's own code."""

from datetime import timedelta
from pathlib import Path
from typing import BinaryIO

import click
import msgspec

from mailstead.cli.house import operate, read, write
from mailstead.cli.main import TRY_LATER
from mailstead.cli.printing import for_operators, note, show, table
from mailstead.message.header import ensure_crlf, split
from mailstead.model.errors import Refusal
from mailstead.model.world import Endpoint
from mailstead.net.https import HttpError
from mailstead.server.wiring import House
from mailstead.services.filters.asking import parse_endpoint
from mailstead.services.filters.letter import EngineFailed, Letter, Opinion
from mailstead.services.inbound import own_code
from mailstead.storage import filter_engines, switches
from mailstead.storage.blobs import MemoryBody
from mailstead.storage.filter_engines import DIRECTIONS, FAILURES, KINDS, Engine
from mailstead.storage.store import Tx
from mailstead.storage.switches import CODE, EVERYBODY, Switch

MESSAGE_LIMIT = 100 * 1024 * 1024  # octets
_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
_HELLO = b"From: postmaster@localhost\r\nSubject: A test of mailstead filter\r\n\r\nHello\r\n"


class Answered(msgspec.Struct, frozen=True):
    """What a filter said of a message."""

    name: str
    advice: str
    reason: str
    malware: str
    score: float
    reply: str
    changes: tuple[str, ...]


@click.command()
@click.argument("name")
@click.argument("kind", type=click.Choice(KINDS))
@click.argument("endpoint")
@click.option("--direction", type=click.Choice(DIRECTIONS), default="in", help="What it sees.")
@click.option(
    "--failure",
    type=click.Choice(FAILURES),
    default="open",
    help="Without an answer mail goes on (open), or is put off (closed).",
)
@click.option("--seconds", type=click.IntRange(1, 120), default=20, help="How long it may take.")
@click.option("--place", type=click.IntRange(0, 1000), default=100, help="The lowest is first.")
@for_operators
def add(
    name: str,
    kind: str,
    endpoint: str,
    direction: str,
    failure: str,
    seconds: int,
    place: int,
    as_json: bool,
) -> None:
    """Ask another program about mail, under a NAME of your choice.

    ENDPOINT is where it listens: unix:/run/clamd.sock or 127.0.0.1:8891 for clamd and milters,
    http://127.0.0.1:11333/checkv2 for Rspamd, any URL for a hook. The server asks it within a
    minute.
    """
    try:
        where = parse_endpoint(kind, endpoint)
    except ValueError as error:
        raise Refusal(str(error)) from error

    def work(tx: Tx) -> None:
        limit = timedelta(seconds=seconds)
        engine = Engine(name, kind, where, direction, failure, limit, place, tx.now)
        filter_engines.add(tx, engine)

    write(work)
    show({"added": name}, f"{name} is asked. Next: mailstead filter test {name}", as_json)


@click.command("list")
@for_operators
def list_(as_json: bool) -> None:
    """List the other programs that are asked, in their order."""
    found = read(filter_engines.list_all)
    code = read(lambda tx: switches.find(tx, CODE, EVERYBODY))
    rows = [
        (one.name, one.kind, one.endpoint, one.direction, one.failure, int(one.time_limit.seconds))
        for one in found
    ]
    titles = ("NAME", "KIND", "ENDPOINT", "SEES", "ON FAILURE", "SECONDS")
    empty = "None. Next: mailstead filter add clamav clamd unix:/run/clamav/clamd.ctl"
    text = table(titles, rows) if rows else empty
    show(found, text + (f"\nYour own code: {code}" if code else ""), as_json)


@click.command()
@click.argument("name")
@for_operators
def remove(name: str, as_json: bool) -> None:
    """Ask NAME no more; the server sees it within a minute."""
    if not write(lambda tx: filter_engines.remove(tx, name)):
        raise _unknown(name)
    show({"removed": name}, f"{name} is not asked any more.", as_json)


@click.command()
@click.argument("name")
@click.argument("file", type=click.File("rb"), required=False)
@for_operators
def test(name: str, file: BinaryIO | None, as_json: bool) -> None:
    """Show NAME a message, that of FILE or a harmless one, and print what it says.

    Exit code 1 if it refuses the message, 75 if it does not answer.
    """
    engine = next((one for one in read(filter_engines.list_all) if one.name == name), None)
    if engine is None:
        raise _unknown(name)
    octets = ensure_crlf(file.read(MESSAGE_LIMIT)) if file else _HELLO
    try:
        opinion = operate(lambda house: _test(house, engine, octets))
    except EngineFailed as error:
        note(f"{name} does not answer: {error}")
        raise click.exceptions.Exit(TRY_LATER) from None
    answered = _answered(opinion)
    show(answered, "\n".join(_lines(answered)), as_json)
    if answered.advice == "refuse":
        raise click.exceptions.Exit(1)


async def _test(house: House, engine: Engine, octets: bytes) -> Opinion:
    header, body = split(octets)
    letter = Letter(
        trace="test",
        hostname=house.config.hostname,
        peer=Endpoint("127.0.0.1", 25),
        name="localhost",
        helo="localhost",
        tls="",
        login="",
        reverse_path="postmaster@localhost",
        recipients=("postmaster@localhost",),
        header=header,
        body=MemoryBody(body),
    )
    direction = "in" if engine.direction == "both" else engine.direction
    try:
        return await house.site.filters.test(engine, letter, direction)
    except (HttpError, OSError) as error:  # TimeoutError too
        raise EngineFailed(str(error) or type(error).__name__) from error


def _answered(opinion: Opinion) -> Answered:
    return Answered(
        name=opinion.engine,
        advice=opinion.advice.value,
        reason=opinion.reason,
        malware=opinion.malware,
        score=opinion.weight,
        reply=str(opinion.reply or ""),
        changes=opinion.changes.words,
    )


def _lines(one: Answered) -> list[str]:
    told = [f"{one.name}: {one.advice}{f': {one.reason}' if one.reason else ''}"]
    told += [f"  the peer would hear: {one.reply}"] if one.reply else []
    return told + [f"  changes: {change}" for change in one.changes]


def _unknown(name: str) -> Refusal:
    return Refusal(f"there is no filter {name}: mailstead filter list", "NONEXISTENT")


async def _use_code(house: House, path: str) -> None:
    """Loaded as the user that the server runs as: what root may read it perhaps may not."""
    own_code.load(Path(path))
    await house.store.write(lambda tx: switches.put(tx, CODE, Switch(EVERYBODY, "", path)))


@click.command()
@click.argument("file", type=_FILE, required=False)
@click.option("--off", is_flag=True, help="No own code any more.")
@for_operators
def code(file: Path | None, off: bool, as_json: bool) -> None:
    """Let a Python FILE of your own see the evidence and change the verdict.

    It has a function judge(evidence, verdict, recipient); docs/receiving.md shows one. Without
    FILE: say which one is used.
    """
    if file is not None:
        path = str(file.resolve())
        operate(lambda house: _use_code(house, path))
        show({"code": path}, f"{path} is asked about each message from outside.", as_json)
    elif off:
        write(lambda tx: switches.forget(tx, CODE, EVERYBODY))
        show({"code": ""}, "No code of your own is asked any more.", as_json)
    else:
        found = read(lambda tx: switches.find(tx, CODE, EVERYBODY))
        show({"code": found}, found or "None. Next: mailstead filter code FILE", as_json)
