"""`mailstead check`: look for problems, change nothing."""

import os
import re
import ssl
from pathlib import Path

import click
import msgspec

from mailstead.cli.authentication import dmarc, spf
from mailstead.cli.dnsbl import dnsbl
from mailstead.cli.health import health
from mailstead.cli.judged import judge_message
from mailstead.cli.outgoing import outgoing
from mailstead.cli.printing import for_operators, show
from mailstead.cli.provider import provider
from mailstead.cli.returned import bounce, reply
from mailstead.cli.signed import arc, dkim
from mailstead.cli.spam import test_
from mailstead.model.address import parse_address
from mailstead.net.tls import verifying_context
from mailstead.server.certificates import context_from_files
from mailstead.server.config import Config, ConfigError, Smarthost, load
from mailstead.server.privileges import become_service_user, find_service_user

_PLACE = re.compile(r"(?P<file>[^\n:]+):(?:(?P<line>\d+):)? (?P<problem>.*)", re.S)
# What a ConfigError calls a setting: "listen.smtp: ..." or "... - at `$.listen.smtp[0]`".
_SETTING = re.compile(r"^([a-z_.]+): |`\$\.([a-z_.]+)")
_TOML_PLACE = re.compile(r"\(at line (\d+)")


class Problem(msgspec.Struct, frozen=True):
    """Something that will not work, where it stands, and what to do. Line 0: in no line."""

    file: str
    line: int
    problem: str
    next: str = ""


class Checked(msgspec.Struct, frozen=True):
    """What was looked at, and what was found."""

    config: str
    problems: list[Problem]


@click.group()
def check() -> None:
    """Look for problems, change nothing."""


check.add_command(outgoing)
check.add_command(health)
check.add_command(reply)
check.add_command(bounce)
check.add_command(provider)
check.add_command(judge_message)
check.add_command(spf)
check.add_command(dmarc)
check.add_command(dkim)
check.add_command(arc)
check.add_command(dnsbl)
check.add_command(test_, "spam")


@check.command("config")
@for_operators
@click.pass_context
def config_(context: click.Context, as_json: bool) -> None:
    """Check the configuration and the files that it names; exit code 1 if there are problems."""
    path: Path = context.obj
    problems = find_problems(path)
    lines = [_sentence(problem) for problem in problems]
    text = "\n".join(lines) or f"{path} is good. After a change, restart the server."
    show(Checked(str(path), problems), text, as_json)
    if problems:
        raise click.exceptions.Exit(1)


def find_problems(path: Path) -> list[Problem]:
    """All that is wrong with the file, or with what it names."""
    try:
        config = load(path)
    except ConfigError as error:
        return [_parse(path, str(error))]
    become_service_user(config)
    lines = _lines(path)
    found = [*_certificate(config), *_files(config), *_folder(config), *_catch_outside(config)]
    return [
        Problem(str(path), _line(lines, setting), f"{setting}: {problem}", command)
        for setting, problem, command in found
    ]


def _parse(path: Path, text: str) -> Problem:
    """The words of a ConfigError, with the line where they name one."""
    found = _PLACE.match(text)
    problem = found["problem"] if found else text
    in_toml = _TOML_PLACE.search(problem)
    number = (found and found["line"]) or (in_toml and in_toml[1])
    if number:
        return Problem(str(path), int(number), problem)
    setting = _SETTING.search(problem)
    return Problem(
        str(path), _line(_lines(path), setting[1] or setting[2]) if setting else 0, problem
    )


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text("utf-8", "replace").splitlines()
    except OSError:
        return []


Finding = tuple[str, str, str]  # setting, problem, what to do


def _certificate(config: Config) -> list[Finding]:
    setting = "tls.certificates"
    for certificate, key in config.tls.certificates:
        for path in (certificate, key):
            if problem := _unreadable(path):
                return [(setting, problem, f"let {config.user} read it: ls -l {path}")]
        try:
            context_from_files(certificate, key)
        except (OSError, ssl.SSLError) as error:
            problem = f"the certificate {certificate} and the key {key} cannot be used: {error}"
            return [(setting, problem, "both have to be PEM, and belong together")]
    return []


def _files(config: Config) -> list[Finding]:
    smarthost = config.smarthost or Smarthost("")
    named = {
        "smarthost.password_file": smarthost.password_file,
        "tls.ca_file": config.tls.ca_file,
    }
    found = [
        (setting, problem, f"let {config.user} read it: ls -l {path}")
        for setting, path in named.items()
        if path and (problem := _unreadable(path))
    ]
    if config.tls.ca_file and not found:
        try:
            verifying_context(config.tls.ca_file)
        except ssl.SSLError:
            problem = f"{config.tls.ca_file} is no PEM file of certificates"
            found.append(("tls.ca_file", problem, "openssl x509 -in FILE converts other forms"))
    if smarthost.login and not smarthost.password_file:
        problem = "a login without a password_file"
        found.append(("smarthost.login", problem, "name the file that holds the password"))
    return found


def _unreadable(path: str) -> str:
    """Why the file cannot be read, or nothing."""
    try:
        with Path(path).open("rb"):
            return ""
    except OSError as error:
        return f"{path}: {error.strerror}"


def _folder(config: Config) -> list[Finding]:
    """Database, spool and our own certificates: the folder has to be writable."""
    folder = config.folder
    if not folder.is_dir():
        return [("database", f"the folder {folder} does not exist", f"mkdir -p {folder}")]
    if not os.access(folder, os.W_OK | os.X_OK):
        command = f"chown {config.user}: {folder}"
        return [("database", f"nothing can be written in {folder}", command)]
    path = config.sqlite_path
    if path and path.exists() and not os.access(path, os.R_OK | os.W_OK):
        return [("database", f"{path} cannot be written", f"chown {config.user}: {path}")]
    return _user(config)


def _user(config: Config) -> list[Finding]:
    if os.geteuid() == 0 and config.folder.stat().st_uid != 0 and not find_service_user(config):
        command = f"useradd --system --shell /usr/sbin/nologin {config.user}"
        return [("user", f"there is no user {config.user}", command)]
    return []


def _catch_outside(config: Config) -> list[Finding]:
    try:
        if config.catch_outside:
            parse_address(config.catch_outside)
    except ValueError as error:
        return [("catch_outside", str(error), "name an account, as outside@example.org")]
    return []


def _line(lines: list[str], setting: str) -> int:
    """Where the setting stands; 0 if it does not, and the default is meant."""
    wanted_table, _, key = setting.rpartition(".")
    table = ""
    for number, line in enumerate(lines, 1):
        if header := re.match(r"\s*\[([\w.\"-]+)\]", line):
            table = header[1]
        elif table == wanted_table and re.match(rf"\s*{re.escape(key)}\s*=", line):
            return number
    return 0


def _sentence(problem: Problem) -> str:
    place = f"{problem.file}:{problem.line}" if problem.line else problem.file
    command = f" Next: {problem.next}" if problem.next else ""
    return f"{place}: {problem.problem}.{command}"
