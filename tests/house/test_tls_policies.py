"""What others publish about their TLS, from the submission of a message to the figures."""

import hashlib
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mailstead.model.entries import Attempted
from mailstead.net.tls import opportunistic_context
from mailstead.protocol.smtp.server import ServerOptions
from mailstead.storage import tls_policies
from mailstead.testing.cast.policy_host import PolicyHost
from mailstead.testing.cast.remote import Remote, Script
from mailstead.testing.certificates import Authority
from mailstead.testing.house import PASSWORD, SimulatedHouse, SimulatedWorld
from mailstead.testing.smtp import SmtpClient

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


# ---------------------------------------------------------------------- T16

CA = Authority()
LONG_AGO = (datetime(1999, 1, 1, tzinfo=UTC), datetime(2000, 1, 1, tzinfo=UTC))
SHOWN = {
    "right": CA.issue(MX),
    "expired": CA.issue(MX, valid=LONG_AGO),
    "other name": CA.issue("www.example.net"),
    "stranger": Authority("Other").issue(MX),
}
WEB = "192.0.2.80"


def publish(world: SimulatedWorld, policy: str, bound: str) -> None:
    """What example.net says of its TLS; a TLSA record names the key of the certificate `bound`."""
    world.zone["MX", "example.net"] = f"10 {MX}"
    world.zone["A", MX] = "192.0.2.25"
    world.zone["TXT", "_smtp._tls.example.net"] = "v=TLSRPTv1; rua=mailto:tls@example.net"
    if policy == "dane":
        digest = hashlib.sha256(SHOWN[bound].spki).hexdigest()
        world.zone["TLSA", f"_25._tcp.{MX}"] = f"3 1 1 {digest}"
        world.zone.authenticated |= {"example.net", MX, f"_25._tcp.{MX}"}
    elif policy:
        world.zone["TXT", "_mta-sts.example.net"] = "v=STSv1; id=1;"
        world.zone["A", "mta-sts.example.net"] = WEB
        text = f"version: STSv1\nmode: {policy}\nmx: {MX}\nmax_age: 604800\n"
        host = PolicyHost(CA.issue("mta-sts.example.net").context(), text)
        world.network.listen(WEB, 443, host.serve)


def server(shown: str, offers: bool) -> Remote:
    """The MX host with that certificate; or broken, or with STARTTLS stripped on the way."""
    options = ServerOptions(MX, require_tls=offers)
    if shown in SHOWN:
        return Remote(Script(tls=SHOWN[shown].context(), options=options))
    return Remote(Script(garbled_handshake=shown == "broken", options=options))


async def submit(house: SimulatedHouse, parameters: str) -> None:
    """A message of Alice's, handed over inside TLS."""
    async with SmtpClient(house.world.network, house.address, 587) as client:
        await client.start_tls(opportunistic_context())
        await client.log_in("alice@example.org", PASSWORD)
        lines = (f"MAIL FROM:<alice@example.org>{parameters}", "RCPT TO:<bob@example.net>", "DATA")
        codes = [(await client.command(line)).code for line in lines]
        end = await client.command("From: alice@example.org\r\n\r\nHi!\r\n.")
    assert (codes, end.code) == ([250, 250, 354], 250)


async def figures(house: SimulatedHouse) -> set[tuple[str, str, int]]:
    """What TLS-RPT counts: policy, result, sessions."""
    today = house.world.clock.now().date()
    found = await house.house.store.read(
        lambda tx: tls_policies.figures(tx, today, "example.net", 10)
    )
    return {(str(f.session.policy.type), str(f.session.result), f.sessions) for f in found}


@pytest.fixture
def trust(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """CA is one that everybody trusts."""
    (tmp_path / "ca.pem").write_bytes(CA.pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))


# What becomes of a message within ten minutes, in which it is tried twice.
IN_TLS, CLEAR, WAITS = "in TLS", "in clear", "waits"
REQUIRED = " REQUIRETLS"


@pytest.mark.rfc("7435 section 3")
@pytest.mark.rfc("7672 section 3.1.1")
@pytest.mark.rfc("8460 section 4.3")
@pytest.mark.rfc("8461 section 5")
@pytest.mark.rfc("8689 section 4.2.1")
@pytest.mark.parametrize(
    ("policy", "shown", "wish", "decision", "counted"),
    [
        ("", "right", "", IN_TLS, ("no-policy-found", "success", 1)),
        ("", "stranger", "", IN_TLS, ("no-policy-found", "success", 1)),
        ("", "expired", "", IN_TLS, ("no-policy-found", "success", 1)),
        ("", "stripped", "", CLEAR, ("no-policy-found", "starttls-not-supported", 1)),
        ("", "broken", "", CLEAR, ("no-policy-found", "validation-failure", 2)),
        ("none", "broken", "", CLEAR, ("no-policy-found", "validation-failure", 2)),
        ("dane", "right", "", IN_TLS, ("tlsa", "success", 1)),
        ("dane", "expired", "", IN_TLS, ("tlsa", "success", 1)),  # the record says it all
        ("dane", "stranger", "", WAITS, ("tlsa", "validation-failure", 2)),
        ("dane", "stripped", "", WAITS, ("tlsa", "starttls-not-supported", 2)),
        ("dane", "broken", "", WAITS, ("tlsa", "validation-failure", 2)),
        ("enforce", "right", "", IN_TLS, ("sts", "success", 1)),
        ("enforce", "expired", "", WAITS, ("sts", "certificate-expired", 2)),
        ("enforce", "other name", "", WAITS, ("sts", "certificate-host-mismatch", 2)),
        ("enforce", "stranger", "", WAITS, ("sts", "certificate-not-trusted", 2)),
        ("enforce", "stripped", "", WAITS, ("sts", "starttls-not-supported", 2)),
        ("enforce", "broken", "", WAITS, ("sts", "validation-failure", 2)),
        ("testing", "right", "", IN_TLS, ("sts", "success", 1)),
        ("testing", "expired", "", IN_TLS, ("sts", "certificate-expired", 1)),
        ("testing", "stripped", "", CLEAR, ("sts", "starttls-not-supported", 1)),
        ("testing", "broken", "", CLEAR, ("sts", "validation-failure", 2)),
        ("dane", "right", REQUIRED, IN_TLS, ("tlsa", "success", 1)),
        ("enforce", "right", REQUIRED, IN_TLS, ("sts", "success", 1)),
        ("dane", "right, but does not offer it", REQUIRED, "5.7.30", None),
        ("dane", "stranger", REQUIRED, "5.7.10", ("tlsa", "validation-failure", 1)),
        ("dane", "stripped", REQUIRED, "5.7.10", ("tlsa", "starttls-not-supported", 1)),
        ("enforce", "expired", REQUIRED, "5.7.10", ("sts", "certificate-expired", 1)),
        ("", "right", REQUIRED, "5.7.10", None),  # nobody vouches for the host
    ],
)
async def test_t16_the_decision_and_the_figures(
    world: SimulatedWorld,
    trust: None,
    policy: str,
    shown: str,
    wish: str,
    decision: str,
    counted: tuple[str, str, int] | None,
) -> None:
    certificate, _, missing = shown.partition(", ")
    publish(world, policy, "expired" if shown == "expired" else "right")
    remote = server(certificate, not missing)
    world.network.listen("192.0.2.25", 25, remote.serve)
    house = await world.house("example.org", ["alice"], tls=CA.issue("mx.example.org").context())
    await submit(house, wish)
    await world.sleep(minutes=9)
    found = [IN_TLS if one.tls else CLEAR for one in remote.received]
    for notice in await house.mailbox("alice@example.org"):
        found += [code for code in ("5.7.10", "5.7.30") if f"Status: {code}" in notice.text]
    assert (found or [WAITS]) == [decision]
    assert await figures(house) == ({counted} if counted else set())


@pytest.mark.parametrize("policy", ["dane", "enforce"])
async def test_t16_what_a_policy_forbids_is_never_done(
    world: SimulatedWorld, trust: None, policy: str
) -> None:
    publish(world, policy, "right")
    remote = server("broken", False)
    world.network.listen("192.0.2.25", 25, remote.serve)
    house = await world.house("example.org", ["alice"])
    await house.submit("alice@example.org", to="bob@example.net")
    await world.sleep(days=6)
    assert (remote.received, "Mail" in remote.commands) == ([], False)
    assert "Action: failed" in (await house.newest("alice@example.org")).text
