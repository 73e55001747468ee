"""`mailstead account app-password`: passwords for one program each, made up here."""

from datetime import datetime, timedelta

import click
import msgspec

from mailstead.cli.house import operate, read, teaching, write
from mailstead.cli.parameters import TIME
from mailstead.cli.printing import for_operators, show, table
from mailstead.services import directory
from mailstead.services.directory import AppPasswordWish
from mailstead.storage import accounts, app_passwords
from mailstead.storage.app_passwords import AppPassword
from mailstead.storage.store import Tx


class ShownAppPassword(msgspec.Struct, frozen=True):
    """An app password as it is listed: all but itself."""

    name: str
    protocols: tuple[str, ...]  # none for all
    created: datetime
    expires: datetime | None
    last_used: datetime | None


@click.group("app-password")
def app_password() -> None:
    """Passwords for one program each, which can be taken away again one by one."""


@app_password.command()
@click.argument("login")
@click.argument("name")
@click.option(
    "--for",
    "protocols",
    type=click.Choice(app_passwords.SCOPES),
    multiple=True,
    help="Good for this protocol only; may be given more than once.",
)
@click.option("--expires-in", type=TIME, help='As "90d"; never, by default.')
@for_operators
def add(
    login: str,
    name: str,
    protocols: tuple[str, ...],
    expires_in: datetime | timedelta | None,
    as_json: bool,
) -> None:
    """Make a password for the program or device NAME; it is shown only now."""
    if isinstance(expires_in, datetime):
        raise click.UsageError('--expires-in is a length of time, as "90d"')
    wish = AppPasswordWish(login, name, tuple(sorted(set(protocols))), expires_in)
    with teaching(NONEXISTENT="mailstead account list"):
        word = operate(lambda house: directory.add_app_password(house.store, house.world, wish))
    text = f"Password for {name} of {login.casefold()} (shown only now): {word}"
    show({"login": login.casefold(), "name": name, "password": word}, text, as_json)


@app_password.command("list")
@click.argument("login")
@for_operators
def list_(login: str, as_json: bool) -> None:
    """List the app passwords of an account, and when each was last used."""
    with teaching(NONEXISTENT="mailstead account list"):
        found = [_shown(one) for one in read(lambda tx: _list(tx, login))]
    rows = [
        (one.name, " ".join(one.protocols) or "all", _day(one.expires), _day(one.last_used))
        for one in found
    ]
    text = table(("NAME", "FOR", "EXPIRES", "LAST USED"), rows)
    empty = f"None. Next: mailstead account app-password add {login} NAME"
    show(found, text if rows else empty, as_json)


def _list(tx: Tx, login: str) -> list[AppPassword]:
    return app_passwords.list_all(tx, accounts.get_account(tx, login).id)


def _shown(one: AppPassword) -> ShownAppPassword:
    return ShownAppPassword(one.name, one.scopes, one.created, one.expires, one.last_used)


def _day(at: datetime | None) -> str:
    return f"{at:%Y-%m-%d}" if at else "never"


@app_password.command()
@click.argument("login")
@click.argument("name")
@for_operators
def remove(login: str, name: str, as_json: bool) -> None:
    """Take an app password away; who is logged in with it stays so until the connection ends."""
    with teaching(NONEXISTENT=f"mailstead account app-password list {login}"):
        write(lambda tx: app_passwords.remove(tx, login, name))
    show({"login": login, "removed": name}, f"{name} can no longer log in as {login}.", as_json)
