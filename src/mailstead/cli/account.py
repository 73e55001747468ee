"""`mailstead account`: people and programs with mailboxes."""

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from shlex import quote

import click
import msgspec

from mailstead.cli.app_password import app_password
from mailstead.cli.certificate import certificate
from mailstead.cli.house import operate, read, teaching, write
from mailstead.cli.importing import import_accounts
from mailstead.cli.parameters import ADDRESS, DOMAIN, SIZE
from mailstead.cli.passwords import Password, PasswordSource, get_password, password_options
from mailstead.cli.printing import for_operators, format_size, note, show, table
from mailstead.model.address import Address, Domain
from mailstead.model.mailbox import INBOX
from mailstead.server.wiring import House
from mailstead.services import directory
from mailstead.services.directory import NewAccount
from mailstead.storage import accounts, mailboxes, maildrops
from mailstead.storage.accounts import Account
from mailstead.storage.store import Tx

PAGE = 1000  # accounts read at a time


class ShownAccount(msgspec.Struct, frozen=True):
    """An account as it is listed: all but the hash of its password."""

    login: str
    name: str
    active: bool
    quota: int
    used: int
    messages: int


class ShownMailbox(msgspec.Struct, frozen=True):
    """A mailbox of an account."""

    name: str
    messages: int
    unseen: int
    size: int


class AccountDetails(msgspec.Struct, frozen=True):
    """All there is to see of one account."""

    account: ShownAccount
    mailboxes: list[ShownMailbox]
    aliases: list[str]


@click.group()
def account() -> None:
    """People and programs with mailboxes."""


account.add_command(app_password)
account.add_command(certificate)


# ---------------------------------------------------------------------- add


@account.command()
@click.argument("address", type=ADDRESS, required=False)
@click.option("--name", default="", help="The person's name.")
@click.option("--quota", type=SIZE, default=0, help='As "2 GiB"; 0, the default, is no limit.')
@click.option(
    "--from-csv",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Many at once: a file with the columns address,password,name,quota.",
)
@password_options
@for_operators
def add(
    address: Address | None,
    name: str,
    quota: int,
    from_csv: Path | None,
    password_file: Path | None,
    password_stdin: bool,
    generate: bool,
    as_json: bool,
) -> None:
    """Make an account with its mailboxes; ADDRESS is also the name to log in with.

    A file of --from-csv begins with a line of column names; of each bad line the reason is told,
    the others are done.
    """
    if (address is None) == (from_csv is None):
        raise click.UsageError("give an address, or --from-csv FILE")
    if from_csv is not None:
        import_accounts(from_csv, as_json)
    elif address is not None:
        source = PasswordSource(password_file, password_stdin, generate)
        word = get_password(source, f"Password of {address}")
        _add(NewAccount(address, word.word, name, quota))
        login = str(address).casefold()
        _show_password(login, word, f"{login} is there; log in with that name.", as_json)


def _add(new: NewAccount) -> None:
    with teaching(ALREADYEXISTS=f"mailstead account show {quote(str(new.address))}"):
        operate(lambda house: directory.add_account(house.store, house.world, new))


def _show_password(login: str, word: Password, text: str, as_json: bool) -> None:
    """What was done; with the password, if nobody could know it yet."""
    made_up = {"password": word.word} if word.generated else {}
    if word.generated:
        text += f"\nPassword (shown only now): {word.word}"
    show({"login": login, **made_up}, text, as_json)


# ---------------------------------------------------------------------- look


@account.command("list")
@click.option("--domain", type=DOMAIN, default=None, help="Of this domain only.")
@click.option("--limit", type=click.IntRange(1), default=None, help="At most so many.")
@for_operators
def list_(domain: Domain | None, limit: int | None, as_json: bool) -> None:
    """List the accounts."""
    found = [_shown(one) for one in operate(lambda house: _pages(house, domain or "", limit))]
    rows = [
        (a.login, a.name, "yes" if a.active else "no", a.messages, format_size(a.used), _quota(a))
        for a in found
    ]
    titles = ("LOGIN", "NAME", "ACTIVE", "MESSAGES", "USED", "QUOTA")
    empty = "No accounts. Next: mailstead account add you@example.org"
    show(found, table(titles, rows) if rows else empty, as_json)


async def _pages(house: House, domain: str, limit: int | None) -> list[Account]:
    found: list[Account] = []
    while limit is None or len(found) < limit:
        after = found[-1].login if found else ""
        size = PAGE if limit is None else min(PAGE, limit - len(found))
        page = partial(accounts.list_accounts, domain=domain, after=after, limit=size)
        rows = await house.store.read(page)
        found += rows
        if len(rows) < size:
            break
    return found


@account.command("show")
@click.argument("login")
@for_operators
def show_(login: str, as_json: bool) -> None:
    """Show an account, its mailboxes and the aliases that lead to it."""
    with teaching(NONEXISTENT="mailstead account list"):
        found = read(lambda tx: _details(tx, login))
    one = found.account
    lines = [
        f"Login     {one.login}",
        f"Name      {one.name or '-'}",
        f"Active    {'yes' if one.active else 'no: it cannot log in, mail for it is refused'}",
        f"Used      {format_size(one.used)} of {_quota(one)}",
        f"Aliases   {', '.join(found.aliases) or '-'}",
        "",
    ]
    rows = [(m.name, m.messages, m.unseen, format_size(m.size)) for m in found.mailboxes]
    text = "\n".join(lines) + "\n" + table(("MAILBOX", "MESSAGES", "UNSEEN", "SIZE"), rows)
    show(found, text, as_json)


def _details(tx: Tx, login: str) -> AccountDetails:
    one = accounts.get_account(tx, login)
    rows = mailboxes.list_all(tx, one.id)
    rows.sort(key=lambda mailbox: (mailbox.name != INBOX, mailbox.name))
    return AccountDetails(
        _shown(one),
        [ShownMailbox(m.name, m.messages, m.unseen, m.size) for m in rows],
        [str(a.address) for a in accounts.list_aliases(tx) if _leads_to(a.targets, one.login)],
    )


def _leads_to(targets: tuple[str, ...], login: str) -> bool:
    return any(target.casefold() == login for target in targets)


def _shown(one: Account) -> ShownAccount:
    return ShownAccount(one.login, one.name, one.active, one.quota, one.used, one.emails)


def _quota(one: ShownAccount) -> str:
    return format_size(one.quota) if one.quota else "no limit"


# ---------------------------------------------------------------------- change


@account.command("pop3-days")
@click.argument("login")
@click.argument("days")
@for_operators
def pop3_days(login: str, days: str, as_json: bool) -> None:
    """Put mail into Trash DAYS after it was fetched by POP3; "never" keeps it.

    For programs that leave mail on the server and never take it away. What IMAP reads stays.
    """
    number = None
    if days != "never":
        number = int(days) if days.isascii() and days.isdecimal() and len(days) < 6 else 0
        if not 0 < number <= maildrops.DAYS_MOST:
            raise click.UsageError(f'DAYS is a number up to {maildrops.DAYS_MOST}, or "never"')
    with teaching(NONEXISTENT="mailstead account list"):
        write(lambda tx: maildrops.set_days(tx, login, number))
    kept = "stays" if number is None else f"goes to Trash after {number} days"
    show({"login": login, "days": number}, f"What {login} fetches by POP3 {kept}.", as_json)


@account.command()
@click.argument("login")
@password_options
@for_operators
def password(
    login: str, password_file: Path | None, password_stdin: bool, generate: bool, as_json: bool
) -> None:
    """Give an account another password."""
    with teaching(NONEXISTENT="mailstead account list"):
        read(lambda tx: accounts.get_account(tx, login))
        word = get_password(PasswordSource(password_file, password_stdin, generate), "New password")
        operate(lambda house: directory.set_password(house.store, house.world, login, word.word))
    text = f"{login} has a new password; who is logged in stays so until the connection ends."
    _show_password(login, word, text, as_json)


@account.command("import-hash")
@click.argument("login")
@click.option(
    "--hash-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The first line of this file; else of stdin.",
)
@for_operators
def import_hash(login: str, hash_file: Path | None, as_json: bool) -> None:
    """Take over the hash of a password from another server: SHA512-CRYPT, PBKDF2 or argon2.

    The password stays what it was; it is hashed anew when its owner next logs in.
    """
    source = PasswordSource(hash_file, stdin=hash_file is None, generate=False)
    hashed = get_password(source, "").word
    with teaching(NONEXISTENT="mailstead account list"):
        operate(lambda house: directory.set_hash(house.store, login, hashed))
    show({"login": login}, f"{login} keeps the password of that hash.", as_json)


@account.command()
@click.argument("login")
@click.argument("size", type=SIZE)
@for_operators
def quota(login: str, size: int, as_json: bool) -> None:
    """Set how much mail an account may keep: SIZE as "2 GiB", 0 for no limit."""
    one = _change(login, lambda tx: accounts.set_quota(tx, login, size))
    full = " It is full: new mail is put off." if one.quota and one.used >= one.quota else ""
    show(one, f"{one.login} uses {format_size(one.used)} of {_quota(one)}.{full}", as_json)


@account.command()
@click.argument("login")
@for_operators
def disable(login: str, as_json: bool) -> None:
    """Switch an account off: no log-ins, mail for it is refused; its mail is kept."""
    one = _change(login, lambda tx: accounts.set_active(tx, login, False))
    text = f"{one.login} is switched off. To undo it: mailstead account enable {quote(one.login)}"
    show(one, text, as_json)


@account.command()
@click.argument("login")
@for_operators
def enable(login: str, as_json: bool) -> None:
    """Switch an account on again."""
    one = _change(login, lambda tx: accounts.set_active(tx, login, True))
    show(one, f"{one.login} is switched on.", as_json)


def _change(login: str, change: Callable[[Tx], None]) -> ShownAccount:
    """The account after the change."""

    def work(tx: Tx) -> ShownAccount:
        change(tx)
        return _shown(accounts.get_account(tx, login))

    with teaching(NONEXISTENT="mailstead account list"):
        return write(work)


@account.command()
@click.argument("login")
@click.option("--yes", is_flag=True, help="Do not ask.")
@for_operators
def delete(login: str, yes: bool, as_json: bool) -> None:
    """Delete an account with its addresses and all its mail, for good."""
    with teaching(NONEXISTENT="mailstead account list"):
        one = read(lambda tx: accounts.get_account(tx, login))
        if not yes:
            _make_sure(one)
        gone = operate(
            lambda house: directory.erase_account(
                house.store, one.login, lambda done: note(f"{done} of {one.emails} messages ...")
            )
        )
    text = f"{one.login} is gone, with {gone} messages."
    show({"deleted": one.login, "messages": gone}, text, as_json)


def _make_sure(one: Account) -> None:
    if not sys.stdin.isatty():
        raise click.UsageError("nobody can be asked here: give --yes to delete the account")
    what = f"Delete {one.login} and its {one.emails} messages ({format_size(one.used)}) for good?"
    click.confirm(what, abort=True)
