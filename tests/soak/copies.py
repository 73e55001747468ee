"""A big store copied from SQLite and a folder to PostgreSQL and a bucket, and back.

    script/soak copies [--messages 50000] [--kills 1] [--seed 1]

Each way the copy is killed at random moments and given again. Holds: it goes on where it was; the
digests of both ways are equal, which are of every row and every octet of every pack; fsck finds
nothing in the end.
"""

import argparse
import asyncio
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from nodes import Postgres, Seaweed

from mailstead.model.address import Domain, parse_address
from mailstead.model.flags import DELETED, FLAGGED, SEEN
from mailstead.model.numbers import OrganisationId, TraceId
from mailstead.server.config import NOWHERE, S3, Config, format_toml, load
from mailstead.server.wiring import House, open_house
from mailstead.services.delivery.plan import render
from mailstead.storage import accounts, blobs, mailboxes, messages
from mailstead.storage.plan import Append, Enqueue, Plan, QueuedRecipient
from mailstead.storage.store import Tx

BATCH = 100  # messages that come at once
ACCOUNTS = 100
PACKED = 0.8  # of the mail; the rest is loose


def configured(
    folder: Path, name: str, database: str = "", bucket: str = "", s3: S3 | None = None
) -> Path:
    """A configuration in a folder of its own."""
    own = folder / name
    own.mkdir()
    database = database or f"sqlite://{own}/mailstead.db"
    config = Config(
        hostname="mx.soak.test",
        database=database,
        blobs=bucket,
        data=str(own),
        listen=NOWHERE,
        s3=s3 or S3(),
    )
    path = own / "mailstead.toml"
    path.write_text(format_toml(config))
    return path


# ---------------------------------------------------------------------- what is copied


async def fill(config: Config, options: argparse.Namespace) -> None:
    """Mail of all sizes in many accounts; some deleted, some waiting; most of it packed."""
    chance = random.Random(options.seed)
    async with open_house(config, lambda trace, entries: None) as house:
        places = await house.store.write(populate)
        for number in range(0, options.messages, BATCH):
            batch = [message(house, chance, places, number + n) for n in range(BATCH)]
            await asyncio.gather(*(house.store.apply(plan) for plan in batch))
            if number // BATCH == int(options.messages * PACKED) // BATCH:
                await house.packing.pack_all()
        for _, inbox in places:
            await house.store.write(lambda tx, inbox=inbox: tidy_up(tx, inbox))  # type: ignore[misc]


def populate(tx: Tx) -> list[tuple[int, int]]:
    """(account, INBOX) of all."""
    organisation = accounts.create_organisation(tx, "soak")
    accounts.create_domain(tx, organisation, Domain("soak.test"))
    places = []
    for number in range(ACCOUNTS):
        account = accounts.create_account(tx, parse_address(f"user{number}@soak.test"), "hash")
        places.append((account, mailboxes.get(tx, account, "INBOX").id))
    return places  # type: ignore[return-value]


def message(
    house: House, chance: random.Random, places: list[tuple[int, int]], number: int
) -> Plan:
    size = chance.choice([200, 1000, 4000, 4000, 20_000])
    text = b"message %d " % number
    body = blobs.MemoryBody(text * (size // 2 // len(text)) + chance.randbytes(size // 2))
    header = b"From: a@soak.test\r\nSubject: %d\r\nMessage-ID: <%d@soak.test>\r\n\r\n" % (
        number,
        number,
    )
    now, (account, inbox) = house.world.clock.now(), chance.choice(places)
    steps: list[Append | Enqueue] = [
        Append(account, inbox, header, render(header, body), now, keywords=f"k{number % 7}")  # type: ignore[arg-type]
    ]
    if number % 50 == 0:
        waiting = QueuedRecipient("x@sink.test", "smtp", "sink.test", now)
        steps.append(Enqueue(header, "a@soak.test", (waiting,)))
    return Plan(tuple(steps), TraceId(f"t{number}"), OrganisationId(1), body)


def tidy_up(tx: Tx, inbox: int) -> None:
    box = mailboxes.MailboxId(inbox)
    messages.set_flags(tx, box, [(1, 300)], "add", SEEN, "")
    messages.set_flags(tx, box, [(50, 60)], "add", FLAGGED, "later")
    messages.set_flags(tx, box, [(10, 20)], "add", DELETED, "")
    messages.expunge(tx, box, [(1, 2**32 - 1)])


# ---------------------------------------------------------------------- copying


def copy(source: Path, target: Path, kill_after: int | None) -> dict[str, object] | None:
    """Copy, or kill the copy when it has said so much; what it says at its end."""
    program = [sys.executable, "-m", "mailstead", "store", "copy", source, target, "--json"]
    with subprocess.Popen(
        program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as run:
        assert run.stderr
        assert run.stdout
        said = []
        for line in run.stderr:
            said.append(line)
            if kill_after is not None and len(said) >= kill_after:
                run.kill()
                return None
        out = run.stdout.read()
    assert run.returncode == 0, "".join(said[-10:])
    found: dict[str, object] = json.loads(out)
    return found


def copy_killed(
    source: Path, target: Path, options: argparse.Namespace, chance: random.Random
) -> dict[str, object]:
    """The same, with kills on the way; seconds of all, and of the last run."""
    began = time.monotonic()
    for _ in range(options.kills):
        assert copy(source, target, chance.randint(2, 8)) is None
    last = time.monotonic()
    found = copy(source, target, None)
    assert found
    now = time.monotonic()
    return {**found, "seconds": round(now - began, 1), "seconds_last": round(now - last, 1)}


def soak(
    options: argparse.Namespace, folder: Path, postgres: Postgres, seaweed: Seaweed
) -> dict[str, object]:
    """There and back; the figures."""
    (folder / "key").write_text("key\nsecret\n")
    s3 = S3(credentials=str(folder / "key"))
    bucket = f"s3://mail/bodies?endpoint={seaweed.endpoint}"
    first = configured(folder, "first")
    between = configured(folder, "between", postgres.url, bucket, s3)
    last = configured(folder, "last")
    began = time.monotonic()
    asyncio.run(fill(load(first), options))
    print(f"filled in {time.monotonic() - began:.1f} s", file=sys.stderr, flush=True)
    chance = random.Random(options.seed)
    there = copy_killed(first, between, options, chance)
    print(f"there: {there}", file=sys.stderr, flush=True)
    back = copy_killed(between, last, options, chance)
    print(f"back: {back}", file=sys.stderr, flush=True)
    assert there["digest"] == back["digest"]
    fsck = [sys.executable, "-m", "mailstead", "--config", last, "fsck"]
    checked = subprocess.run(fsck, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    return {"messages": options.messages, "kills": 2 * options.kills, "there": there, "back": back}


def main() -> None:
    """Run, and say what was found."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--messages", type=int, default=50_000)
    parser.add_argument("--kills", type=int, default=1, help="each way")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--port", type=int, default=14100, help="the first of 10")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="soak-"))
    postgres, seaweed = Postgres(options.port + 9), Seaweed(folder / "weed", options.port)
    try:
        postgres.do("url")
        seaweed.start()
        print(json.dumps(soak(options, folder, postgres, seaweed)))
    finally:
        seaweed.kill()
        postgres.do("stop")
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
