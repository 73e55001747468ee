"""Packs in a bucket of an object store, with a cache of their blocks on this machine.

A pack is made in a local file and uploaded when it is whole; what reads it asks the cache, and
`fetch` brings what is not there. Several machines share a bucket, but only one database does.
Holds: an object of a name is uploaded once, so what was read of it once is right for ever.
"""

import hashlib
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TypeVar

from mailstead.model.errors import TemporaryFailure
from mailstead.storage.blockcache import BLOCK, Block, BlockCache, BlockReader, blocks_of, slices
from mailstead.storage.objects import Bucket, ObjectStoreSettings
from mailstead.storage.packfile import (
    PackFolder,
    PackWriter,
    Place,
    cut,
    pack_name,
    pack_of,
    runs,
)

T = TypeVar("T")
S = TypeVar("S")

THREADS = 8  # requests at once
PORTION = 64  # blocks that are in memory at once for one fetch
RUN_BLOCKS = 16  # neighbouring blocks that one request asks for
FLIGHT_TIME = 60.0  # seconds that one waits for a block that another thread is fetching


def open_bucket(settings: ObjectStoreSettings) -> "PackBucket":
    """The packs in this bucket. Nobody is asked yet. Never before a fork."""
    return PackBucket(Bucket(settings), settings.cache, settings.cache_limit)


class PackBucket:
    """A bucket of packs. What waits for it is called on a thread."""

    def __init__(self, bucket: Bucket, folder: Path, cache_limit: int) -> None:
        own = folder / hashlib.sha256(bucket.url.encode()).hexdigest()[:16]
        self._bucket = bucket
        self._cache = BlockCache(own / "blocks", cache_limit)
        self._local = PackFolder(own / "unfinished")
        self._flights = Flights()
        self._threads = ThreadPoolExecutor(THREADS, "objects")
        self._clean: Collection[int] | None = None  # what was named when there was no other

    def locked(self) -> AbstractContextManager[bool]:
        """Whether no other process of this machine makes or removes packs meanwhile."""
        return self._local.locked()

    def sizes(self) -> dict[int, int]:
        """Pack -> octets, of all that are there."""
        found = ((pack_of(name), size) for name, size in self._bucket.sizes().items())
        return {pack: size for pack, size in found if pack is not None}

    def unfinished(self) -> list[str]:
        """The local files of packs that nobody finished."""
        return self._local.unfinished()

    def strays(self, named: Collection[int], upto: int) -> list[int]:
        """The packs up to this one that are there, but not named.

        Once there were none, nothing is listed as long as the same are named.
        """
        if named == self._clean:
            return []
        found = [pack for pack in self.sizes() if pack <= upto and pack not in named]
        self._clean = None if found else named
        return found

    def remove(self, dead: Collection[int]) -> list[str]:
        """Remove these packs, and unfinished ones; what went."""
        names = [pack_name(pack) for pack in sorted(dead)]
        if names:
            self._bucket.delete(names)
            self._cache.drop_packs(dead)
        return names + self._local.remove(())

    def create(self, pack: int) -> PackWriter:
        """A new pack: a local file until it is finished."""
        name = pack_name(pack)
        return self._local.begin(pack, lambda file, size: self._upload(name, file, size))

    def records(self, places: Sequence[Place]) -> list[bytes]:
        """The octets at these places, unchecked, from the bucket itself."""
        found = self._in_parallel(self._get_run, list(runs(places)))
        return [record for some in found for record in some]

    def fetch(self, places: Sequence[Place]) -> dict[Place, bytes]:
        """The records at these places; empty, or short, what the bucket does not have."""
        found: dict[Place, bytes] = {}
        for some in _portions(places):
            blocks = self._bring({block for place in some for block in blocks_of(place)})
            found.update((place, _record(place, blocks)) for place in some)
        return found

    def reader(self) -> BlockReader:
        """A reader of what is here."""
        return BlockReader(self._cache)

    def address(self, name: str) -> str:
        """Where the pack of this name lies, for operators."""
        return f"{self._bucket.url}/{name}"

    def close(self) -> None:
        """Let the threads end."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    # ------------------------------------------------------------------ the bucket

    def _upload(self, name: str, file: Path, size: int) -> None:
        if self._bucket.size(name) is not None:
            raise TemporaryFailure(
                f"{self.address(name)} is there already: does another database use this place?"
            )
        self._bucket.put(name, file)
        if (found := self._bucket.size(name)) != size:
            raise TemporaryFailure(f"{self.address(name)} has {found} octets, not {size}")
        file.unlink(missing_ok=True)

    def _get_run(self, run: Sequence[Place]) -> list[bytes]:
        first, last = run[0], run[-1]
        data = self._bucket.get(pack_name(first[1]), first[2], last[2] + last[3] - first[2])
        return cut(run, data)

    def _bring(self, wanted: Collection[Block]) -> dict[Block, bytes]:
        """The blocks, each from the cache, or from whoever is fetching it, or from the bucket."""
        ours, theirs = self._flights.claim(wanted)
        found: dict[Block, bytes] = {}
        try:
            # Only now the cache: what another thread has fetched is there before it lands.
            for block in ours:
                if (data := self._cache.read(block)) is not None:
                    found[block] = data
            missing = [block for block in ours if block not in found]
            for blocks in self._in_parallel(self._get_blocks, list(_neighbours(missing))):
                found.update(blocks)
            self._flights.land(found)
        finally:
            self._flights.give_up(ours)
        for block, flight in theirs.items():
            found[block] = _wait(flight)
        return found

    def _get_blocks(self, blocks: Sequence[Block]) -> dict[Block, bytes]:
        pack, first = blocks[0]
        data = self._bucket.get(pack_name(pack), first * BLOCK, len(blocks) * BLOCK)
        found = {
            block: data[number * BLOCK : (number + 1) * BLOCK]
            for number, block in enumerate(blocks)
        }
        for block, octets in found.items():
            if octets:
                self._cache.keep(block, octets)
        return found

    def _in_parallel(self, work: Callable[[S], T], pieces: Sequence[S]) -> list[T]:
        if len(pieces) == 1:
            return [work(pieces[0])]
        return list(self._threads.map(work, pieces))


class Flights:
    """The blocks that some thread of this process is fetching: others wait for it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._futures: dict[Block, Future[bytes]] = {}

    def claim(self, blocks: Iterable[Block]) -> tuple[list[Block], dict[Block, Future[bytes]]]:
        """Which of these we have to fetch, in order; who fetches the others."""
        ours: list[Block] = []
        theirs: dict[Block, Future[bytes]] = {}
        with self._lock:
            for block in blocks:
                if block in self._futures:
                    theirs[block] = self._futures[block]
                else:
                    self._futures[block] = Future()
                    ours.append(block)
        return sorted(ours), theirs

    def land(self, found: dict[Block, bytes]) -> None:
        """These are here."""
        for block, data in found.items():
            self._take(block).set_result(data)

    def give_up(self, blocks: Sequence[Block]) -> None:
        """Those of the blocks that did not land will not: who waits for them learns it."""
        for block in blocks:
            if block in self._futures:
                failure = TemporaryFailure("another read of the same octets failed")
                self._take(block).set_exception(failure)

    def _take(self, block: Block) -> "Future[bytes]":
        with self._lock:
            return self._futures.pop(block)


def _wait(flight: "Future[bytes]") -> bytes:
    try:
        return flight.result(FLIGHT_TIME)
    except TimeoutError as error:
        raise TemporaryFailure("another read of the same octets takes too long") from error


def _portions(places: Sequence[Place]) -> Iterator[list[Place]]:
    """The places, so many at once that they lie in PORTION blocks, or one alone."""
    some: list[Place] = []
    blocks: set[Block] = set()
    for place in places:
        more = blocks.union(blocks_of(place))
        if some and len(more) > PORTION:
            yield some
            some, more = [], set(blocks_of(place))
        some.append(place)
        blocks = more
    if some:
        yield some


def _neighbours(blocks: Sequence[Block]) -> Iterator[list[Block]]:
    """Sorted blocks as runs of those that lie one after the other, RUN_BLOCKS at most."""
    run: list[Block] = []
    for block in blocks:
        pack, number = block
        if run and (run[-1] != (pack, number - 1) or len(run) == RUN_BLOCKS):
            yield run
            run = []
        run.append(block)
    if run:
        yield run


def _record(place: Place, blocks: dict[Block, bytes]) -> bytes:
    _, pack, start, length = place
    pieces = slices(start, start + length)
    return b"".join(blocks[pack, number][first:last] for number, first, last in pieces)
