"""What others publish about their TLS, from the submission of a message to the figures."""

import hashlib
from datetime import UTC

import pytest

from mailstead.model.entries import Attempted
from mailstead.storage import tls_policies
from mailstead.testing.cast.remote import Remote, Script
from mailstead.testing.certificates import Authority
from mailstead.testing.house import SimulatedWorld

MX = "mx.example.net"


@pytest.mark.rfc("7672 section 3.2")
@pytest.mark.rfc("8460 section 4.3")
async def test_a_new_certificate_needs_a_new_tlsa_record(world: SimulatedWorld) -> None:
    authority = Authority()
    old, new = authority.issue(MX), authority.issue(MX)
    world.zone["MX", "example.net"] = f"10 {MX}"
    world.zone["A", MX] = "192.0.2.25"
    world.zone["TLSA", f"_25._tcp.{MX}"] = f"3 1 1 {hashlib.sha256(old.spki).hexdigest()}"
    world.zone["TXT", "_smtp._tls.example.net"] = "v=TLSRPTv1; rua=mailto:tls@example.net"
    world.zone.authenticated |= {"example.net", MX, f"_25._tcp.{MX}"}
    remote = Remote(Script(tls=new.context()))
    world.network.listen("192.0.2.25", 25, remote.serve)

    house = await world.house("example.org", accounts=["alice"])
    await house.submit("alice@example.org", to="bob@example.net")
    await world.sleep(hours=1)
    assert remote.received == []
    world.zone["TLSA", f"_25._tcp.{MX}"] = f"3 1 1 {hashlib.sha256(new.spki).hexdigest()}"
    await world.sleep(hours=2)

    assert len(remote.received) == 1
    attempts = [entry for _, entry in house.told if isinstance(entry, Attempted)]
    assert [one.outcome for one in attempts] == ["deferred"] * (len(attempts) - 1) + ["relayed"]
    assert attempts[-1].hosts[0].tls.endswith(" dane")
    today = world.clock.now().astimezone(UTC).date()
    figures = await house.house.store.read(
        lambda tx: tls_policies.figures(tx, today, "example.net", 10)
    )
    results = sorted((str(one.session.result), one.sessions) for one in figures)
    assert results == [("success", 1), ("validation-failure", len(attempts) - 1)]
