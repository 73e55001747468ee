"""`mailstead spam allow|block|unlist|listed`: senders that are always welcome, or never."""

import click
import msgspec

from mailstead.cli.house import read, write
from mailstead.cli.printing import for_operators, show, table
from mailstead.cli.suppression import find_organisation
from mailstead.model.errors import Refusal
from mailstead.model.numbers import AccountId, OrganisationId
from mailstead.storage import accounts, filter_lists
from mailstead.storage.filter_lists import ALLOW, BLOCK, EVERYBODY, Entry, parse_entry
from mailstead.storage.store import Tx


class ShownEntry(msgspec.Struct, frozen=True):
    """An entry, what it means, and for whom; nothing named: for everybody."""

    entry: str
    verdict: str
    organisation: str = ""
    account: str = ""
    note: str = ""


def _whose(tx: Tx, organisation: str, account: str) -> tuple[OrganisationId, AccountId]:
    if account:
        found = accounts.get_account(tx, account)
        return found.organisation, found.id
    if organisation:
        return find_organisation(tx, organisation), AccountId(0)
    return EVERYBODY, AccountId(0)


@click.command()
@click.argument("entry")
@click.option("--organisation", default="", help="Only for this organisation.")
@click.option("--account", default="", help="Only for this account.")
@click.option("--note", default="", help="Why, for people.")
@for_operators
def allow(entry: str, organisation: str, account: str, note: str, as_json: bool) -> None:
    """Let mail of ENTRY (an address, a domain, a network) into the inbox, whatever the score.

    A name counts only where DMARC or SPF prove that the mail is from there.
    """
    _add(entry, ALLOW, organisation, account, note, as_json)


@click.command()
@click.argument("entry")
@click.option("--organisation", default="", help="Only for this organisation.")
@click.option("--account", default="", help="Only for this account.")
@click.option("--note", default="", help="Why, for people.")
@for_operators
def block(entry: str, organisation: str, account: str, note: str, as_json: bool) -> None:
    """Refuse mail of ENTRY (an address, a domain, a network)."""
    _add(entry, BLOCK, organisation, account, note, as_json)


def _add(
    entry: str, verdict: str, organisation: str, account: str, note: str, as_json: bool
) -> None:
    known = parse_entry(entry)
    write(
        lambda tx: filter_lists.add(
            tx, Entry(*_whose(tx, organisation, account), known, verdict, note, tx.now)
        )
    )
    shown = ShownEntry(known, verdict, organisation, account, note)
    said = "always welcome" if verdict == ALLOW else "refused"
    whom = account or organisation or "everybody"
    show(shown, f"Mail of {known} is {said}, for {whom}.", as_json)


@click.command()
@click.argument("entry")
@click.option("--organisation", default="", help="For this organisation.")
@click.option("--account", default="", help="For this account.")
@for_operators
def unlist(entry: str, organisation: str, account: str, as_json: bool) -> None:
    """Judge mail of ENTRY like all the others again."""
    known = parse_entry(entry)
    if not write(lambda tx: filter_lists.remove(tx, *_whose(tx, organisation, account), known)):
        raise Refusal(f"{known} is on no such list: mailstead spam listed", "NONEXISTENT")
    shown = ShownEntry(known, "", organisation, account)
    show(shown, f"Mail of {known} is judged like all the others.", as_json)


@click.command()
@for_operators
def listed(as_json: bool) -> None:
    """List who is always welcome, and who is refused."""
    found = read(_list)
    cells = [
        (one.entry, one.verdict, one.account or one.organisation or "everybody", one.note)
        for one in found
    ]
    text = table(("ENTRY", "VERDICT", "FOR", "NOTE"), cells) if found else "Nobody is listed."
    show(found, text, as_json)


def _list(tx: Tx) -> list[ShownEntry]:
    names = dict(tx.rows("SELECT id, name FROM organisation"))
    logins = dict(tx.rows("SELECT id, login FROM account"))
    return [
        ShownEntry(
            one.entry,
            one.verdict,
            names.get(one.organisation, ""),
            logins.get(one.account, ""),
            one.note,
        )
        for one in filter_lists.list_all(tx)
    ]
