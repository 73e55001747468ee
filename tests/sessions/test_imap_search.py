"""The quick ways of SEARCH find what the plain one finds (RFC 3501 section 6.4.4)."""

from datetime import timedelta

import pytest

from mailstead.sessions.imap import progress, scan
from mailstead.testing.house import SimulatedWorld
from mailstead.testing.transcript import compose, open_house

KEYS = [
    "ALL",
    "SEEN",
    "UNSEEN",
    "SEEN UNSEEN",
    "NEW",
    "OLD",
    "KEYWORD $work",
    "UNKEYWORD $work",
    "2:3",
    "UID 2,4",
    "LARGER 150",
    "SMALLER 150",
    "LARGER 149 SMALLER 151",
    "SINCE 20-Nov-2026",
    "BEFORE 20-Nov-2026",
    "ON 20-Nov-2026",
    "SENTSINCE 20-Nov-2026",
    "SENTBEFORE 20-Nov-2026",
    "SENTON 20-Nov-2026",
    "SUBJECT two",
    'SUBJECT "two words"',
    'SUBJECT ""',
    "SUBJECT ÄHRE",
    "FROM bob",
    "HEADER X-Odd here",
    "BODY hi",
    "TEXT words",
]


async def search(world: SimulatedWorld) -> dict[str, list[str]]:
    """The answers to all programs, each in three forms."""
    house = await open_house(world)
    for subject, flags in [
        ("One", r"\Seen"),
        ("Two words", "$Work"),
        ("=?utf-8?q?=C3=84hre?=", ""),
    ]:
        await house.deliver("alice", compose(subject), flags)
    await house.deliver("alice", b"Subject: two\r\n words\r\nX-odd: \xc3\xa4 here\r\n\r\nHi\r\n")
    await house.deliver("alice", b"No header at all")
    client = await house.log_in("alice")
    await client.command("s SELECT INBOX")
    return {
        text: (await client.command(f"a SEARCH {text}"))[0].split()[2:]
        for key in KEYS
        for text in (key, f"OR ({key}) ({key})", f"NOT ({key})")
    }


@pytest.mark.rfc("9585 section 4")
async def test_a_long_search_tells_how_far_it_is(
    world: SimulatedWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "EVERY", timedelta(0))
    monkeypatch.setattr(scan, "BODIES_LIMIT", 2)
    house = await open_house(world)
    for _ in range(5):
        await house.deliver("alice", compose("One"))
    client = await house.log_in("alice")
    await client.command("s SELECT INBOX")
    told = "* OK [INPROGRESS"
    assert await client.command("a UID SEARCH 2:5 BODY hi") == [
        f'{told} ("a" 2 4)] Processed 50% of the messages',
        "* SEARCH 2 3 4 5",
        "a OK SEARCH completed",
    ]


@pytest.mark.rfc("3501 section 6.4.4")
async def test_every_way_finds_the_same(world: SimulatedWorld) -> None:
    found = await search(world)
    for key in KEYS:
        assert found[key] == found[f"OR ({key}) ({key})"], key
        assert sorted(found[key] + found[f"NOT ({key})"]) == list("12345"), key
    assert found["SUBJECT two"] == ["2", "4"]
    assert found['SUBJECT "two words"'] == ["2", "4"]
    assert found["SUBJECT ÄHRE"] == ["3"]
    assert found["SENTON 20-Nov-2026"] == ["1", "2", "3"]
    assert found["HEADER X-Odd here"] == ["4"]
    assert found["BODY hi"] == ["1", "2", "3", "4"]
