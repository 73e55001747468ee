"""Return paths of forwarded mail: out, and home again, and nothing else."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailstead.model.address import Address, Domain, parse_address
from mailstead.services.delivery.srs import EXPIRY, is_rewritten, restore, rewrite

KEY, OTHER = b"k" * 32, b"o" * 32
NOW = datetime(2026, 11, 22, tzinfo=UTC)
OURS, NEXT, LAST = Domain("example.org"), Domain("example.net"), Domain("example.com")
BOB = parse_address("bob@remote.example")


def rewritten(sender: Address = BOB, domain: Domain = OURS, now: datetime = NOW) -> Address:
    found = rewrite(sender, domain, KEY, now)
    assert found is not None
    return found


def test_out_and_home() -> None:
    path = rewritten()
    assert (path.local_part[:5], path.domain) == ("SRS0=", OURS)
    assert is_rewritten(path.local_part)
    assert restore(path.local_part, [KEY], NOW) == BOB


def test_a_second_forwarder_keeps_the_first() -> None:
    first = rewritten()
    second = rewritten(first, NEXT)
    third = rewritten(second, LAST)
    assert [one.local_part[:5] for one in (second, third)] == ["SRS1=", "SRS1="]
    assert restore(third.local_part, [KEY], NOW) == first  # the second is left out
    assert restore(second.local_part, [KEY], NOW) == first


@pytest.mark.parametrize(
    ("age", "expected"),
    [
        (timedelta(0), BOB),
        (EXPIRY, BOB),
        (EXPIRY + timedelta(days=1), None),
        (timedelta(days=1023), None),
        (timedelta(days=-1), None),  # made tomorrow
    ],
)
def test_it_expires(age: timedelta, expected: Address | None) -> None:
    assert restore(rewritten().local_part, [KEY], NOW + age) == expected


def test_local_parts_lose_their_case_on_the_way() -> None:
    path = rewritten(parse_address("Bob.Jones@remote.example"))
    expected = parse_address("bob.jones@remote.example")
    assert restore(path.local_part.lower(), [KEY], NOW) == expected


def test_older_keys_are_believed() -> None:
    assert restore(rewritten().local_part, [OTHER, KEY], NOW) == BOB


@pytest.mark.parametrize(
    "local_part",
    [
        "SRS0=AAAAAAAA=aa=remote.example=bob",
        "SRS0=",
        "SRS1=",
        "SRS0==",
        "SRS0=x",
        "SRS1=x==",
        "srs0=\N{SNOWMAN}=aa=remote.example=bob",
        "bob",
        "",
    ],
)
def test_forged_ones_lead_nowhere(local_part: str) -> None:
    assert restore(local_part, [KEY], NOW) is None


@given(st.integers(0, 200), st.characters(min_codepoint=33, max_codepoint=126))
def test_no_octet_can_be_changed(at: int, character: str) -> None:
    local_part = rewritten().local_part
    at %= len(local_part)
    changed = local_part[:at] + character + local_part[at + 1 :]
    restored = restore(changed, [KEY], NOW)  # letters may change their case on the way
    assert restored is None or str(restored).lower() == str(BOB).lower()
    if changed.lower() != local_part.lower():
        assert restore(changed, [KEY], NOW) is None


def test_another_key_is_not_ours() -> None:
    assert restore(rewritten().local_part, [OTHER], NOW) is None


@pytest.mark.rfc("5321 section 4.5.3.1.1")
def test_what_would_be_too_long_stays() -> None:
    assert rewrite(parse_address(f"{'x' * 60}@remote.example"), OURS, KEY, NOW) is None


def test_strange_local_parts_come_home() -> None:
    for text in ('"a b"@remote.example', '"a@b=="@remote.example', "a=b==c@remote.example"):
        strange = parse_address(text)
        assert restore(rewritten(strange).local_part, [KEY], NOW) == strange
