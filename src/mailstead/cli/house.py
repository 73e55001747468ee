"""The house for one command: the configuration loaded, the store opened, closed again after it.

Holds: as root, a command becomes the service user before it touches the store, so that no file of
the server's comes to belong to root.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import click

from mailstead.model.entries import AnyEntry
from mailstead.model.errors import Refusal
from mailstead.model.numbers import TraceId
from mailstead.server.config import Config, ConfigError, load
from mailstead.server.privileges import become_service_user
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
        raise Refusal(f"cannot open {config.database_name}: {error}") from error


async def _within(config: Config, work: Callable[[House], Awaitable[T]]) -> T:
    async with open_house(config, _tell_nobody) as house:
        return await work(house)


def _tell_nobody(trace: TraceId, entries: Sequence[AnyEntry]) -> None:
    """Log lines are the server's: a command prints its own."""


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
