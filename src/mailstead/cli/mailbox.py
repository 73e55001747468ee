"""`mailstead mailbox`: mailboxes that are shared inside an organisation (RFC 4314)."""

from shlex import quote

import click
import msgspec

from mailstead.cli.house import operate, read, teaching
from mailstead.cli.printing import for_operators, show, table
from mailstead.model.numbers import AccountId
from mailstead.protocol.imap import acl
from mailstead.server.wiring import House
from mailstead.services.mailboxes.sharing import Grant, RightsList
from mailstead.storage import accounts
from mailstead.storage.rights import OTHER_USERS

SETS = {"read": "lr", "write": "lrswite", "all": acl.RIGHTS}
ANYONE = "anyone"


class ShownRights(msgspec.Struct, frozen=True):
    """What one account, or everybody in the organisation, may do in a mailbox."""

    who: str
    rights: str


@click.group()
def mailbox() -> None:
    """Mailboxes, and who else in the organisation may use them."""


def _parse_rights(context: click.Context, option: click.Parameter, text: str) -> str:
    try:
        rights = SETS.get(text) or acl.parse_rights(text)
    except ValueError as error:
        raise click.BadParameter(f"{error}; or say {', '.join(SETS)}") from error
    if not rights:
        raise click.BadParameter("no rights at all: that is `mailstead mailbox unshare`")
    return rights


@mailbox.command()
@click.argument("login")
@click.argument("name", metavar="MAILBOX")
@click.argument("who")
@click.option(
    "--rights",
    callback=_parse_rights,
    default="read",
    help=f"read, write, all, or letters of {acl.RIGHTS} (docs/access.md); read by default.",
)
@for_operators
def share(login: str, name: str, who: str, rights: str, as_json: bool) -> None:
    """Let WHO, an account of the same organisation or "anyone", use a mailbox of LOGIN."""
    found = _change(login, name, Grant(who, acl.Change.REPLACE, rights))
    seen = f"{OTHER_USERS}/{login.casefold()}/{found.mailbox.name}"
    text = f"{who} has the rights {rights} in {found.mailbox.name}, and finds it as {seen}."
    show(_shown(found), text, as_json)


@mailbox.command()
@click.argument("login")
@click.argument("name", metavar="MAILBOX")
@click.argument("who")
@for_operators
def unshare(login: str, name: str, who: str, as_json: bool) -> None:
    """Take all rights of WHO in a mailbox of LOGIN away; what "anyone" has stays."""
    found = _change(login, name, Grant(who, acl.Change.REPLACE, ""))
    text = f"{who} is off the list of {found.mailbox.name}."
    show(_shown(found), text, as_json)


@mailbox.command()
@click.argument("login")
@click.argument("name", metavar="MAILBOX")
@for_operators
def rights(login: str, name: str, as_json: bool) -> None:
    """List who may do what in a mailbox of LOGIN."""
    account = _find(login)
    with teaching(NONEXISTENT=f"mailstead account show {quote(login)}"):
        found = operate(lambda house: house.mailboxes.sharing.list_granted(account, name))
    shown = _shown(found)
    rows = [(one.who, one.rights) for one in shown]
    show(shown, table(("WHO", "RIGHTS"), rows), as_json)


def _change(login: str, name: str, grant: Grant) -> RightsList:
    account = _find(login)

    async def work(house: House) -> RightsList:
        await house.mailboxes.sharing.change(account, name, grant)
        return await house.mailboxes.sharing.list_granted(account, name)

    with teaching(NONEXISTENT=f"mailstead account show {quote(login)}"):
        return operate(work)


def _find(login: str) -> AccountId:
    with teaching(NONEXISTENT="mailstead account list"):
        return read(lambda tx: accounts.get_account(tx, login)).id


def _shown(found: RightsList) -> list[ShownRights]:
    return [ShownRights(one.login or ANYONE, one.rights) for one in found.granted]
