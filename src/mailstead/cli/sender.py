"""`mailstead sender`: what an account may send, as whom, to how many a day, in which stream."""

import click
import msgspec

from mailstead.cli.house import read, teaching, write
from mailstead.cli.printing import for_operators, show
from mailstead.model.errors import Refusal
from mailstead.storage import accounts, senders, streams
from mailstead.storage.store import Tx

USUAL, NONE = "usual", "none"


class ShownSender(msgspec.Struct, frozen=True):
    """What an account may send, and did today; a limit of None is none."""

    login: str
    stream: str
    recipients_limit: int | None
    strangers_limit: int | None
    recipients: int
    strangers: int
    send_as: list[str]


@click.group()
def sender() -> None:
    """What an account may send: as whom, to how many a day, in which stream."""


@sender.command("show")
@click.argument("login")
@for_operators
def show_(login: str, as_json: bool) -> None:
    """Show what an account may send, and what it sent today (UTC)."""
    with teaching(NONEXISTENT="mailstead account list"):
        found = read(lambda tx: _get(tx, login))
    show(found, _text(found), as_json)


@sender.command()
@click.argument("login")
@click.option("--recipients", metavar="N", help="In all; 1000 is usual.")
@click.option("--strangers", metavar="N", help="Never written to before; 200 is usual.")
@for_operators
def limits(login: str, recipients: str | None, strangers: str | None, as_json: bool) -> None:
    """Set how many recipients a day an account may write to: a number, "usual" or "none".

    A password that was stolen can do little harm within the usual limits. Give an application that
    sends much an account of its own, and that account other limits.
    """
    if recipients is None and strangers is None:
        raise click.UsageError("give --recipients, --strangers, or both")

    def work(tx: Tx) -> ShownSender:
        account = accounts.get_account(tx, login)
        before = senders.get_limits(tx, account.id)
        after = (_number(recipients, before[0]), _number(strangers, before[1]))
        senders.set_limits(tx, account.id, *after)
        return _get(tx, login)

    with teaching(NONEXISTENT="mailstead account list"):
        found = write(work)
    show(found, _text(found), as_json)


def _number(text: str | None, before: int | None) -> int | None:
    """As storage.senders.set_limits wants it."""
    if text is None:
        return before
    if text in (USUAL, NONE):
        return None if text == USUAL else -1
    if not text.isdecimal() or len(text) > 9:
        raise click.UsageError(f'{text!r} is no number, nor "usual" or "none"')
    return int(text)


@sender.command()
@click.argument("login")
@click.argument("address")
@for_operators
def allow(login: str, address: str, as_json: bool) -> None:
    """Let an account write as ADDRESS beside its own addresses; @example.org is all of a domain."""
    with teaching(NONEXISTENT="mailstead account list"):
        allowed = write(lambda tx: senders.allow_send_as(tx, login, address))
    show({"login": login, "allowed": allowed}, f"{login} may write as {allowed}.", as_json)


@sender.command()
@click.argument("login")
@click.argument("address")
@for_operators
def forbid(login: str, address: str, as_json: bool) -> None:
    """Take that back."""
    with teaching(NONEXISTENT="mailstead account list"):
        gone = write(lambda tx: senders.forbid_send_as(tx, login, address))
    if not gone:
        raise Refusal(f"{login} was not allowed {address}: mailstead sender show {login}")
    show({"login": login, "forbidden": address}, f"{login} may not write as {address}.", as_json)


@sender.command("stream")
@click.argument("login")
@click.argument("name", required=False, default="")
@for_operators
def stream_(login: str, name: str, as_json: bool) -> None:
    """Let all that an account sends be in the stream NAME; without a name: people's mail again."""

    def work(tx: Tx) -> ShownSender:
        account = accounts.get_account(tx, login)
        if name and streams.find(tx, account.organisation, name) is None:
            raise Refusal(f"there is no stream {name}: mailstead stream add {name}")
        senders.set_stream(tx, account.id, name)
        return _get(tx, login)

    with teaching(NONEXISTENT="mailstead account list"):
        found = write(work)
    show(found, _text(found), as_json)


def _get(tx: Tx, login: str) -> ShownSender:
    account = accounts.get_account(tx, login)
    standing = senders.find_standing(tx, account.id)
    return ShownSender(
        account.login,
        standing.stream,
        standing.recipients_limit,
        standing.strangers_limit,
        standing.recipients,
        standing.strangers,
        senders.list_send_as(tx, account.id),
    )


def _text(one: ShownSender) -> str:
    lines = [
        f"Login       {one.login}",
        f"Stream      {one.stream or '- (people)'}",
        f"Recipients  {one.recipients} today, of {_limit(one.recipients_limit)}",
        f"Strangers   {one.strangers} today, of {_limit(one.strangers_limit)}",
        f"Writes as   {', '.join(['its own addresses', *one.send_as])}",
    ]
    return "\n".join(lines)


def _limit(limit: int | None) -> str:
    return "any number" if limit is None else str(limit)
