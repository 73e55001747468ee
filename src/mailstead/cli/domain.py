"""`mailstead domain`: the domains whose mail is ours."""

import click
import msgspec

from mailstead.cli.house import load_config, read, teaching, write
from mailstead.cli.parameters import ADDRESS, DOMAIN
from mailstead.cli.printing import for_operators, show, table
from mailstead.cli.records import Record, format_records, own_addresses, records
from mailstead.model.address import Address, Domain
from mailstead.services import directory
from mailstead.storage import accounts
from mailstead.storage.store import Tx


class ShownDomain(msgspec.Struct, frozen=True):
    """A domain as it is listed."""

    name: str
    organisation: str
    catch_all: str | None
    accounts: int
    aliases: int


class AddedDomain(msgspec.Struct, frozen=True):
    """A domain that was added, and what to publish for it."""

    name: str
    records: list[Record]


@click.group()
def domain() -> None:
    """Domains whose mail is ours."""


@domain.command()
@click.argument("name", type=DOMAIN)
@click.option("--organisation", default="", help="Who owns it; made if it is not there.")
@for_operators
def add(name: Domain, organisation: str, as_json: bool) -> None:
    """Take the mail of a domain, and print the DNS records to publish for it.

    Without --organisation it belongs to the first organisation, which the first domain names.
    """
    with teaching(ALREADYEXISTS="mailstead domain list"):
        write(lambda tx: directory.add_domain(tx, name, organisation))
    found = records(name, load_config().hostname, own_addresses())
    text = (
        f"{name} is hosted here now. Publish in the DNS:\n\n{format_records(found)}\n\n"
        f"Next: mailstead account add SOMEBODY@{name}"
    )
    show(AddedDomain(name, found), text, as_json)


@domain.command("list")
@for_operators
def list_(as_json: bool) -> None:
    """List the domains."""
    found = read(_list)
    rows = [(d.name, d.organisation, d.accounts, d.aliases, d.catch_all or "-") for d in found]
    titles = ("DOMAIN", "ORGANISATION", "ACCOUNTS", "ALIASES", "CATCH-ALL")
    text = table(titles, rows) if rows else "No domains yet. Next: mailstead domain add example.org"
    show(found, text, as_json)


@domain.command()
@click.argument("name", type=DOMAIN)
@for_operators
def delete(name: Domain, as_json: bool) -> None:
    """Host a domain no longer; its accounts and aliases have to go first."""
    commands = f"mailstead account list --domain {name}; mailstead alias list --domain {name}"
    with teaching(INUSE=commands):
        write(lambda tx: accounts.delete_domain(tx, name))
    text = f"{name} is not hosted here any more. Take its MX record out of the DNS."
    show({"deleted": name}, text, as_json)


@domain.command("catch-all")
@click.argument("name", type=DOMAIN)
@click.argument("account", type=ADDRESS, required=False)
@click.option("--none", is_flag=True, help="No catch-all: refuse mail for unknown addresses.")
@for_operators
def catch_all(name: Domain, account: Address | None, none: bool, as_json: bool) -> None:
    """Give mail for unknown addresses of a domain to ACCOUNT, or to nobody (--none)."""
    if (account is None) != none:
        raise click.UsageError("give an account, or --none")
    with teaching(NONEXISTENT="mailstead account list"):
        write(lambda tx: accounts.set_catch_all(tx, name, account))
    who = f"goes to {account}" if account else "is refused"
    text = f"Mail for unknown addresses of {name} {who} now."
    show({"name": name, "catch_all": str(account) if account else None}, text, as_json)


def _list(tx: Tx) -> list[ShownDomain]:
    organisations = dict(tx.rows("SELECT id, name FROM organisation"))
    of_accounts = "SELECT domain, count(*) FROM address WHERE account IS {} NULL GROUP BY domain"
    people = dict(tx.rows(of_accounts.format("NOT")))
    aliases = dict(tx.rows(of_accounts.format("")))
    return [
        ShownDomain(
            name=one.name,
            organisation=organisations.get(one.organisation, ""),
            catch_all=one.catch_all,
            accounts=people.get(one.id, 0),
            aliases=aliases.get(one.id, 0),
        )
        for one in accounts.list_domains(tx)
    ]
