"""Which domains are one site, and what it is called."""

import pytest

from mailstead.model.dns import Mx
from mailstead.services.outbound import sites
from mailstead.services.outbound.providers import profile_of_host
from mailstead.services.outbound.sites import Sites, best_hosts, lane_of, name_of
from mailstead.testing.cast.sink import sink


@pytest.mark.parametrize(
    ("hosts", "name"),
    [
        (["aspmx.l.google.com"], "google"),
        (["alt1.aspmx.l.google.com", "alt2.aspmx.l.google.com"], "google"),
        (["mx.example.net"], "mx.example.net"),
        (["mx1.in.example.net", "mx2.in.example.net"], "in.example.net"),
        (["mx1.example.net", "mx2.example.com"], "mx1.example.net"),
        (["a.one.co.uk", "b.two.co.uk"], "a.one.co.uk"),
        (["a.example.co.uk", "b.example.co.uk"], "example.co.uk"),
        # Somebody else's host among them: not the provider's site.
        (["aspmx.l.google.com", "mx.example.net"], "aspmx.l.google.com"),
    ],
)
def test_name(hosts: list[str], name: str) -> None:
    assert name == name_of(hosts)


def test_only_the_best_hosts_count() -> None:
    records = [Mx(20, "backup.example"), Mx(10, "B.example."), Mx(10, "a.example"), Mx(0, ".")]
    assert best_hosts(records) == ["a.example", "b.example"]
    assert best_hosts([Mx(0, ".")]) == []


def test_a_lane_has_a_source() -> None:
    assert (lane_of("a.example", ""), lane_of("a.example", "new")) == ("a.example", "a.example/new")


def test_is_remembered_for_an_hour(tell, monkeypatch) -> None:
    async def story(stage) -> None:
        known = Sites(stage.zone, stage.clock)
        stage.zone["MX", "example.net"] = ["10 mx.one.example"]
        assert (known.known("example.net"), known.known("[192.0.2.1]")) == (None, "[192.0.2.1]")
        assert await known.find("example.net") == "mx.one.example"
        stage.zone["MX", "example.net"] = ["10 mx.two.example"]
        assert await known.find("example.net") == known.known("example.net") == "mx.one.example"
        await stage.sleep(hours=1)
        assert await known.find("example.net") == "mx.two.example"
        monkeypatch.setattr(sites, "SITES_LIMIT", 2)
        for name in ("a.example", "b.example"):
            assert await known.find(name) == name
        assert known.known("example.net") is None

    tell(story, running=False)


def test_what_the_dns_does_not_say_is_not_remembered(tell) -> None:
    async def story(stage) -> None:
        known = Sites(stage.zone, stage.clock)
        stage.zone.fail("example.net")
        assert (await known.find("example.net"), known.known("example.net")) == (
            "example.net",
            None,
        )

    tell(story, running=False)


def test_a_domain_speaks_only_for_hosts_of_its_site(tell) -> None:
    async def story(stage) -> None:
        known = Sites(stage.zone, stage.clock)
        stage.zone["MX", "example.net"] = ["10 aspmx.l.google.com", "20 mx.example.net"]
        stage.zone["MX", "example.com"] = ["10 a.in.example", "10 b.in.example"]
        assert [await known.find(name) for name in ("example.net", "example.com")] == [
            "google",
            "in.example",
        ]
        assert known.described("google/new") == "google/new,aspmx.l.google.com"
        assert known.speaks_for("alt1.aspmx.l.google.com", "google/new")
        assert not known.speaks_for("mx.example.net", "google")
        assert known.speaks_for("b.in.example", "in.example")
        assert not known.speaks_for("in.example.evil.example", "in.example")
        assert known.speaks_for("192.0.2.1", "192.0.2.1:25")  # of a route: nothing was looked up

    tell(story, running=False)


def test_limits_hold_for_all_domains_of_a_site(tell) -> None:
    """300 domains at one slow site do not keep others waiting, and wait in its lane."""

    async def story(stage) -> None:
        rate = profile_of_host("mx.google.com").limits.messages_a_minute // 60  # a second
        for number in range(300):
            stage.mx(f"d{number}.example", (10, "mx.google.com", "192.0.2.1"))
        stage.mx("example.net", (10, "mx.example.net", "192.0.2.2"))
        big, small = stage.listen("192.0.2.1", sink()), stage.listen("192.0.2.2", sink())
        for number in range(300):
            await stage.enqueue(f"bob@d{number}.example")
        await stage.sleep(seconds=4)
        await stage.enqueue("bob@example.net")
        await stage.sleep(milliseconds=50)
        assert (len(big.received), len(small.received)) == (4 * rate + 1, 1)
        lanes = [row.lane for row, _ in await stage.waiting() if not row.claimed]
        assert set(lanes) == {"google"}
        await stage.sleep(minutes=1)
        assert (len(big.received), await stage.waiting()) == (300, [])

    tell(story)


def test_with_a_smarthost_nobody_asks_the_dns(tell) -> None:
    async def story(stage) -> None:
        remote = stage.listen("192.0.2.9", sink(), 2525)
        await stage.enqueue("bob@example.net", route="192.0.2.9:2525")
        await stage.sleep(seconds=1)
        assert (len(remote.received), stage.zone.asked) == (1, [])

    tell(story)
