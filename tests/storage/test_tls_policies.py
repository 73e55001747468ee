"""TLS policies of others and figures about TLS, as they are kept."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

import pytest

from mailstead.msgauth.mtasts import Mode, Policy
from mailstead.msgauth.tlsrpt import NO_POLICY, PolicyType, Result, Session
from mailstead.msgauth.tlsrpt import Policy as ReportedPolicy
from mailstead.storage import tls_policies
from mailstead.storage.store import Store
from mailstead.storage.tls_policies import Figure, StoredPolicy

NET = "example.net"


def stored(domain: str, fetched: datetime, days: int = 7, id_: str = "1") -> StoredPolicy:
    policy = Policy(Mode.ENFORCE, (f"mx.{domain}", "*.example.com"), timedelta(days=days))
    return StoredPolicy(domain, id_, policy, fetched)


@pytest.mark.rfc("8461 section 3.3")
async def test_a_policy_holds_for_its_time(open_store: Callable[[], Store]) -> None:
    store = open_store()
    now = await store.read(lambda tx: tx.now)
    live = stored(NET, now)
    await store.write(lambda tx: tls_policies.keep(tx, live))
    await store.write(lambda tx: tls_policies.keep(tx, stored("over.example", now, days=0)))
    assert await store.read(lambda tx: tls_policies.find(tx, NET)) == live
    assert await store.read(lambda tx: tls_policies.find(tx, "over.example")) is None
    assert await store.read(lambda tx: tls_policies.find(tx, "example.com")) is None
    newer = stored(NET, now + timedelta(hours=1), id_="2")
    await store.write(lambda tx: tls_policies.keep(tx, newer))
    assert await store.read(lambda tx: tls_policies.find(tx, NET)) == newer
    assert await store.write(lambda tx: tls_policies.expire(tx, 10)) == 1
    assert await store.write(lambda tx: tls_policies.expire(tx, 10)) == 0
    assert await store.read(lambda tx: tls_policies.find(tx, NET)) == newer
    await store.close()


async def test_a_policy_without_hosts(open_store: Callable[[], Store]) -> None:
    store = open_store()
    now = await store.read(lambda tx: tx.now)
    none = StoredPolicy(NET, "1", Policy(Mode.NONE, (), timedelta(days=1)), now)
    await store.write(lambda tx: tls_policies.keep(tx, none))
    assert await store.read(lambda tx: tls_policies.find(tx, NET)) == none
    await store.close()


async def test_those_to_refresh_come_in_pages(open_store: Callable[[], Store]) -> None:
    store = open_store()
    now = await store.read(lambda tx: tx.now)
    old, new = now - timedelta(days=2), now
    for domain, fetched in (("a.example", old), ("b.example", new), ("c.example", old)):
        policy = stored(domain, fetched)
        await store.write(lambda tx, policy=policy: tls_policies.keep(tx, policy))
    before = now - timedelta(days=1)

    async def page(after: str) -> list[str]:
        found = await store.read(lambda tx: tls_policies.fetched_before(tx, before, after, 1))
        return [one.domain for one in found]

    assert [await page(""), await page("a.example"), await page("c.example")] == [
        ["a.example"],
        ["c.example"],
        [],
    ]
    await store.close()


async def test_figures_add_up_and_go_after_a_month(open_store: Callable[[], Store]) -> None:
    store = open_store()
    now = await store.read(lambda tx: tx.now)
    today, long_ago = now.astimezone(UTC).date(), date(2001, 2, 3)
    good = Session(NET, NO_POLICY, "mx.example.net", Result.SUCCESS)
    sts = ReportedPolicy(PolicyType.STS, ("version: STSv1", "mode: testing"))
    bad = Session(NET, sts, "mx.example.net", Result.EXPIRED)
    other = Session("example.com", sts, "", Result.STS_FETCH_ERROR)
    new = [Figure(today, good, 2), Figure(today, bad, 1), Figure(today, other, 1)]
    await store.write(lambda tx: tls_policies.count(tx, new))
    await store.write(lambda tx: tls_policies.count(tx, [Figure(today, good, 40)]))
    await store.write(lambda tx: tls_policies.count(tx, [Figure(long_ago, good, 1)]))

    async def figures() -> list[Figure]:
        return await store.read(lambda tx: tls_policies.figures(tx, today, NET, 10))

    assert await figures() == [Figure(today, good, 42), Figure(today, bad, 1)]
    assert await store.read(lambda tx: tls_policies.domains(tx, today, "", 10)) == [
        "example.com",
        NET,
    ]
    assert await store.read(lambda tx: tls_policies.domains(tx, today, "example.com", 10)) == [NET]
    assert await store.write(lambda tx: tls_policies.expire(tx, 10)) == 1
    assert await store.write(lambda tx: tls_policies.expire(tx, 10)) == 0
    assert len(await figures()) == 2
    assert await store.read(lambda tx: tls_policies.domains(tx, long_ago, "", 10)) == []
    await store.close()


async def test_a_long_policy_is_cut_to_what_a_key_can_hold(open_store: Callable[[], Store]) -> None:
    store = open_store()
    lines = tuple(f"mx: {number:0200}.example" for number in range(100))
    long = Session("d" * 255, ReportedPolicy(PolicyType.STS, lines), "m" * 255, Result.SUCCESS)
    today = date(2026, 11, 22)
    await store.write(lambda tx: tls_policies.count(tx, [Figure(today, long, 1)]))
    (found,) = await store.read(lambda tx: tls_policies.figures(tx, today, "d" * 255, 10))
    assert found.session.policy.strings[:7] == lines[:7]
    await store.close()
