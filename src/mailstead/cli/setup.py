"""`mailstead setup`: from nothing to a server that can start.

Writes the configuration, makes the database with the first domain and account, looks whether mail
can leave this machine, prints what to publish in the DNS. What is there already is kept: a
configuration is never overwritten. Whatever the network does, it never fails or hangs for it.
"""

import os
from pathlib import Path

import click
import msgspec

from mailstead.cli import smarthost as smarthosts
from mailstead.cli.house import run_in_house
from mailstead.cli.outgoing import Report, probe_outgoing, sentences, text_of
from mailstead.cli.parameters import ADDRESS, DOMAIN
from mailstead.cli.passwords import Password, PasswordSource, get_password, password_options
from mailstead.cli.printing import note, show
from mailstead.cli.records import Record, format_records, own_addresses, records
from mailstead.cli.smarthost import Chosen, smarthost_options
from mailstead.cli.template import config_text
from mailstead.model.address import Address, Domain
from mailstead.model.errors import Refusal
from mailstead.msgauth.dkim.key import SigningKey
from mailstead.server.config import Config
from mailstead.server.privileges import find_service_user
from mailstead.server.wiring import House
from mailstead.services import directory, signing
from mailstead.services.directory import NewAccount
from mailstead.storage import accounts

SYSTEM_CONFIG = Path("/etc/mailstead/mailstead.toml")
SYSTEM_DATABASE = Path("/var/lib/mailstead/mailstead.db")


class SetUp(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was set up."""

    config: str
    database: str
    hostname: str
    domain: str
    account: str
    records: list[Record]
    outgoing: Report | None = None  # none with --no-probe
    smarthost: str = ""
    password: str = ""  # only if it was made up here


@click.command()
@click.argument("address", type=ADDRESS)
@click.option(
    "--hostname", type=DOMAIN, help="The server's name in the DNS; mail.DOMAIN if not given."
)
@click.option("--config", "path", type=click.Path(path_type=Path), help="The file to write.")
@click.option(
    "--database",
    metavar="FILE|URL",
    help="A file for SQLite, beside which is the rest, or postgresql://USER@HOST/NAME.",
)
@password_options
@smarthost_options
@click.option("--no-probe", is_flag=True, help="Do not look whether mail can leave this machine.")
@click.option("--json", "as_json", is_flag=True, help="For programs: JSON.")
@click.pass_context
def setup(
    context: click.Context,
    address: Address,
    hostname: Domain | None,
    path: Path | None,
    database: str | None,
    password_file: Path | None,
    password_stdin: bool,
    generate: bool,
    smarthost: str | None,
    smarthost_user: str,
    smarthost_password_file: Path | None,
    no_probe: bool,
    as_json: bool,
) -> None:
    """Write a configuration, make the first account, print the DNS records.

    ADDRESS becomes the first account, its domain the first domain. Mail for postmaster and abuse
    of the domain goes to it. A few big mail servers are greeted, to see whether outgoing port 25
    is open here; where it is not, mail can go through a smarthost.
    """
    path = path or _named_before(context) or SYSTEM_CONFIG
    _refuse_if_there(path)
    config = Config(
        hostname=hostname or f"mail.{address.domain}",
        database=_database_url(database),
    )
    source = PasswordSource(password_file, password_stdin, generate)
    word = get_password(source, f"Password for {address}")
    directory.check_password(word.word)
    relay = smarthosts.Options(smarthost, smarthost_user, smarthost_password_file)
    chosen = smarthosts.choose(relay, config.folder)
    fresh = _make_folder(config)
    made, key = run_in_house(config, lambda house: _populate(house, address, word))
    config, report = _settle_outgoing(config, chosen, not no_probe, may_ask=not as_json)
    _give_to_service_user(config, fresh)
    _write(path, config_text(config))
    done = SetUp(
        config=str(path),
        database=config.database_name,
        hostname=config.hostname,
        domain=address.domain,
        account=str(address).casefold(),
        records=records(config.hostname, own_addresses(), key),
        outgoing=report,
        smarthost=config.smarthost.host if config.smarthost else "",
        password=word.word if made and word.generated else "",
    )
    show(done, _text(done, config, made), as_json)


def _named_before(context: click.Context) -> Path | None:
    """The file of `mailstead --config FILE setup`, or of the environment."""
    root = context.find_root()
    named = root.params.get("config") or os.environ.get("MAILSTEAD_CONFIG")
    return Path(named) if named else None


def _database_url(named: str | None) -> str:
    if named and named.startswith("postgresql://"):
        return named
    return f"sqlite://{Path(named or SYSTEM_DATABASE).absolute()}"


def _refuse_if_there(path: Path) -> None:
    if path.exists():
        raise Refusal(
            f"{path} is there already and was not touched. To add to that server:"
            f" mailstead --config {path} domain add ...; to start over, move the file away first"
        )


def _make_folder(config: Config) -> bool:
    """The folder of the database; whether it is new."""
    try:
        config.folder.parent.mkdir(parents=True, exist_ok=True)
        config.folder.mkdir(mode=0o700)
    except FileExistsError:
        return False
    except OSError as error:
        raise Refusal(
            f"cannot make the folder {config.folder}: {error.strerror}."
            " Run it as root, or give --database and --config where you may write"
        ) from error
    return True


async def _populate(house: House, address: Address, word: Password) -> tuple[bool, SigningKey]:
    """The first domain and account, and the domain's key.

    False if the account was there already and is unchanged.
    """
    store, offload = house.store, house.world.offload
    if await store.read(lambda tx: accounts.find_domain(tx, address.domain)):
        key = await signing.ensure_key(store, offload, address.domain)
    else:
        key = await directory.host_domain(store, offload, address.domain)
    missing = await store.read(lambda tx: accounts.find_account(tx, str(address)) is None)
    if missing:
        await directory.add_account(store, house.world, NewAccount(address, word.word))
    return missing, key


def _settle_outgoing(
    config: Config, chosen: Chosen | None, probing: bool, may_ask: bool
) -> tuple[Config, Report | None]:
    """The configuration with its smarthost, if it gets one, and what was found about both."""
    if chosen:
        config = _with_smarthost(config, chosen)
    if not probing:
        return config, None
    note("Looking whether mail can leave this machine (--no-probe: not) ...")
    report = probe_outgoing(config)
    if not (may_ask and report.found.needs_smarthost and smarthosts.is_interactive()):
        return config, report
    note("\n".join(sentences(report)))
    if chosen := smarthosts.ask(config.folder):
        config = _with_smarthost(config, chosen)
        report = probe_outgoing(config)
    return config, report


def _with_smarthost(config: Config, chosen: Chosen) -> Config:
    smarthosts.write_password(chosen)
    return msgspec.structs.replace(config, smarthost=chosen.settings)


def _give_to_service_user(config: Config, fresh: bool) -> None:
    """What was made as root, to the user that the server runs as, if there is one.

    A folder that was there before may hold others' files, and stays as it is.
    """
    user = find_service_user(config)
    if os.geteuid() != 0 or user is None:
        return
    path = config.sqlite_path
    made = [*(path.parent.glob(f"{path.name}*") if path else ()), config.folder / "bus"]
    if config.smarthost and config.smarthost.password_file:
        made.append(Path(config.smarthost.password_file))
    for path in [config.folder, *made] if fresh else made:
        os.chown(path, user.pw_uid, user.pw_gid, follow_symlinks=False)


def _write(path: Path, text: str) -> None:
    """The file, new; nobody else's is replaced, whatever happened meanwhile."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise Refusal(
            f"cannot write {path}: {error.strerror}. Run it as root, or give --config FILE"
        ) from error


def _text(done: SetUp, config: Config, made: bool) -> str:
    option = "" if done.config == str(SYSTEM_CONFIG) else f"--config {done.config} "
    lines = [f"Configuration  {done.config}", f"Database       {done.database}"]
    if made:
        lines.append(f"Account        {done.account}")
    else:
        lines.append(
            f"Account        {done.account} (was there already; its password is unchanged)"
        )
    if done.password:
        lines.append(f"Password       {done.password} (shown only now)")
    if os.geteuid() == 0 and find_service_user(config) is None:
        lines.append(f"User           there is no user {config.user} yet: {_USERADD} {config.user}")
        lines.append(f"               and then: chown -R {config.user}: {config.folder}")
    if done.smarthost:
        lines.append(f"Smarthost      {done.smarthost} takes all outgoing mail")
    if done.outgoing:
        lines.append(f"\nOutgoing mail:\n\n{text_of(done.outgoing)}")
    published = format_records(done.records)
    if done.smarthost:
        published += f"\n\n{_SPF_HINT}"
    return "\n".join(
        [
            *lines,
            f"\nPublish in the DNS:\n\n{published}\n\nNext:",
            f"  mailstead {option}check config",
            f"  mailstead {option}check outgoing",
            f"  mailstead {option}serve",
            f"  mailstead {option}account add SOMEBODY@{done.domain}",
        ]
    )


_USERADD = "useradd --system --shell /usr/sbin/nologin"
_SPF_HINT = (
    "The SPF record has to name the smarthost's servers too: its documentation says which"
    ' "include:" to write before "~all".'
)
