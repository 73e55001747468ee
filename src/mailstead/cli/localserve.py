"""`mailstead localserve`: a whole mail server on this machine, for trying out and for developers.

No root, no DNS, nothing to configure. Nothing ever leaves the machine: mail for any domain that is
not example.test is caught in outside@example.test, unless a route names the domain.
"""

import asyncio
import logging
import os
import secrets
import shlex
import shutil
import sys
from pathlib import Path

import click
import msgspec

from mailstead.model.address import parse_address, parse_domain
from mailstead.model.errors import Refusal
from mailstead.server import logs
from mailstead.server.certificates import ca_file
from mailstead.server.config import Config, Listen, format_toml
from mailstead.server.lifecycle import run
from mailstead.server.wiring import open_house
from mailstead.services import passwords
from mailstead.services.passwords import Stored, verify_password
from mailstead.storage import accounts
from mailstead.storage.store import Tx

DOMAIN = "example.test"
PEOPLE = ("alice", "bob")
OUTSIDE = "outside"
LOGINS = tuple(f"{name}@{DOMAIN}" for name in (*PEOPLE, OUTSIDE))
LOOPBACK_PASSWORD = "secret"
PORTS = {
    "smtp": 2525,
    "submission": 2587,
    "submissions": 2465,
    "imap": 2143,
    "imaps": 2993,
    "pop3": 2110,
    "pop3s": 2995,
    "operator": 2080,
}
_TITLES = {
    "smtp": "SMTP",
    "submission": "submission (STARTTLS)",
    "submissions": "submission (TLS)",
    "imap": "IMAP (STARTTLS)",
    "imaps": "IMAP (TLS)",
    "pop3": "POP3 (STLS)",
    "pop3s": "POP3 (TLS)",
    "operator": "metrics, health (HTTP)",
}


@click.command()
@click.option("--data", type=click.Path(path_type=Path), help="Where everything is kept.")
@click.option("--fresh", is_flag=True, help="Start empty: delete what an earlier run has kept.")
@click.option("--port-offset", default=0, help="Add this to every port.")
@click.option("--listen", default="127.0.0.1", help="Another address, for containers.")
@click.option("--route", multiple=True, metavar="DOMAIN=HOST:PORT", help="Let this domain leave.")
@click.option("--workers", default=1, help="How many processes serve.")
@click.option("--json", "as_json", is_flag=True, help="Print ports and passwords as JSON.")
@click.option("--quiet", is_flag=True, help="No log lines, only what is printed at the start.")
def localserve(
    data: Path | None,
    fresh: bool,
    port_offset: int,
    listen: str,
    route: tuple[str, ...],
    workers: int,
    as_json: bool,
    quiet: bool,
) -> None:
    """Run a whole mail server on loopback ports: no root, no DNS, nothing to configure.

    Accounts alice@example.test and bob@example.test, password "secret". Mail for any other domain
    is caught in outside@example.test: nothing ever leaves this machine, unless --route says so.
    """
    folder = data or default_folder()
    if fresh and folder.exists():
        _empty(folder)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    config = _config(folder, listen, port_offset, dict(_route(text) for text in route), workers)
    header = "# Written by `mailstead localserve`, anew each time it starts.\n"
    (folder / "mailstead.toml").write_text(header + format_toml(config))
    passwords = asyncio.run(_populate(config, _is_loopback(listen)))
    log = logs.configure(level=logging.ERROR if quiet else logging.INFO)
    try:
        served = run(lambda: config, log.tell, lambda _: _welcome(config, passwords, as_json))
    except (OSError, Refusal) as error:
        raise click.ClickException(
            f"cannot start: {error}. Is another one running? Try --port-offset 1000"
        ) from error
    if not served:
        raise click.ClickException("cannot start: a worker failed; the log above says why")


def default_folder() -> Path:
    """The per-user folder: $XDG_DATA_HOME/mailstead or ~/.local/share/mailstead."""
    home = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local/share")
    return Path(home) / "mailstead"


def _empty(folder: Path) -> None:
    """Delete an earlier run's data, and nothing else: the folder has to look like one."""
    if any(folder.iterdir()) and not (folder / "mailstead.toml").is_file():
        raise click.ClickException(f"{folder} does not look like ours; nothing was deleted")
    shutil.rmtree(folder)


def _route(text: str) -> tuple[str, str]:
    domain, separator, target = text.partition("=")
    if not separator:
        raise click.BadParameter(f"{text!r} is not DOMAIN=HOST:PORT")
    return domain, target


def _config(
    folder: Path, address: str, offset: int, routes: dict[str, str], workers: int
) -> Config:
    host = f"[{address}]" if ":" in address else address
    listen = {name: (f"{host}:{port + offset}",) for name, port in PORTS.items()}
    return Config(
        hostname="localhost.example.test",
        database=f"sqlite://{folder.resolve() / 'mailstead.db'}",
        listen=Listen(**listen),
        workers=workers,
        routes=routes,
        allowed_targets=("127.0.0.0/8", "::1/128") if routes else (),
        loopback_clear_text=True,
        catch_outside=f"{OUTSIDE}@{DOMAIN}",
    )


async def _populate(config: Config, loopback: bool) -> dict[str, str]:
    """Make the accounts that are not there; login -> password, as far as it is known.

    On loopback every password is the same, and only there: an earlier run's is changed.
    """
    async with open_house(config, lambda trace, entries: None) as house:
        have = await house.store.read(_stored_passwords)
        words = {
            login: LOOPBACK_PASSWORD if loopback else secrets.token_urlsafe(12)
            for login, stored in have.items()
            if stored is None or verify_password(stored, LOOPBACK_PASSWORD) != loopback
        }
        key = await passwords.find_key(house.store, house.world.random)
        hashes = {
            login: passwords.store_password(word, passwords.salt_of(key, login))
            for login, word in words.items()
        }
        await house.store.write(lambda tx: _keep(tx, hashes))
        return dict.fromkeys(LOGINS, LOOPBACK_PASSWORD) if loopback else words


def _stored_passwords(tx: Tx) -> dict[str, str | None]:
    found = {login: accounts.find_account(tx, login) for login in LOGINS}
    return {login: one.password if one else None for login, one in found.items()}


def _keep(tx: Tx, hashes: dict[str, Stored]) -> None:
    if accounts.find_domain(tx, DOMAIN) is None:
        organisation = accounts.create_organisation(tx, DOMAIN)
        accounts.create_domain(tx, organisation, parse_domain(DOMAIN))
    for login, kept in hashes.items():
        if accounts.find_account(tx, login):
            accounts.set_password(tx, login, kept.password, kept.scram)
        else:
            accounts.create_account(tx, parse_address(login), kept.password, scram=kept.scram)


def _welcome(config: Config, passwords: dict[str, str], as_json: bool) -> None:
    if as_json:
        ports = {name: getattr(config.listen, name)[0] for name in _TITLES}
        told = {"ports": ports, "passwords": passwords, "data": str(config.folder)}
        click.echo(msgspec.json.encode(told))
        return
    click.echo("Mailstead is running; Ctrl-C ends it.\n")
    for name, title in _TITLES.items():
        click.echo(f"  {title:24} {getattr(config.listen, name)[0]}")
    click.echo(f"  {'data':24} {config.folder}")
    click.echo(f"  {'CA to trust':24} {ca_file(config.folder / 'tls')}\n")
    for login in LOGINS:
        click.echo(f"  {login:24} {passwords.get(login, '(as printed at the first start)')}")
    click.echo(f"\nMail for any other domain is caught in {OUTSIDE}@{DOMAIN}.\n\nTry:")
    for command in _commands(config, passwords.get(f"alice@{DOMAIN}", "PASSWORD")):
        click.echo(f"  {command}")


def _commands(config: Config, password: str) -> list[str]:
    smtp, imaps = config.listen.smtp[0], config.listen.imaps[0]
    ca = ca_file(config.folder / "tls")
    toml = config.folder / "mailstead.toml"
    return [
        f"printf 'Subject: Hello\\n\\nHi!\\n' | curl smtp://{smtp} --mail-from me@example.com"
        f" --mail-rcpt alice@{DOMAIN} -T-",
        f"curl --cacert {shlex.quote(str(ca))} 'imaps://{imaps}/INBOX;MAILINDEX=*'"
        f" -u alice@{DOMAIN}:{password}",
        shlex.join([sys.argv[0], "--config", str(toml), "message", "list"]),
    ]


def _is_loopback(address: str) -> bool:
    return address in ("localhost", "::1") or address.startswith("127.")
