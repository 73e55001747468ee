"""Bodies in a bucket of SeaweedFS: there and back, and while it is away for a time."""

import asyncio
import imaplib
import json
import random
import smtplib
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from mailstead.model.errors import TemporaryFailure
from mailstead.net.clock import SystemClock, ThreadOffload
from mailstead.services.packing import Packing
from mailstead.storage import blobs, packs
from mailstead.storage.objects import UPLOAD_PART, Bucket, ObjectStoreSettings, Patience
from mailstead.storage.packbucket import PackBucket
from mailstead.storage.packfile import pack_name
from mailstead.storage.plan import StoredBody
from mailstead.storage.sqlite import SqliteStore
from mailstead.storage.store import Tx

START_TIMEOUT = 30.0
SECOND = timedelta(seconds=1)
QUICK = Patience(SECOND, 5 * SECOND, 10 * SECOND, 0, SECOND)
WEED = Path(sys.executable).with_name("weed")


def free_ports(count: int) -> list[int]:
    """Ports that are free, as are those 10,000 above: SeaweedFS takes these, too."""
    found: list[int] = []
    for port in range(12_000, 22_000, 37):
        with closing(socket.socket()) as low, closing(socket.socket()) as high:
            taken = low.connect_ex(("127.0.0.1", port)) == 0
            taken |= high.connect_ex(("127.0.0.1", port + 10_000)) == 0
        if not taken:
            found.append(port)
        if len(found) == count:
            return found
    raise RuntimeError("no free ports")


class Seaweed:
    """A SeaweedFS of this test's own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.s3, self._master, self._volume, self._filer = free_ports(4)
        keys = [{"accessKey": "key", "secretKey": "secret"}]
        actions = ["Admin", "Read", "Write", "List"]
        config = {"identities": [{"name": "mail", "credentials": keys, "actions": actions}]}
        folder.mkdir()
        (folder / "s3.json").write_text(json.dumps(config))
        self.client = boto3.client(
            "s3",
            endpoint_url=f"http://127.0.0.1:{self.s3}",
            aws_access_key_id="key",
            aws_secret_access_key="secret",
            region_name="us-east-1",
            config=Config(connect_timeout=1, read_timeout=5, retries={"max_attempts": 0}),
        )
        self.start()

    def start(self) -> None:
        """Start it, and wait until it takes requests."""
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    WEED,
                    "server",
                    "-ip=127.0.0.1",
                    "-ip.bind=127.0.0.1",
                    f"-dir={self._folder}",
                    "-s3",
                    f"-s3.port={self.s3}",
                    f"-s3.config={self._folder}/s3.json",
                    f"-master.port={self._master}",
                    f"-volume.port={self._volume}",
                    f"-filer.port={self._filer}",
                    "-master.volumeSizeLimitMB=64",
                    "-volume.max=50",
                ],
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + START_TIMEOUT
        while time.monotonic() < deadline:
            with suppress(BotoCoreError, ClientError):
                self.client.put_object(Bucket="mail", Key="started", Body=b"x")
                return
            with suppress(BotoCoreError, ClientError):
                self.client.create_bucket(Bucket="mail")
            time.sleep(0.2)
        pytest.fail(f"SeaweedFS did not start:\n{(self._folder / 'log').read_text()[-2000:]}")

    def stop(self) -> None:
        """As if the power went."""
        self._process.kill()
        self._process.wait()

    def settings(self, cache: Path) -> ObjectStoreSettings:
        """How one gets at it."""
        return ObjectStoreSettings(
            "s3://mail/bodies",
            cache,
            endpoint=f"http://127.0.0.1:{self.s3}",
            access_key="key",
            secret_key="secret",
            allow_http=True,
        )


@pytest.fixture
def seaweed(tmp_path: Path, missing: Callable[[str], None]) -> Iterator[Seaweed]:
    if not WEED.exists():
        missing("SeaweedFS (weed)")
    server = Seaweed(tmp_path / "weed")
    yield server
    server.stop()


class Shelf:
    """Bodies in a store, and what is expected of them."""

    def __init__(self, folder: Path, seaweed: Seaweed) -> None:
        bucket = Bucket(seaweed.settings(folder / "cache"), QUICK)
        self.packs = PackBucket(bucket, folder / "cache", 2**30)
        self.store = SqliteStore(folder / "mailstead.db", SystemClock(), packs=self.packs)
        self.offload = ThreadOffload()
        self.packing = Packing(self.store, SystemClock(), self.offload, self.packs)
        self.expected: dict[StoredBody, bytes] = {}

    async def add(self, body: bytes) -> None:
        def work(tx: Tx) -> StoredBody:
            stored, rows = blobs.rows_of(tx, blobs.MemoryBody(body))
            tx.many("INSERT INTO blob (id, data) VALUES (:id, :data)", rows)
            return stored

        self.expected[await self.store.write(work)] = body

    async def check(self) -> None:
        for stored, body in self.expected.items():
            assert await self.store.read(lambda tx, stored=stored: blobs.read(tx, stored)) == body

    async def close(self) -> None:
        self.packs.close()
        await self.store.close()
        self.offload.close()


async def test_bodies_go_to_seaweedfs_and_come_back(seaweed: Seaweed, tmp_path: Path) -> None:
    chance = random.Random(1)
    shelf = Shelf(tmp_path, seaweed)
    for size in (1, 100, 5000, 300_000, UPLOAD_PART + 1):
        await shelf.add(chance.randbytes(size))
    await shelf.packing.pack_all()
    (pack,) = await shelf.store.read(packs.list_all)
    assert shelf.packs.sizes() == {pack.id: pack.size}
    await shelf.check()
    found = list(shelf.expected)
    await shelf.store.write(lambda tx: [blobs.drop_unused(tx, stored) for stored in found[2:]])
    for stored in found[2:]:
        del shelf.expected[stored]
    await shelf.packing.tidy()  # mostly dead: rewritten
    await shelf.packing.tidy()
    (new,) = await shelf.store.read(packs.list_all)
    assert shelf.packs.sizes() == {new.id: new.size}
    assert new.size < 1000 < pack.size
    await shelf.check()
    keys = seaweed.client.list_objects_v2(Bucket="mail", Prefix="bodies/")["Contents"]
    assert [one["Key"] for one in keys] == [f"bodies/{pack_name(new.id)}"]
    await shelf.close()


async def test_seaweedfs_goes_away_and_comes_back(seaweed: Seaweed, tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, seaweed)
    await shelf.add(b"packed before" * 1000)
    await shelf.packing.pack_all()
    seaweed.stop()
    with pytest.raises(TemporaryFailure, match="cannot be used"):
        await shelf.check()
    await shelf.add(b"while it was away")
    for _ in range(3):
        with pytest.raises(TemporaryFailure):
            await shelf.packing.pack_all()
    seaweed.start()
    deadline = time.monotonic() + 20
    while True:  # the store is asked again after a while
        try:
            await shelf.check()
            break
        except TemporaryFailure:
            assert time.monotonic() < deadline
            await SystemClock().sleep(SECOND / 5)
    await shelf.packing.pack_all()
    assert await shelf.store.read(packs.newest_loose) == 0
    await shelf.check()
    await shelf.close()


def test_a_whole_server_reads_from_seaweedfs(
    seaweed: Seaweed, start: Callable[..., Any], tmp_path: Path
) -> None:
    """Packed while it runs; without the store what is not in the cache is unavailable for now."""
    server = start()
    server.stop()
    config = server.folder / "mailstead.toml"
    keys = tmp_path / "keys"
    keys.write_text("key\nsecret\n")
    text = config.read_text()
    for before, after in (
        (
            'blobs = ""',
            f'blobs = "s3://mail/bodies?endpoint=http://127.0.0.1:{seaweed.s3}"',
        ),
        ('"credentials" = ""', f'"credentials" = "{keys}"'),
    ):
        assert text.count(before) == 1
        text = text.replace(before, after)
    config.write_text(text)
    with (tmp_path / "serve.log").open("wb") as log:
        program = [sys.executable, "-m", "mailstead", "--config", config, "serve"]
        process = subprocess.Popen(program, stdout=log, stderr=log)
    try:
        wait_for(server.imap)
        for number in range(3):
            with smtplib.SMTP("127.0.0.1", server.smtp) as client:
                text = f"From: a@b.example\r\nSubject: {number}\r\n\r\n" + "Hello!\r\n" * 200
                client.sendmail("a@b.example", ["alice@example.test"], text)
        pack(server.folder, seaweed)
        with imaplib.IMAP4("127.0.0.1", server.imap) as reader:
            reader.login("alice@example.test", "secret")
            reader.select("INBOX")
            seaweed.stop()
            assert b"[UNAVAILABLE]" in failure(reader)
            seaweed.start()
            deadline = time.monotonic() + 20
            while (found := reader.fetch("1:3", "(BODY.PEEK[TEXT])"))[0] != "OK":
                assert time.monotonic() < deadline
                time.sleep(0.2)
            bodies = [one[1] for one in found[1] if isinstance(one, tuple)]
            assert bodies == [b"Hello!\r\n" * 200] * 3
        assert "The store is whole" in server.mailstead("fsck")
    finally:
        process.terminate()
        code = process.wait(20)
    assert code == 0, (tmp_path / "serve.log").read_text()


def failure(reader: imaplib.IMAP4) -> bytes:
    """What the server says when it cannot give a body."""
    status, (text, *_) = reader.fetch("1:3", "(BODY.PEEK[TEXT])")
    assert status == "NO"
    assert isinstance(text, bytes)
    return text


def pack(folder: Path, seaweed: Seaweed) -> None:
    """Pack all that the server has, however young."""

    async def story() -> None:
        bucket = Bucket(seaweed.settings(folder / "cache"))
        where = PackBucket(bucket, folder / "cache", 2**30)
        store = SqliteStore(folder / "mailstead.db", SystemClock(), packs=where)
        offload = ThreadOffload()
        await Packing(store, SystemClock(), offload, where).pack_all()
        assert await store.read(packs.newest_loose) == 0
        where.close()
        await store.close()
        offload.close()

    asyncio.run(story())


def wait_for(port: int) -> None:
    """Until somebody listens there."""
    deadline = time.monotonic() + START_TIMEOUT
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        else:
            return
