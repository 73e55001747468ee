"""The configuration file: what the machine needs to start (docs/configuration.md has each setting).

TOML into frozen values. An unknown key is an error that names file, line and the nearest key.
What people change while the server runs (domains, accounts, aliases) lies in the database.
"""

import difflib
import ipaddress
import re
import tomllib
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from mailstead.model.address import parse_domain
from mailstead.model.world import Endpoint

DATA = Path("/var/lib/mailstead")
_SQLITE = "sqlite://"
_UNITS = {"": 1, "B": 1, "KB": 1000, "MB": 1000**2, "GB": 1000**3}
_UNITS |= {"KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}


class ConfigError(Exception):
    """The file cannot be used; the text says where and what to do."""


class Size(int):
    """Octets, written as "50 MiB" or as a plain number."""


SUBMISSION_PORT, SUBMISSIONS_PORT = 587, 465


class Listen(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Addresses with ports, as "0.0.0.0:25" or "[::]:25"; an empty list switches a protocol off."""

    smtp: tuple[str, ...] = ("0.0.0.0:25", "[::]:25")
    submission: tuple[str, ...] = ("0.0.0.0:587", "[::]:587")
    submissions: tuple[str, ...] = ("0.0.0.0:465", "[::]:465")
    imap: tuple[str, ...] = ("0.0.0.0:143", "[::]:143")
    imaps: tuple[str, ...] = ("0.0.0.0:993", "[::]:993")
    pop3: tuple[str, ...] = ("0.0.0.0:110", "[::]:110")
    pop3s: tuple[str, ...] = ("0.0.0.0:995", "[::]:995")
    lmtp: tuple[str, ...] = ()
    http: tuple[str, ...] = ("0.0.0.0:80", "[::]:80")
    https: tuple[str, ...] = ()
    operator: tuple[str, ...] = ("127.0.0.1:9325",)


NOWHERE = Listen(**dict.fromkeys(Listen.__struct_fields__, ()))


class Acme(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Certificates by ACME (RFC 8555): for the hostname and more names, by HTTP-01."""

    email: str = ""
    names: tuple[str, ...] = ()
    directory: str = "https://acme-v02.api.letsencrypt.org/directory"
    webroot: str = ""


class Tls(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[certificate, key] pairs of PEM files, chosen by the name that a client asks for.

    The first is for who asks for none; without any there is one of our own making. `ca_file` are
    CAs to believe beside the system's.
    """

    certificates: tuple[tuple[str, str], ...] = ()
    ca_file: str = ""
    acme: Acme | None = None


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How much at a time."""

    message_size: Size = Size(50 * 1024**2)
    connections_per_address: int = 50
    connections_per_minute: int = 120
    connections_per_account: int = 50
    loopback_exempt: bool = True


class Dns(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which resolver; empty: the one of /etc/resolv.conf. `trusted` believes its AD bit."""

    servers: tuple[str, ...] = ()
    trusted: bool = False


class Smarthost(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A server that takes our outgoing mail, always over TLS (see `parse_smarthost`)."""

    host: str
    login: str = ""
    password_file: str = ""


class S3(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the object store of `blobs` needs; `credentials` is a file: key id, then key."""

    credentials: str = ""
    cache: Size = Size(1024**3)


class Bucket(msgspec.Struct, frozen=True):
    """The object store that `blobs` names; `endpoint` is its URL, empty for Amazon's."""

    url: str
    region: str = "us-east-1"
    endpoint: str = ""


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything in the file."""

    hostname: str
    database: str = "sqlite:///var/lib/mailstead/mailstead.db"
    blobs: str = ""
    data: str = ""
    user: str = "mailstead"
    workers: int = 0
    listen: Listen = Listen()
    tls: Tls = Tls()
    limits: Limits = Limits()
    dns: Dns = Dns()
    s3: S3 = S3()
    smarthost: Smarthost | None = None
    routes: dict[str, str] = {}
    allowed_targets: tuple[str, ...] = ()
    relay_from: tuple[str, ...] = ()
    proxies: tuple[str, ...] = ()
    xclient_from: tuple[str, ...] = ()
    loopback_clear_text: bool = False
    catch_outside: str = ""

    @property
    def sqlite_path(self) -> Path | None:
        """The file of an SQLite database, if it is one."""
        if not self.database.startswith(_SQLITE):
            return None
        return Path(self.database.removeprefix(_SQLITE))

    @property
    def folder(self) -> Path:
        """Where everything else of this machine lies: where told, or beside the database file."""
        if self.data:
            return Path(self.data)
        return self.sqlite_path.parent if self.sqlite_path else DATA

    @property
    def database_name(self) -> str:
        """The database as people are told of it: a file, or a URL without its password."""
        if self.sqlite_path:
            return str(self.sqlite_path)
        return re.sub(r"(://[^:@/]*):[^@/]*@", r"\1@", self.database)


def load(path: Path) -> Config:
    """The configuration in the file; ConfigError if it cannot be used."""
    try:
        text = path.read_text("utf-8")
        table = tomllib.loads(text)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; `mailstead setup` writes one") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from error
    _check_keys(path, text, table, Config, "")
    try:
        config = msgspec.convert(table, Config, dec_hook=_size)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{path}: {error}") from error
    _check_values(path, config)
    return config


def format_toml(config: Config) -> str:
    """The configuration as a file that `load` reads back."""
    top, tables = [], []
    for key, value in msgspec.to_builtins(config, enc_hook=int).items():
        if isinstance(value, dict):
            tables.append(f"[{key}]")
            tables += [f"{_toml(k)} = {_toml(v)}" for k, v in value.items() if v is not None]
        elif value is not None:
            top.append(f"{key} = {_toml(value)}")
    return "\n".join([*top, *tables, ""])


def _toml(value: object) -> str:
    """Text, numbers, switches and lists look the same in JSON and in TOML."""
    return msgspec.json.encode(value).decode()


def parse_endpoint(text: str, default_port: int | None = None) -> Endpoint:
    """Host and port of "host:port" or "[ipv6]:port"; ValueError if it is neither."""
    found = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([^:\[\]]+))(?::(\d{1,5}))?", text)
    port = int(found[3]) if found and found[3] else default_port
    if found is None or port is None or not 0 < port < 65536:
        raise ValueError(f"{text!r} is not host:port")
    return Endpoint(found[1] or found[2], port)


def _check_keys(path: Path, text: str, table: dict[str, Any], kind: Any, where: str) -> None:
    known = {field.name: field.type for field in msgspec.structs.fields(kind)}
    for key, value in table.items():
        if moved := _MOVED.get(f"{where}{key}"):
            line = _line_of(text, key)
            raise ConfigError(f"{path}:{line}: {where}{key} is now {moved}")
        if key not in known:
            nearest = difflib.get_close_matches(key, known, 1, 0.4)
            hint = f"did you mean {where}{nearest[0]}?" if nearest else f"known: {', '.join(known)}"
            line = _line_of(text, key)
            raise ConfigError(f"{path}:{line}: there is no setting {where}{key}; {hint}")
        inner = {**TABLES, "tls.acme": Acme}.get(f"{where}{key}")
        if isinstance(value, dict) and inner is not None:
            _check_keys(path, text, value, inner, f"{where}{key}.")


TABLES = {
    "listen": Listen,
    "tls": Tls,
    "limits": Limits,
    "dns": Dns,
    "s3": S3,
    "smarthost": Smarthost,
}
# Settings of earlier versions, and where they went.
_MOVED = {
    "smarthost.ca_file": "tls.ca_file",
    "tls.acme.ca_file": "tls.ca_file",
    "s3.region": 'part of blobs: "s3://bucket/prefix?region=eu-central-1"',
    "s3.endpoint": 'part of blobs: "s3://bucket/prefix?endpoint=https://s3.example.org"',
}


def _line_of(text: str, key: str) -> int:
    pattern = re.compile(rf"^\s*\[?\s*[\"']?{re.escape(key)}\b")
    for number, line in enumerate(text.splitlines(), 1):
        if pattern.match(line) or re.search(rf"[{{,.]\s*{re.escape(key)}\s*=", line):
            return number
    return 1


def _size(kind: type, value: object) -> object:
    if kind is not Size:
        raise NotImplementedError
    found = re.fullmatch(r"(\d+)\s*([A-Za-z]*)", str(value).strip())
    if found is None or found[2] not in _UNITS:
        raise ValueError(f'{value!r} is no size; write it as "50 MiB"')
    return Size(int(found[1]) * _UNITS[found[2]])


def _check_values(path: Path, config: Config) -> None:
    """Every value that is text with a form of its own; the error names the setting."""
    checks: list[tuple[str, Any, str]] = [("hostname", parse_domain, config.hostname)]
    checks += [("routes", parse_endpoint, target) for target in config.routes.values()]
    checks += [("routes", _route_domain, domain) for domain in config.routes]
    for name in ("allowed_targets", "relay_from", "proxies", "xclient_from"):
        checks += [(name, ipaddress.ip_network, text) for text in getattr(config, name)]
    if config.tls.acme:
        checks += [("tls.acme.names", parse_domain, name) for name in config.tls.acme.names]
    checks += [("dns.servers", _dns_server, text) for text in config.dns.servers]
    for name in Listen.__struct_fields__:
        checks += [(f"listen.{name}", parse_endpoint, at) for at in getattr(config.listen, name)]
    checks += [("listen.lmtp", _not_smtp, at) for at in config.listen.lmtp]
    if config.blobs and not config.blobs.startswith("/"):
        checks.append(("blobs", parse_bucket, config.blobs))
    if config.smarthost:
        checks.append(("smarthost.host", parse_smarthost, config.smarthost.host))
    for setting, check, text in checks:
        try:
            check(text)
        except ValueError as error:
            raise ConfigError(f"{path}: {setting}: {error}") from error
    if not 0 <= config.workers <= 256:
        raise ConfigError(f"{path}: workers: it is a number from 0 (as many as are good) to 256")
    limits = config.limits
    connections = (limits.connections_per_address, limits.connections_per_minute)
    if min(*connections, limits.connections_per_account) < 1:
        raise ConfigError(f"{path}: limits: with less than one connection nobody gets in")
    if not config.database.startswith((f"{_SQLITE}/", "postgresql://")):
        raise ConfigError(
            f"{path}: database: {config.database!r} is neither sqlite:///path nor"
            " postgresql://user@host/database"
        )
    if config.data and not config.data.startswith("/"):
        raise ConfigError(f"{path}: data: {config.data!r} is not the full path of a folder")


def _route_domain(text: str) -> None:
    """A domain, "*.parent", or "*" for all."""
    if text != "*":
        parse_domain(text.removeprefix("*."))


def _not_smtp(text: str) -> None:
    if parse_endpoint(text).port == 25:
        raise ValueError("LMTP must not be on port 25 (RFC 2033 section 5)")


def parse_smarthost(text: str) -> tuple[Endpoint, bool]:
    """Where a smarthost is, and whether TLS is there from the first octet (else by STARTTLS).

    "submissions://host" and port 465 are, "submission://host" and all others are not (RFC 8314
    section 3); ValueError if it is no host.
    """
    scheme, _, rest = text.rpartition("://")
    if scheme not in ("", "submission", "submissions"):
        raise ValueError(f"{scheme}:// is neither submission:// nor submissions://")
    usual = SUBMISSIONS_PORT if scheme == "submissions" else SUBMISSION_PORT
    endpoint = parse_endpoint(rest, usual)
    return endpoint, scheme == "submissions" or (not scheme and endpoint.port == SUBMISSIONS_PORT)


def parse_bucket(text: str) -> Bucket:
    """The store of "s3://bucket/prefix?region=...&endpoint=..."; ValueError if it is none."""
    url, _, query = text.partition("?")
    if not re.fullmatch(r"s3://[^/]+(/.*)?", url):
        raise ValueError(f"{text!r} is neither s3://bucket/prefix nor the full path of a folder")
    options = dict(parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query)))
    if unknown := options.keys() - {"region", "endpoint"}:
        raise ValueError(f"{min(unknown)!r} is no option of it; there are region and endpoint")
    if not options.get("endpoint", "http://").startswith(("http://", "https://")):
        raise ValueError(f"the endpoint {options['endpoint']!r} is no http or https URL")
    return Bucket(url, **options)


def _dns_server(text: str) -> Endpoint:
    endpoint = parse_endpoint(text, 53)
    ipaddress.ip_address(endpoint.address)
    return endpoint
