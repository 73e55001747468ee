"""`mailstead domain`: the domains whose mail is ours."""

from datetime import datetime

import click
import msgspec

from mailstead.cli.house import load_config, operate, read, teaching, write
from mailstead.cli.parameters import ADDRESS, DOMAIN
from mailstead.cli.printing import for_operators, show, table
from mailstead.cli.records import (
    Record,
    dkim_record,
    format_records,
    own_addresses,
    policy_records,
    records,
)
from mailstead.model.address import Address, Domain
from mailstead.model.errors import Refusal
from mailstead.msgauth.dkim.key import SigningKey
from mailstead.msgauth.mtasts import Mode, policy_host
from mailstead.server.wiring import House
from mailstead.services import directory, signing
from mailstead.services.signing import ALGORITHMS
from mailstead.storage import accounts, sts_policies
from mailstead.storage import dkim as dkim_keys
from mailstead.storage.dkim import StoredKey
from mailstead.storage.store import Tx
from mailstead.storage.sts_policies import Published


class ShownDomain(msgspec.Struct, frozen=True):
    """A domain as it is listed."""

    name: str
    organisation: str
    catch_all: str | None
    accounts: int
    aliases: int
    dkim: str | None  # the selector of the key that it signs with


class AddedDomain(msgspec.Struct, frozen=True):
    """A domain that was added, and what to publish for it."""

    name: str
    records: list[Record]


class ShownKey(msgspec.Struct, frozen=True):
    """A key to sign with, without its private half."""

    selector: str
    algorithm: str
    active: bool
    created: datetime
    retired: datetime | None = None


class ShownKeys(msgspec.Struct, frozen=True):
    """The keys of a domain, the newest first, and what to publish of them."""

    name: str
    keys: list[ShownKey]
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
        key = operate(
            lambda house: directory.host_domain(
                house.store, house.world.offload, name, organisation
            )
        )
    found = records(load_config().hostname, own_addresses(), key)
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
    rows = [
        (d.name, d.organisation, d.accounts, d.aliases, d.dkim or "-", d.catch_all or "-")
        for d in found
    ]
    titles = ("DOMAIN", "ORGANISATION", "ACCOUNTS", "ALIASES", "DKIM", "CATCH-ALL")
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


@domain.command("mta-sts")
@click.argument("name", type=DOMAIN)
@click.argument("mode", type=click.Choice(["testing", "enforce", "none", "off"]), required=False)
@click.option("--mx", multiple=True, type=DOMAIN, help="A further MX host of the domain.")
@for_operators
def mta_sts(name: Domain, mode: str | None, mx: tuple[Domain, ...], as_json: bool) -> None:
    """Publish an MTA-STS policy for a domain: others encrypt to its MX hosts, or send nothing.

    Begin with "testing"; after a week of good reports, "enforce". To get rid of a policy that is
    enforced: "none" for a month, then "off". Without a mode, show what is published.
    """
    with teaching(NONEXISTENT="mailstead domain list"):
        if mode is None:
            found = read(lambda tx: sts_policies.find(tx, name))
        else:
            wanted = None if mode == "off" else Mode(mode)
            found = write(lambda tx: sts_policies.publish(tx, name, wanted, mx))
    config = load_config()
    shown = policy_records(name, config.hostname, found.id) if found else []
    value = {"name": name, "mode": found.mode.value if found else None, "records": shown}
    show(value, _policy_text(name, found, shown, bool(config.listen.https)), as_json)


def _policy_text(name: Domain, found: Published | None, shown: list[Record], served: bool) -> str:
    if found is None:
        return (
            f"{name} publishes no MTA-STS policy. To begin: mailstead domain mta-sts {name} testing"
        )
    hosts = ", ".join(("this server", *found.mx))
    text = f"The policy of {name}: {found.mode.value}, for {hosts}. Publish in the DNS:\n\n"
    text += format_records(shown)
    if not served:
        text += (
            "\n\nNobody can fetch it yet: set listen.https in the configuration, and have a"
            f" certificate for {policy_host(name)} (tls.acme gets it)."
        )
    return text


@domain.command()
@click.argument("name", type=DOMAIN)
@click.option("--new", is_flag=True, help="Make another key, which does not sign yet.")
@click.option(
    "--algorithm", type=click.Choice(ALGORITHMS), default="rsa", help="Of the key that is made."
)
@click.option("--use", metavar="SELECTOR", help="Sign with this key from now on.")
@click.option("--force", is_flag=True, help="Use it although its record is not in the DNS.")
@for_operators
def dkim(
    name: Domain, new: bool, algorithm: str, use: str | None, force: bool, as_json: bool
) -> None:
    """Show the keys that sign a domain's mail, and the DNS records to publish for them.

    A domain without a key gets one. To replace a key: --new, publish the record that it prints,
    a day later --use its selector, and a week after that take the old record out of the DNS.
    A key of the other algorithm signs beside the first.
    """
    if new and use:
        raise click.UsageError("first --new; --use once its record is published")
    with teaching(NONEXISTENT=f"mailstead domain dkim {name}"):
        operate(lambda house: _change_keys(house, name, algorithm if new else "", use, force))
    keys = read(lambda tx: dkim_keys.list_all(tx, accounts.get_domain(tx, name).id))
    shown = ShownKeys(name, [_without_secret(key) for key in keys], _key_records(name, keys))
    show(shown, _text_of_keys(shown, bool(use)), as_json)


async def _change_keys(house: House, name: Domain, new: str, use: str | None, force: bool) -> None:
    store, offload = house.store, house.world.offload
    if use:
        if not force and (gap := await signing.find_gap(store, house.world.resolver, name, use)):
            raise Refusal(
                f"{gap}: nobody could verify what it signs. Publish the record, wait until it is"
                " seen everywhere (a day), or say --force"
            )
        await store.write(lambda tx: signing.use_key(tx, name, use))
    elif new:
        await signing.prepare_key(store, offload, name, new)
    else:
        await signing.ensure_key(store, offload, name)


def _without_secret(key: StoredKey) -> ShownKey:
    return ShownKey(key.selector, key.algorithm, key.active, key.created, key.retired)


def _key_records(name: Domain, keys: list[StoredKey]) -> list[Record]:
    """The records of the keys that sign, and of those that are to follow them."""
    return [
        dkim_record(
            SigningKey(name, key.selector, key.private_key),
            f"DKIM: {'the' if key.active else 'an'} {key.algorithm} key that"
            f" {'signs' if key.active else 'does not sign yet'}",
        )
        for key in keys
        if key.retired is None
    ]


def _text_of_keys(shown: ShownKeys, used: bool) -> str:
    signs = " and ".join(key.selector for key in shown.keys if key.active)
    state = f"signs its mail with the key {signs}" if signs else "does not sign its mail"
    lines = [f"{shown.name} {state}. Publish in the DNS:", format_records(shown.records)]
    for key in shown.keys:
        if not key.active and key.retired is None:
            command = f"mailstead domain dkim {shown.name} --use {key.selector}"
            lines.append(f"Next, a day after the new record is published: {command}")
    if used:
        lines.append("Keep the record of the old key for a week: mail with it is on its way.")
    return "\n\n".join(lines)


def _list(tx: Tx) -> list[ShownDomain]:
    organisations = dict(tx.rows("SELECT id, name FROM organisation"))
    of_accounts = "SELECT domain, count(*) FROM address WHERE account IS {} NULL GROUP BY domain"
    people = dict(tx.rows(of_accounts.format("NOT")))
    aliases = dict(tx.rows(of_accounts.format("")))
    selectors = dkim_keys.signing_selectors(tx)
    return [
        ShownDomain(
            name=one.name,
            organisation=organisations.get(one.organisation, ""),
            catch_all=one.catch_all,
            accounts=people.get(one.id, 0),
            aliases=aliases.get(one.id, 0),
            dkim=selectors.get(one.id),
        )
        for one in accounts.list_domains(tx)
    ]
