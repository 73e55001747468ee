"""`mailstead store copy`."""

import asyncio
import itertools
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from mailstead.model.numbers import OrganisationId, TraceId
from mailstead.server.config import NOWHERE, format_toml, load
from mailstead.server.wiring import House, open_house
from mailstead.services.delivery.plan import render
from mailstead.storage import accounts, blobs, copying, mailboxes
from mailstead.storage.plan import Append, Plan
from mailstead.storage.store import Tx

from .conftest import Shell

pytestmark = pytest.mark.postgres

HEADER = b"Subject: Hello\r\n\r\n"


def configured(shell: Shell, name: str, database: str) -> str:
    """A configuration as the shell's, but for the database and its folder."""
    folder = shell.folder / name
    folder.mkdir()
    database = database or f"sqlite://{folder}/mailstead.db"
    changes = {"database": database, "data": str(folder), "listen": NOWHERE}
    path = folder / "mailstead.toml"
    path.write_text(format_toml(msgspec.structs.replace(load(shell.config), **changes)))
    return str(path)


def fill(config: str | Path, count: int) -> None:
    """So many messages, half of them packed."""

    async def deliver(house: House) -> None:
        def place(tx: Tx) -> tuple[int, int]:
            account = accounts.get_account(tx, "alice@example.org").id
            return account, mailboxes.get(tx, account, "INBOX").id

        account, mailbox = await house.store.read(place)
        now = house.world.clock.now()
        for start in range(0, count, 50):
            plans = [
                Plan(
                    (
                        Append(
                            account, mailbox, HEADER, render(HEADER, blobs.MemoryBody(body)), now
                        ),
                    ),  # type: ignore[arg-type]
                    TraceId(f"t{start}"),
                    OrganisationId(1),
                    blobs.MemoryBody(body),
                )
                for body in (b"%d " % number * 500 for number in range(start, start + 50))
            ]
            await asyncio.gather(*(house.store.apply(plan) for plan in plans))
            if start == count // 2:
                await house.packing.pack_all()

    async def story() -> None:
        async with open_house(load(Path(config)), lambda trace, entries: None) as house:
            await deliver(house)

    asyncio.run(story())


def test_there_and_back(mailstead: Shell, postgres: str) -> None:
    fill(mailstead.config, 100)
    there = configured(mailstead, "there", postgres)
    back = configured(mailstead, "back", "")
    ran = mailstead("store", "copy", str(mailstead.config), there)
    assert (ran.code, "Both stores hold the same: 100 messages in mailboxes, " in ran.out) == (
        0,
        True,
    )
    assert f"Start the server with the new one: mailstead --config {there} serve" in ran.out
    assert "account: comparing ...\n" in ran.err
    first = ran.out.partition("digest ")[2][:16]
    told = mailstead("store", "copy", there, back, "--json").json()
    assert (told["messages"], told["packs"], told["digest"][:16]) == (100, 1, first)
    for config in (there, back):
        assert mailstead.bare("--config", config, "account", "list").out.count("alice@") == 1
        ran = mailstead.bare("--config", config, "fsck")
        assert ran.code == 0, ran.out


def test_what_is_refused(mailstead: Shell, postgres: str) -> None:
    old, new = str(mailstead.config), configured(mailstead, "new", postgres)
    ran = mailstead("store", "copy", old, old)
    assert (ran.code, "name the same database" in ran.err) == (1, True)
    assert mailstead("store", "copy", old, new).code == 0
    ran = mailstead("store", "copy", old, new)
    assert (ran.code, "there is mail in the target already" in ran.err) == (1, True)
    away = configured(mailstead, "away", "postgresql://u:secret@127.0.0.1:1/nowhere")
    ran = mailstead("store", "copy", old, away)
    assert (ran.code != 0, "cannot be reached" in ran.err, "secret" in ran.err) == (
        True,
        True,
        False,
    )


def test_an_unfinished_copy_is_no_server(mailstead: Shell, postgres: str) -> None:
    old, new = str(mailstead.config), configured(mailstead, "new", postgres)

    async def begin() -> None:
        async with open_house(
            load(Path(new)), lambda trace, entries: None, unfinished=True
        ) as house:
            await house.store.write(copying.begin)

    asyncio.run(begin())
    says = "the store is an unfinished copy of another: run `mailstead store copy` again"
    served = subprocess.run(
        [sys.executable, "-m", "mailstead", "--config", new, "serve"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (served.returncode != 0, served.stderr.count(says) > 0) == (True, True), served.stderr
    ran = mailstead.bare("--config", new, "account", "list")
    assert (ran.code, says in ran.err) == (1, True)
    assert mailstead("store", "copy", old, new).code == 0
    assert mailstead.bare("--config", new, "account", "list").code == 0


@pytest.mark.parametrize("seed", [1, 2])
def test_a_copy_that_is_killed_goes_on(
    mailstead: Shell, schemas: Callable[[str], str], seed: int
) -> None:
    fill(mailstead.config, 3000)
    there = configured(mailstead, "there", schemas("there"))
    back = configured(mailstead, "back", "")
    chance = random.Random(seed)
    for old, new in ((str(mailstead.config), there), (there, back)):
        kills = [kill_a_copy(old, new, chance.randint(1, 20)) for _ in range(4)]
        assert all(kills)
        ran = mailstead("store", "copy", old, new)
        assert ran.code == 0 or "mail in the target already" in ran.err, ran.err
    ran = mailstead.bare("--config", back, "fsck")
    assert ran.code == 0, ran.out


def kill_a_copy(old: str, new: str, lines: int) -> bool:
    """Begin a copy, and kill it after so many lines of progress; whether it came so far."""
    program = [sys.executable, "-m", "mailstead", "store", "copy", old, new]
    with subprocess.Popen(program, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        heard = list(itertools.islice(process.stderr, lines))
        process.kill()
    return len(heard) == lines
