"""Stories of mail to hosts whose TLS is somebody's policy: DANE, MTA-STS, both, or none."""

import hashlib
import ssl
from collections.abc import Sequence
from datetime import UTC

import pytest

from mailstead.model.address import Domain, parse_address
from mailstead.model.dns import Status
from mailstead.model.envelope import TlsWish
from mailstead.msgauth.tlsrpt import PolicyType, Result
from mailstead.protocol.smtp.client import MessageFacts
from mailstead.services.outbound.attempt import Attempt, Errand, attempt
from mailstead.services.outbound.connect import Dialer
from mailstead.services.outbound.pool import Pool
from mailstead.services.outbound.retry import Failed
from mailstead.services.outbound.route import Way, find_hosts
from mailstead.services.outbound.targets import Targets
from mailstead.services.outbound.tls_policy import TlsPolicies
from mailstead.storage import tls_policies
from mailstead.testing.cast.broken import without_tls
from mailstead.testing.cast.policy_host import PolicyHost
from mailstead.testing.cast.remote import Remote, Script
from mailstead.testing.cast.sink import sink
from mailstead.testing.certificates import Authority, Issued
from mailstead.testing.clock import SeededRandom

BOB = "bob@example.net"
ONE = (10, "mx1.example.net", "192.0.2.1")
TWO = (20, "mx2.example.net", "192.0.2.2")
WEB = "192.0.2.80"

CA = Authority()
RIGHT = CA.issue("mx1.example.net")
WRONG_NAME = CA.issue("www.example.net")
UNTRUSTED = Authority("Other").issue("mx1.example.net")
TRUSTING = CA.trusting()


def policy(mode: str, *mx: str, max_age: int = 604800) -> str:
    hosts = "".join(f"mx: {one}\n" for one in mx or ("mx1.example.net",))
    return f"version: STSv1\nmode: {mode}\n{hosts}max_age: {max_age}\n"


def publish(stage, text: str, tls: ssl.SSLContext | None = None, id_: str = "1") -> PolicyHost:
    """MTA-STS for example.net."""
    stage.zone["TXT", "_mta-sts.example.net"] = f"v=STSv1; id={id_};"
    stage.zone["A", "mta-sts.example.net"] = WEB
    host = PolicyHost(tls or CA.issue("mta-sts.example.net").context(), text)
    stage.network.listen(WEB, 443, host.serve)
    return host


def sign(stage, *names: str) -> None:
    """These names, and all of example.net that mail asks for, are in a signed zone."""
    stage.zone.authenticated |= {"example.net", *names}
    for name in ("mx1.example.net", "mx2.example.net"):
        stage.zone.authenticated |= {name, f"_25._tcp.{name}"}


def bind(stage, *records: str, host: str = "mx1.example.net") -> None:
    stage.zone["TLSA", f"_25._tcp.{host}"] = records


def end_entity(issued: Issued) -> str:
    return f"3 1 1 {hashlib.sha256(issued.spki).hexdigest()}"


def anchor(authority: Authority) -> str:
    return f"2 0 1 {hashlib.sha256(authority.issued.chain[0]).hexdigest()}"


def ask_for_reports(stage) -> None:
    stage.zone["TXT", "_smtp._tls.example.net"] = "v=TLSRPTv1; rua=mailto:tls@example.net"


async def counted(stage) -> list[tuple[str, str, str, int]]:
    """The figures of today: policy, host, result, sessions."""
    await stage.sleep(minutes=2)
    today = stage.clock.now().astimezone(UTC).date()
    found = await stage.store.read(lambda tx: tls_policies.figures(tx, today, "example.net", 100))
    return [
        (str(one.session.policy.type), one.session.mx_host, str(one.session.result), one.sessions)
        for one in found
    ]


def tls_remote(issued: Issued) -> Remote:
    return Remote(Script(tls=issued.context()))


# ---------------------------------------------------------------------- DANE


@pytest.mark.rfc("7672 section 3.2")
@pytest.mark.parametrize(
    ("records", "issued", "verified"),
    [
        ([end_entity(UNTRUSTED)], UNTRUSTED, True),
        ([end_entity(RIGHT), end_entity(UNTRUSTED)], UNTRUSTED, True),
        ([anchor(CA)], RIGHT, True),
        ([anchor(CA)], CA.issue("example.net"), True),
        (["1 1 1 00", end_entity(UNTRUSTED)], UNTRUSTED, True),
        ([anchor(CA)], WRONG_NAME, False),
        ([anchor(CA)], UNTRUSTED, False),
        ([end_entity(RIGHT)], UNTRUSTED, False),
        (["1 1 1 00", end_entity(RIGHT)], UNTRUSTED, False),
    ],
)
def test_dane(tell, records: Sequence[str], issued: Issued, verified: bool) -> None:
    async def story(stage) -> None:
        stage.mx("example.net", ONE)
        sign(stage)
        bind(stage, *records)
        remote = stage.listen("192.0.2.1", tls_remote(issued))
        trace = await stage.enqueue(BOB)
        await stage.sleep(minutes=1)
        (tried,) = await stage.attempts(trace)
        assert len(remote.received) == verified
        assert tried.hosts[0].tls.endswith(" dane") == verified
        if not verified:
            assert tried.outcome == "deferred"
            assert tried.reply.startswith("454 4.7.5 TLS failed: the certificate does not match")
            assert "Mail" not in remote.commands

    tell(story, verifying=TRUSTING)


@pytest.mark.rfc("7672 section 2.2")
def test_what_dane_forbids_never_leaves_in_the_clear_and_bounces_in_the_end(tell) -> None:
    async def story(stage) -> None:
        stage.mx("example.net", ONE)
        sign(stage)
        bind(stage, end_entity(RIGHT))
        remote = stage.listen("192.0.2.1", without_tls())
        trace = await stage.enqueue(BOB)
        await stage.sleep(days=6)
        assert remote.received == []
        assert [n[1] for n in await stage.notices(trace)] == ["delayed", "failed"]
        assert b"4.7.5" in (await stage.inbox())[-1]

    tell(story)


@pytest.mark.rfc("7672 section 2.2.3")
@pytest.mark.parametrize("record", [end_entity(RIGHT), "1 1 1 00"], ids=["ee", "unusable"])
def test_with_tlsa_records_starttls_is_a_must(tell, record: str) -> None:
    async def story(stage) -> None:
        stage.mx("example.net", ONE)
        sign(stage)
        bind(stage, record)
        remote = stage.listen("192.0.2.1", sink())
        trace = await stage.enqueue(BOB)
        await stage.sleep(hours=1)
        assert remote.received == []
        assert {one.reply[:9] for one in await stage.attempts(trace)} == {"454 4.7.4"}

    tell(story)


@pytest.mark.rfc("7672 section 2.2.3")
def test_without_usable_records_any_certificate_will_do(tell) -> None:
    async def story(stage) -> None:
        stage.mx("example.net", ONE)
        sign(stage)
        bind(stage, "1 1 1 " + "00" * 32)
        ask_for_reports(stage)
        remote = stage.listen("192.0.2.1", tls_remote(WRONG_NAME))
        await stage.enqueue(BOB)
        await stage.sleep(minutes=1)
        assert len(remote.received) == 1
        assert remote.received[0].tls
        assert await counted(stage) == [("tlsa", "mx1.example.net", "tlsa-invalid", 1)]

    tell(story)


@pytest.mark.rfc("7672 section 2.1.2")
@pytest.mark.parametrize("status", [Status.SERVFAIL, Status.TIMEOUT])
def test_a_host_whose_tlsa_records_cannot_be_had_is_not_used(tell, status: Status) -> None:
    async def story(stage) -> None:
        stage.mx("example.net", ONE)
        sign(stage)
        stage.zone.fail("_25._tcp.mx1.example.net", status)
        ask_for_reports(stage)
        remote = stage.listen("192.0.2.1", tls_remote(RIGHT))
        trace = await stage.enqueue(BOB)
        await stage.sleep(minutes=1)
        assert (remote.sessions, stage.network.dials) == (0, [])
        (tried,) = await stage.attempts(trace)
        assert (tried.outcome, tried.reply[:9]) == ("deferred", "451 4.4.3")
        assert await counted(stage) == [("tlsa", "mx1.example.net", "dnssec-invalid", 1)]
        stage.zone.heal("_25._tcp.mx1.example.net")
        await stage.sleep(minutes=10)
        assert len(remote.received) == 1

    tell(story)


@pytest.mark.rfc("7672 section 2.2.1")
def test_the_next_host_is_tried(tell) -> None:
    async def story(stage) -> None:
        stage.mx("example.net", ONE, TWO)
        sign(stage)
        bind(stage, end_entity(RIGHT))
        first = stage.listen("192.0.2.1", tls_remote(UNTRUSTED))
        second = stage.listen("192.0.2.2", sink())
        trace = await stage.enqueue(BOB)
        await stage.sleep(minutes=1)
        assert (first.received, len(second.received)) == ([], 1)
        (tried,) = await stage.attempts(trace)
        assert [(one.host, one.reached) for one in tried.hosts] == [
            ("mx1.example.net", "starttls"),
            ("mx2.example.net", "end"),
        ]

    tell(story)


@pytest.mark.rfc("7672 section 2.2.1")
def test_what_is_not_signed_binds_nobody(tell) -> None:
    async def story(stage) -> None:
        stage.mx("example.net", ONE)
        bind(stage, end_entity(RIGHT))
        stage.zone.authenticated |= {"mx1.example.net", "_25._tcp.mx1.example.net"}
        remote = stage.listen("192.0.2.1", tls_remote(UNTRUSTED))
        await stage.enqueue(BOB)
        await stage.sleep(minutes=1)
        assert len(remote.received) == 1
        assert not [one for one in stage.zone.asked if one.type == "TLSA"]

    tell(story)


@pytest.mark.rfc("8461 section 2")
def test_dane_goes_before_mta_sts(tell) -> None:
    async def story(stage) -> None:
        stage.mx("example.net", ONE)
        sign(stage)
        bind(stage, end_entity(UNTRUSTED))
        publish(stage, policy("enforce", "elsewhere.example"))
        remote = stage.listen("192.0.2.1", tls_remote(UNTRUSTED))
        await stage.enqueue(BOB)
        await stage.sleep(minutes=1)
        assert len(remote.received) == 1
        bind(stage, end_entity(RIGHT))
        await stage.enqueue(BOB)
        await stage.sleep(hours=1)
        assert len(remote.received) == 1

    tell(story, verifying=TRUSTING)


# ---------------------------------------------------------------------- MTA-STS


@pytest.mark.rfc("8461 section 5")
@pytest.mark.rfc("8460 section 4.3")
@pytest.mark.parametrize(
    ("remote", "result"),
    [
        (tls_remote(RIGHT), Result.SUCCESS),
        (tls_remote(WRONG_NAME), Result.HOST_MISMATCH),
        (tls_remote(UNTRUSTED), Result.NOT_TRUSTED),
        (without_tls(), Result.VALIDATION_FAILURE),
        (sink(), Result.STARTTLS_NOT_SUPPORTED),
    ],
)
def test_enforce_and_testing(tell, remote: Remote, result: Result) -> None:
    async def story(stage) -> None:
        stage.mx("example.net", ONE)
        ask_for_reports(stage)
        host = publish(stage, policy("enforce"))
        stage.listen("192.0.2.1", remote)
        before = len(remote.received)
        trace = await stage.enqueue(BOB)
        await stage.sleep(minutes=1)
        good = result is Result.SUCCESS
        (tried,) = await stage.attempts(trace)
        assert tried.outcome == ("relayed" if good else "deferred")
        assert tried.hosts[0].tls.endswith(" pkix") == good
        assert await counted(stage) == [("sts", "mx1.example.net", result.value, 1)]
        host.policy = policy("testing")
        stage.zone["TXT", "_mta-sts.example.net"] = "v=STSv1; id=2;"
        await stage.sleep(minutes=10)
        assert len(remote.received) == before + 1

    tell(story, verifying=TRUSTING)


@pytest.mark.rfc("8461 section 5")
def test_what_enforce_forbids_never_leaves_in_the_clear_and_bounces_in_the_end(tell) -> None:
    async def story(stage) -> None:
        stage.mx("example.net", ONE)
        publish(stage, policy("enforce", max_age=10_000_000))
        remote = stage.listen("192.0.2.1", without_tls())
        trace = await stage.enqueue(BOB)
        await stage.sleep(days=6)
        assert remote.received == []
        assert [n[1] for n in await stage.notices(trace)] == ["delayed", "failed"]

    tell(story, verifying=TRUSTING)


@pytest.mark.rfc("7435 section 3")
@pytest.mark.parametrize("mode", ["", "none", "testing"])
def test_where_nothing_is_enforced_a_sole_host_gets_it_in_the_clear(tell, mode: str) -> None:
    async def story(stage) -> None:
        stage.mx("example.net", ONE)
        if mode:
            publish(stage, policy(mode))
        remote = stage.listen("192.0.2.1", without_tls())
        await stage.enqueue(BOB)
        await stage.sleep(minutes=3)
        assert remote.received == []
        await stage.sleep(minutes=7)
        assert [one.tls for one in remote.received] == [""]

    tell(story, verifying=TRUSTING)


@pytest.mark.rfc("8461 section 4.1")
def test_a_host_that_the_policy_does_not_name_is_not_asked(tell) -> None:
    async def story(stage) -> None:
        stage.mx("example.net", (5, "mx.evil.example", "192.0.2.66"), ONE)
        ask_for_reports(stage)
        host = publish(stage, policy("enforce", "*.example.net"))
        evil = stage.listen("192.0.2.66", sink())
        good = stage.listen("192.0.2.1", tls_remote(RIGHT))
        trace = await stage.enqueue(BOB)
        await stage.sleep(minutes=1)
        assert (evil.sessions, len(good.received)) == (0, 1)
        (tried,) = await stage.attempts(trace)
        assert tried.hosts[0].said == (
            "The MTA-STS policy of example.net does not name the host mx.evil.example"
        )
        host.policy = policy("testing", "*.example.net")
        stage.zone["TXT", "_mta-sts.example.net"] = "v=STSv1; id=2;"
        await stage.enqueue(BOB)
        await stage.sleep(minutes=1)
        assert len(evil.received) == 1
        assert sorted(await counted(stage)) == [
            ("sts", "mx.evil.example", "validation-failure", 1),  # while it was enforced
            ("sts", "mx.evil.example", "validation-failure", 1),
            ("sts", "mx1.example.net", "success", 1),
        ]

    tell(story, verifying=TRUSTING)


@pytest.mark.rfc("8461 section 3.3")
def test_a_policy_outlives_those_who_hide_it(tell) -> None:
    async def story(stage) -> None:
        stage.mx("example.net", ONE)
        host = publish(stage, policy("enforce", max_age=86400))
        remote = stage.listen("192.0.2.1", tls_remote(RIGHT))
        await stage.enqueue(BOB)
        await stage.sleep(minutes=1)
        assert len(remote.received) == 1
        assert host.asked == ["GET /.well-known/mta-sts.txt HTTP/1.1"]
        stage.network.unlisten(WEB, 443)
        del stage.zone["TXT", "_mta-sts.example.net"]
        attacker = stage.listen("192.0.2.1", tls_remote(UNTRUSTED))
        await stage.stop()
        stage.start()  # it lies in the store, not in memory
        await stage.enqueue(BOB)
        await stage.sleep(hours=20)
        assert attacker.received == []
        await stage.sleep(hours=8)
        assert len(attacker.received) == 1

    tell(story, verifying=TRUSTING)


@pytest.mark.rfc("8461 section 3.3")
@pytest.mark.parametrize(
    ("change", "result"),
    [
        ("unreachable", Result.STS_FETCH_ERROR),
        ("no address", Result.STS_FETCH_ERROR),
        ("redirect", Result.STS_FETCH_ERROR),
        ("html", Result.STS_FETCH_ERROR),
        ("slow", Result.STS_FETCH_ERROR),
        ("rubbish", Result.STS_INVALID),
        ("untrusted", Result.STS_WEBPKI_INVALID),
        ("wrong name", Result.STS_WEBPKI_INVALID),
        ("inside", Result.STS_FETCH_ERROR),
    ],
)
def test_a_policy_that_cannot_be_had_is_none(tell, change: str, result: Result) -> None:
    def spoil(stage, host: PolicyHost) -> None:
        match change:
            case "unreachable":
                stage.network.unlisten(WEB, 443)
            case "no address":
                del stage.zone["A", "mta-sts.example.net"]
            case "redirect":
                host.status = "302 Found"
            case "html":
                host.content_type = "text/html"
            case "slow":
                stage.network.dark.add(WEB)
            case "rubbish":
                host.policy = "version: STSv2\n"
            case "untrusted":
                host.tls = UNTRUSTED.context()
            case "wrong name":
                host.tls = WRONG_NAME.context()
            case "inside":
                stage.zone["A", "mta-sts.example.net"] = "10.0.0.1"
                stage.network.listen("10.0.0.1", 443, host.serve)

    async def story(stage) -> None:
        stage.mx("example.net", ONE)
        ask_for_reports(stage)
        host = publish(stage, policy("enforce", "elsewhere.example"))
        spoil(stage, host)
        remote = stage.listen("192.0.2.1", tls_remote(UNTRUSTED))
        await stage.enqueue(BOB)
        await stage.enqueue(BOB)
        await stage.sleep(seconds=90)
        assert len(remote.received) == 2
        await stage.enqueue(BOB)
        figures = await counted(stage)
        assert len(remote.received) == 3
        # Once for all three: the host is left alone for a while.
        assert [one for one in figures if one[0] == "sts"] == [("sts", "", result.value, 1)]
        assert [dial.address for dial in stage.network.dials].count("10.0.0.1") == 0

    tell(story, verifying=TRUSTING)


@pytest.mark.rfc("8461 section 3.3")
def test_a_failed_fetch_is_tried_again_after_five_minutes_and_keeps_the_old_policy(tell) -> None:
    async def story(stage) -> None:
        stage.mx("example.net", ONE)
        host = publish(stage, policy("enforce"))
        remote = stage.listen("192.0.2.1", tls_remote(RIGHT))
        await stage.enqueue(BOB)
        await stage.sleep(minutes=1)
        host.status, remote.script = "500 Oh", Script(tls=UNTRUSTED.context())
        stage.zone["TXT", "_mta-sts.example.net"] = "v=STSv1; id=2;"
        await stage.enqueue(BOB)
        await stage.sleep(minutes=3)
        assert (len(host.asked), len(remote.received)) == (2, 1)
        host.status, host.policy = "200 OK", policy("none")
        await stage.sleep(minutes=20)
        assert (len(host.asked), len(remote.received)) == (3, 2)

    tell(story, verifying=TRUSTING)


@pytest.mark.rfc("8461 section 3.3")
def test_a_dead_address_of_the_policy_host_does_not_hide_the_other(tell) -> None:
    async def story(stage) -> None:
        stage.mx("example.net", ONE)
        publish(stage, policy("enforce"))
        stage.zone["AAAA", "mta-sts.example.net"] = "2001:db8::80"
        stage.network.dark.add("2001:db8::80")
        remote = stage.listen("192.0.2.1", tls_remote(UNTRUSTED))
        await stage.enqueue(BOB)
        await stage.sleep(hours=1)
        assert remote.received == []

    tell(story, verifying=TRUSTING)


@pytest.mark.rfc("8461 section 3.3")
def test_policies_are_refreshed_daily(tell) -> None:
    async def story(stage) -> None:
        stage.mx("example.net", ONE)
        host = publish(stage, policy("enforce", max_age=2 * 86400))
        remote = stage.listen("192.0.2.1", tls_remote(RIGHT))
        await stage.enqueue(BOB)
        await stage.sleep(days=10, hours=1)
        assert 9 <= len(host.asked) <= 11
        stage.network.unlisten(WEB, 443)
        remote.script = Script(tls=UNTRUSTED.context())
        await stage.enqueue(BOB)
        await stage.sleep(hours=20)
        assert len(remote.received) == 1

    tell(story, verifying=TRUSTING)


# ---------------------------------------------------------------------- figures


@pytest.mark.rfc("8460 section 4.3")
def test_sessions_without_policy_are_counted_for_those_who_ask(tell) -> None:
    async def story(stage) -> None:
        stage.mx("example.net", ONE)
        ask_for_reports(stage)
        stage.mx("example.com", TWO)
        stage.listen("192.0.2.1", tls_remote(UNTRUSTED))
        stage.listen("192.0.2.2", tls_remote(UNTRUSTED))
        await stage.enqueue(BOB)
        await stage.enqueue("carol@example.com")
        await stage.sleep(minutes=1)
        await stage.enqueue(BOB)
        await stage.sleep(seconds=10)
        await stage.stop()  # at the latest now it is written
        found = await counted(stage)
        assert found == [(PolicyType.NONE.value, "mx1.example.net", "success", 2)]
        today = stage.clock.now().astimezone(UTC).date()
        domains = await stage.store.read(lambda tx: tls_policies.domains(tx, today, "", 10))
        assert domains == ["example.net"]

    tell(story)


# ---------------------------------------------------------------------- REQUIRETLS


async def send(
    stage, sender: str = "alice@example.org", require_tls: bool = True, pool: Pool | None = None
) -> Attempt:
    """One attempt at a message that requires TLS."""
    targets = Targets()
    policies = TlsPolicies(stage.store, stage.world, targets, TRUSTING)
    dialer, domain = Dialer(stage.world, "mx.example.org", TRUSTING), Domain("example.net")

    async def pieces():
        yield b"Subject: x\r\n\r\nHi!\r\n"

    errand = Errand(
        key=("mx", "example.net"),
        domain=domain,
        reverse_path=parse_address(sender) if sender else None,
        recipients=(parse_address(BOB),),
        facts=MessageFacts(19),
        pieces=pieces,
        way=Way("mx"),
        again=True,
        tls=TlsWish.REQUIRED if require_tls else TlsWish.USUAL,
    )
    hosts = find_hosts(domain, errand.way, "mx.example.org", targets, SeededRandom(1))
    mine = pool or Pool()
    tried = await attempt(errand, hosts, stage.world.resolver, dialer, mine, policies)
    if pool is None:
        await mine.close()
    return tried


@pytest.mark.rfc("8689 section 4.2.1")
@pytest.mark.parametrize(
    ("secure", "issued", "expected"),
    [
        (True, RIGHT, "550 5.7.30"),  # all is well, but the host does not know REQUIRETLS
        (True, WRONG_NAME, "550 5.7.10"),
        (True, None, "550 5.7.10"),
        (False, RIGHT, "550 5.7.10"),
    ],
)
def test_a_message_that_requires_tls_is_not_sent_without(
    tell, secure: bool, issued: Issued | None, expected: str
) -> None:
    async def story(stage) -> None:
        stage.mx("example.net", ONE)
        if secure:
            sign(stage)
        remote = stage.listen("192.0.2.1", tls_remote(issued) if issued else sink())
        tried = await send(stage)
        (outcome,) = tried.outcomes.values()
        assert isinstance(outcome, Failed)
        assert str(outcome.reply).startswith(expected)
        assert remote.received == []

    tell(story)


@pytest.mark.rfc("8689 section 4.2.1")
def test_a_host_that_does_not_answer_may_do_so_later(tell) -> None:
    async def story(stage) -> None:
        stage.mx("example.net", ONE, TWO)
        sign(stage)
        stage.listen("192.0.2.2", tls_remote(CA.issue("mx2.example.net")))
        tried = await send(stage)
        assert [one.reached for one in tried.hosts] == ["connect", "ehlo"]
        (outcome,) = tried.outcomes.values()
        assert not isinstance(outcome, Failed)

    tell(story)


@pytest.mark.rfc("8689 section 4.2.1")
def test_a_connection_of_others_is_not_taken_over(tell) -> None:
    async def story(stage) -> None:
        stage.mx("example.net", ONE)
        remote = stage.listen("192.0.2.1", sink())
        pool = Pool()
        await send(stage, pool=pool, require_tls=False)
        tried = await send(stage, pool=pool)
        assert len(remote.received) == 1
        assert [type(one) for one in tried.outcomes.values()] == [Failed]
        await pool.close()

    tell(story)


@pytest.mark.rfc("8689 section 4.2.1")
def test_a_bounce_requires_nothing(tell) -> None:
    async def story(stage) -> None:
        stage.mx("example.net", ONE)
        remote = stage.listen("192.0.2.1", sink())
        await send(stage, sender="")
        assert len(remote.received) == 1

    tell(story)
