"""Blocks of packs on this machine: what is kept, what goes, and what a reader makes of it."""

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from mailstead.storage.blockcache import (
    BLOCK,
    OPEN_FILES,
    Block,
    BlockCache,
    BlockReader,
    blocks_of,
)
from mailstead.storage.packfile import MAGIC, DamagedBody, Known, NotHere, Place, compress


class Pack:
    """A pack with parts of these sizes, which do not compress."""

    def __init__(self, number: int, sizes: Sequence[int]) -> None:
        self.parts = [os.urandom(size) for size in sizes]
        self.places: list[Place] = []
        self.octets = MAGIC
        for part, record in compress(enumerate(self.parts, 1)):
            self.places.append((part, number, len(self.octets), len(record)))
            self.octets += record

    def record(self, index: int) -> bytes:
        _, _, start, length = self.places[index]
        return self.octets[start : start + length]

    def keep(self, cache: BlockCache, *numbers: int) -> None:
        for number in numbers or range(-(-len(self.octets) // BLOCK)):
            data = self.octets[number * BLOCK : (number + 1) * BLOCK]
            cache.keep((self.places[0][1], number), data)


def names(cache: BlockCache) -> list[str]:
    return sorted(path.name for path in cache.folder.iterdir())


def age(cache: BlockCache, block: Block, seconds: float) -> None:
    """The block was used so long ago."""
    path = cache.folder / f"{block[0]:012d}-{block[1]:06d}.block"
    then = path.stat().st_mtime - seconds
    os.utime(path, (then, then))


@pytest.mark.parametrize(
    ("start", "length", "expected"),
    [
        (8, 1, [0]),
        (BLOCK - 1, 1, [0]),
        (BLOCK - 1, 2, [0, 1]),
        (BLOCK, BLOCK, [1]),
        (BLOCK + 1, BLOCK, [1, 2]),
    ],
)
def test_blocks_of_a_place(start: int, length: int, expected: list[int]) -> None:
    assert list(blocks_of((1, 7, start, length))) == [(7, number) for number in expected]


def test_what_was_used_longest_ago_goes_first(tmp_path: Path) -> None:
    cache = BlockCache(tmp_path / "blocks", 4 * BLOCK)
    for number in range(3):
        cache.keep((1, number), bytes(BLOCK))
        age(cache, (1, number), 100 - number)
    assert cache.read((1, 0)) == bytes(BLOCK)  # used just now
    cache.keep((1, 3), bytes(BLOCK))
    found = [cache.read((1, number)) is not None for number in range(4)]
    assert found == [True, False, True, True]


def test_a_new_process_finds_what_is_there_and_keeps_the_limit(tmp_path: Path) -> None:
    cache = BlockCache(tmp_path / "blocks", 100 * BLOCK)
    for number in range(8):
        cache.keep((1, number), bytes(BLOCK))
        age(cache, (1, number), 100 - number)
    (cache.folder / "000000000001-000001.1-1.part").write_bytes(b"x")
    (cache.folder / "000000000001-000001.1-2.part").write_bytes(b"x")
    os.utime(cache.folder / "000000000001-000001.1-1.part", (1, 1))
    cache = BlockCache(tmp_path / "blocks", 6 * BLOCK)
    assert names(cache) == [
        "000000000001-000001.1-2.part",
        *(f"000000000001-{number:06d}.block" for number in range(3, 8)),
    ]


def test_without_a_limit_in_octets_nothing_is_kept(tmp_path: Path) -> None:
    pack = Pack(1, [100])
    pack.keep(BlockCache(tmp_path / "blocks", 10 * BLOCK))
    cache = BlockCache(tmp_path / "blocks", 0)
    pack.keep(cache)
    assert cache.read((1, 0)) is None
    assert names(cache) == []


def test_dead_packs_go(tmp_path: Path) -> None:
    cache = BlockCache(tmp_path / "blocks", 100 * BLOCK)
    for pack in range(5):
        cache.keep((pack, 0), b"x")
    cache.drop_packs([1, 3])
    assert [cache.read((pack, 0)) is not None for pack in range(5)] == [True, False] * 2 + [True]


def test_a_folder_that_cannot_be_written_is_no_failure(tmp_path: Path) -> None:
    cache = BlockCache(tmp_path / "blocks", 100 * BLOCK)
    cache.folder.rmdir()
    cache.keep((1, 0), b"x")
    assert cache.read((1, 0)) is None


def test_parts_within_and_across_blocks(tmp_path: Path) -> None:
    pack = Pack(1, [100, BLOCK, 1, 3000, 250_000, 77] * 20)
    cache = BlockCache(tmp_path / "blocks", 1000 * BLOCK)
    pack.keep(cache)
    reader = BlockReader(cache)
    assert reader.parts(pack.places) == pack.parts
    assert reader.parts(pack.places[::-7]) == pack.parts[::-7]
    assert reader.parts([]) == []
    assert len(os.listdir("/proc/self/fd")) < 2 * OPEN_FILES + 20
    reader.close()


def test_all_that_is_missing_is_named_at_once(tmp_path: Path) -> None:
    pack = Pack(1, [100_000] * 10)  # blocks 0 to 3
    cache = BlockCache(tmp_path / "blocks", 1000 * BLOCK)
    pack.keep(cache, 0, 2)
    reader = BlockReader(cache)
    expected = [place for place in pack.places if {(1, 1), (1, 3)} & set(blocks_of(place))]
    with pytest.raises(NotHere) as missing:
        reader.parts(pack.places)
    assert list(missing.value.places) == expected
    reader.known = Known(supplied={place: pack.record(place[0] - 1) for place in expected})
    assert reader.parts(pack.places) == pack.parts
    reader.close()


def test_what_is_supplied_needs_no_cache(tmp_path: Path) -> None:
    pack = Pack(1, [1000, 2000])
    reader = BlockReader(BlockCache(tmp_path / "blocks", 0))
    reader.known.supplied.update({place: pack.record(place[0] - 1) for place in pack.places})
    assert reader.parts(pack.places) == pack.parts


def test_a_block_in_use_may_go(tmp_path: Path) -> None:
    pack = Pack(1, [1000])
    cache = BlockCache(tmp_path / "blocks", 1000 * BLOCK)
    pack.keep(cache)
    reader = BlockReader(cache)
    assert reader.parts(pack.places) == pack.parts
    cache.drop((1, 0))
    assert reader.parts(pack.places) == pack.parts
    reader.close()
    with pytest.raises(NotHere):
        reader.parts(pack.places)


@pytest.mark.parametrize("cut", [0, 500])
def test_a_block_that_is_damaged_is_fetched_again_once(tmp_path: Path, cut: int) -> None:
    pack = Pack(1, [1000, 2000])
    cache = BlockCache(tmp_path / "blocks", 1000 * BLOCK)
    octets = bytearray(pack.octets)
    octets[100] ^= 1
    cache.keep((1, 0), bytes(octets[: cut or None]))
    reader = BlockReader(cache)
    with pytest.raises(NotHere) as missing:
        reader.parts(pack.places)
    assert missing.value.places == [pack.places[0]]
    assert names(cache) == []
    reader.known.supplied[pack.places[0]] = bytes(octets[8:])[: pack.places[0][3]]
    with pytest.raises(DamagedBody, match=r"part 1 in 000000000001\.pack"):
        reader.parts(pack.places[:1])
    reader.close()


def test_octets_that_the_bucket_does_not_have_are_damage(tmp_path: Path) -> None:
    pack = Pack(1, [1000])
    reader = BlockReader(BlockCache(tmp_path / "blocks", 1000 * BLOCK))
    reader.known.supplied[pack.places[0]] = b""
    with pytest.raises(DamagedBody, match="the object store has no such octets"):
        reader.parts(pack.places)
