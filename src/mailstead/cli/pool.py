"""`mailstead pool`: sources that share the mail, and whose mail it is."""

import click
import msgspec

from mailstead.cli.house import read, teaching, write
from mailstead.cli.printing import for_operators, show, table
from mailstead.cli.source import NAME
from mailstead.cli.suppression import find_organisation
from mailstead.model.errors import Refusal
from mailstead.model.numbers import OrganisationId
from mailstead.storage import sources as rows
from mailstead.storage.sources import EVERYBODY, PoolUse
from mailstead.storage.store import Tx


class User(msgspec.Struct, frozen=True):
    """Who sends from a pool; what is empty means all."""

    organisation: str
    domain: str
    stream: str


class Shown(msgspec.Struct, frozen=True):
    """A pool."""

    name: str
    sources: tuple[str, ...]
    users: tuple[User, ...]


_of_organisation = click.option("--organisation", default="", help="Only the mail of this one.")
_of_domain = click.option("--domain", default="", help="Only of senders in this domain.")
_of_stream = click.option("--stream", default="", help="Only of this stream.")


@click.group()
def pool() -> None:
    """Sources that share the mail, and who sends from them."""


@pool.command("list")
@for_operators
def list_(as_json: bool) -> None:
    """List the pools."""
    found = read(_all)
    cells = [
        (one.name, " ".join(one.sources), "; ".join(map(_whose, one.users)) or "nobody")
        for one in found
    ]
    nothing = "No pools: mail leaves as the kernel chooses. Next: mailstead pool add POOL SOURCE"
    show(found, table(("POOL", "SOURCES", "USED BY"), cells) if cells else nothing, as_json)


@pool.command()
@click.argument("name")
@click.argument("sources", nargs=-1, required=True)
@for_operators
def add(name: str, sources: tuple[str, ...], as_json: bool) -> None:
    """Put SOURCES into a pool; it is made if it is not there."""
    if not NAME.fullmatch(name):
        raise Refusal("a name has up to 64 letters, digits, dots, hyphens: lower case")

    def work(tx: Tx) -> None:
        for source in sources:
            rows.put_in(tx, name, source)

    with teaching(NONEXISTENT="mailstead source list"):
        write(work)
    text = f"{', '.join(sources)} in the pool {name}. Next: mailstead pool use {name}"
    show({"pool": name, "added": sources}, text, as_json)


@pool.command()
@click.argument("name")
@click.argument("sources", nargs=-1)
@for_operators
def remove(name: str, sources: tuple[str, ...], as_json: bool) -> None:
    """Take SOURCES out of a pool; all of them if none is named: then the pool is gone."""

    def work(tx: Tx) -> None:
        known = rows.load(tx).pools
        if name not in known:
            raise Refusal(f"there is no pool {name}", "NONEXISTENT")
        for source in sources or known[name]:
            rows.take_out(tx, name, source)

    with teaching(NONEXISTENT="mailstead pool list", INUSE="mailstead pool unuse"):
        write(work)
    what = ", ".join(sources) or "everything"
    show({"pool": name, "removed": sources}, f"{what} taken out of {name}.", as_json)


@pool.command()
@click.argument("name")
@_of_organisation
@_of_domain
@_of_stream
@for_operators
def use(name: str, organisation: str, domain: str, stream: str, as_json: bool) -> None:
    """Send all mail from a pool, or only some; what is said more exactly counts.

    The mail that waits in the queue already leaves as it would have.
    """

    def work(tx: Tx) -> None:
        owner = _owner(tx, organisation)
        rows.use(tx, PoolUse(owner, domain.lower(), stream, name))

    with teaching(NONEXISTENT="mailstead pool list"):
        write(work)
    whose = _whose(User(organisation, domain, stream))
    text = f"{whose} leaves from {name} within a minute."
    show({"pool": name, "used_by": whose}, text, as_json)


@pool.command()
@_of_organisation
@_of_domain
@_of_stream
@for_operators
def unuse(organisation: str, domain: str, stream: str, as_json: bool) -> None:
    """Take back a `use` of exactly these: their mail leaves as that of others."""
    done = write(lambda tx: rows.use_no_more(tx, _owner(tx, organisation), domain.lower(), stream))
    whose = _whose(User(organisation, domain, stream))
    if not done:
        raise Refusal(f"{whose} has no pool of its own: mailstead pool list", "NONEXISTENT")
    show({"unused_by": whose}, f"{whose} leaves as that of others within a minute.", as_json)


def _owner(tx: Tx, organisation: str) -> OrganisationId:
    return find_organisation(tx, organisation) if organisation else EVERYBODY


def _all(tx: Tx) -> list[Shown]:
    known, names = rows.load(tx), rows.owners(tx)
    return [
        Shown(
            name,
            sources,
            tuple(
                User(names.get(one.organisation, ""), one.domain, one.stream)
                for one in known.uses
                if one.pool == name
            ),
        )
        for name, sources in known.pools.items()
    ]


def _whose(user: User) -> str:
    """In words."""
    parts = [
        f"of {user.organisation}" if user.organisation else "",
        f"from @{user.domain}" if user.domain else "",
        f"in the stream {user.stream}" if user.stream else "",
    ]
    return " ".join(["mail", *filter(None, parts)]) if any(parts) else "all mail"
