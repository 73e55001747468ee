"""The house for one command: the configuration loaded, the store opened, closed again after it.

Holds: as root, a command becomes the service user before it touches the store, so that no file of
the server's comes to belong to root.
"""

import asyncio
import os
import pwd
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import click

from mailstead.model.entries import AnyEntry
from mailstead.model.errors import Refusal
from mailstead.model.numbers import TraceId
from mailstead.server.config import Config, ConfigError, load
from mailstead.server.wiring import House, open_house
from mailstead.storage.store import Tx

T = TypeVar("T")


def operate(work: Callable[[House], Awaitable[T]]) -> T:
    """What work gives, done in the house of the configuration that this command is about."""
    config = load_config()
    become_service_user(config)
    return run_in_house(config, work)


def read(work: Callable[[Tx], T]) -> T:
    """What work(tx) gives, on one state of the store."""
    return operate(lambda house: house.store.read(work))


def write(work: Callable[[Tx], T]) -> T:
    """What work(tx) gives, committed."""
    return operate(lambda house: house.store.write(work))


def load_config() -> Config:
    """The configuration that this command is about; one that cannot be used is refused."""
    path: Path = click.get_current_context().obj
    try:
        return load(path)
    except ConfigError as error:
        raise Refusal(str(error)) from error


def run_in_house(config: Config, work: Callable[[House], Awaitable[T]]) -> T:
    """What work gives, in the house of this configuration."""
    try:
        return asyncio.run(_within(config, work))
    except PermissionError as error:
        reason = f"{error.filename or config.folder}: {error.strerror}"
        raise Refusal(
            f"{reason}. Run it as root, or: sudo -u {config.user} mailstead ..."
        ) from error
    except OSError as error:
        raise Refusal(f"cannot open {config.database_path}: {error}") from error


async def _within(config: Config, work: Callable[[House], Awaitable[T]]) -> T:
    async with open_house(config, _tell_nobody) as house:
        return await work(house)


def _tell_nobody(trace: TraceId, entries: Sequence[AnyEntry]) -> None:
    """Log lines are the server's: a command prints its own."""


def become_service_user(config: Config) -> None:
    """Give up root for the configured user, for good.

    Skipped if there is no such user, or if the folder of the database is root's own: then somebody
    runs all of it as root, and the service user could not even open the file.
    """
    if os.geteuid() != 0:
        return
    user = find_service_user(config)
    if user is None or not _exists_for_others(config.folder):
        return
    os.setgroups([])
    os.setgid(user.pw_gid)
    os.setuid(user.pw_uid)
    _check_python(config.user)


def _check_python(user: str) -> None:
    """Python imports as it goes: an installation in root's home fails half-way for others."""
    for file in (os.__file__, __file__):
        try:
            open(file, "rb").close()
        except PermissionError as error:
            raise Refusal(
                f"the user {user} cannot read {file}: install Python and Mailstead where everybody"
                ' may read them, or set user = "root" in the configuration'
            ) from error


def find_service_user(config: Config) -> pwd.struct_passwd | None:
    """The user that the server runs as, if the system knows it."""
    try:
        return pwd.getpwnam(config.user)
    except KeyError:
        return None


def _exists_for_others(folder: Path) -> bool:
    try:
        return folder.stat().st_uid != 0
    except OSError:
        return False


@contextmanager
def teaching(**commands: str) -> Iterator[None]:
    """Let a refusal with one of these codes say the next command to run, if it names none."""
    try:
        yield
    except Refusal as refusal:
        command = commands.get(refusal.code)
        if command is None or "mailstead " in refusal.reason:
            raise
        raise Refusal(f"{refusal.reason}: {command}", refusal.code) from refusal
