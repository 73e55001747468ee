"""What TLS is demanded of a host: a table of policies and what follows."""

from datetime import timedelta

import pytest

from mailstead.model.dns import Answer, Question, Status
from mailstead.msgauth.dane import Binding, Tlsa, Unknown
from mailstead.msgauth.mtasts import Mode, Policy
from mailstead.msgauth.tlsrpt import PolicyType, Result
from mailstead.services.outbound.demand import Demand, NextHop, Unusable, Wanted, decide

HOST = "mx.example.net"
RECORD = Tlsa(3, 1, 1, bytes(32))
BOUND = Binding(HOST, (str(RECORD),), (RECORD,))
UNBOUND = Binding(HOST, ("1 1 1 00",), ())
SILENT = Unknown(Question("TLSA", f"_25._tcp.{HOST}"), Answer(Status.SERVFAIL))


def sts(mode: Mode, *mx: str) -> Policy:
    return Policy(mode, mx, timedelta(days=7))


ENFORCE, TESTING = sts(Mode.ENFORCE, HOST), sts(Mode.TESTING, HOST)
ELSEWHERE, NONE = sts(Mode.ENFORCE, "other.example"), sts(Mode.NONE)
WRONG_TEST = sts(Mode.TESTING, "other.example")


def kind(found: Demand | Unusable) -> str:
    return found.reply.enhanced if isinstance(found, Unusable) else found.wanted.value


@pytest.mark.rfc("8461 section 5")
@pytest.mark.rfc("8461 section 2")
@pytest.mark.rfc("8689 section 4.2.1")
@pytest.mark.parametrize(
    ("binding", "policy", "expected", "required", "required_and_secure"),
    [
        (None, None, "opportunistic", "5.7.10", "verified"),
        (None, NONE, "opportunistic", "5.7.10", "verified"),
        (None, ENFORCE, "enforce", "enforce", "enforce"),
        (None, TESTING, "testing", "verified", "verified"),
        (None, ELSEWHERE, "4.7.5", "4.7.5", "4.7.5"),
        (None, WRONG_TEST, "opportunistic", "5.7.10", "verified"),
        (BOUND, None, "dane", "dane", "dane"),
        (BOUND, ENFORCE, "dane", "dane", "dane"),
        (BOUND, ELSEWHERE, "dane", "dane", "dane"),
        (UNBOUND, None, "encrypted", "5.7.10", "verified"),
        (UNBOUND, TESTING, "encrypted", "verified", "verified"),
        (UNBOUND, ENFORCE, "enforce", "enforce", "enforce"),
        (UNBOUND, ELSEWHERE, "4.7.5", "4.7.5", "4.7.5"),
        (SILENT, ENFORCE, "4.4.3", "4.4.3", "4.4.3"),
        (SILENT, None, "4.4.3", "4.4.3", "4.4.3"),
    ],
)
def test_decide(
    binding: Binding | Unknown | None,
    policy: Policy | None,
    expected: str,
    required: str,
    required_and_secure: str,
) -> None:
    found = [
        decide(NextHop("example.net", 25, secure, require), HOST, binding, policy)
        for secure, require in ((True, False), (False, False), (False, True), (True, True))
    ]
    assert [kind(one) for one in found] == [expected, expected, required, required_and_secure]
    for one in found[2:]:
        assert isinstance(one, Unusable) or one.require_tls


@pytest.mark.rfc("7672 section 3.2.2")
def test_reference_identifiers() -> None:
    binding = Binding("mx.hoster.net", BOUND.records, BOUND.usable)
    found = decide(NextHop("example.net", 25, True), HOST, binding, None)
    assert isinstance(found, Demand)
    assert found.names == ("mx.hoster.net", HOST, "example.net")


@pytest.mark.rfc("8460 section 4.3")
@pytest.mark.parametrize(
    ("binding", "policy", "expected"),
    [
        (SILENT, None, (PolicyType.TLSA, Result.DNSSEC_INVALID)),
        (UNBOUND, None, (PolicyType.TLSA, Result.TLSA_INVALID)),
        (None, ELSEWHERE, (PolicyType.STS, Result.VALIDATION_FAILURE)),
        (None, WRONG_TEST, (PolicyType.STS, Result.VALIDATION_FAILURE)),
        (None, ENFORCE, (PolicyType.STS, None)),
        (BOUND, ENFORCE, (PolicyType.TLSA, None)),
        (None, NONE, (PolicyType.NONE, None)),
    ],
)
def test_what_reports_call_it(
    binding: Binding | Unknown | None, policy: Policy | None, expected: object
) -> None:
    found = decide(NextHop("example.net", 25, True), HOST, binding, policy)
    result = found.result if isinstance(found, Unusable) else found.failed
    assert (found.policy.type, result) == expected


def test_nothing_less_will_do() -> None:
    mandatory = [wanted for wanted in Wanted if Demand(wanted).mandatory]
    assert mandatory == [Wanted.ENCRYPTED, Wanted.ENFORCE, Wanted.VERIFIED, Wanted.DANE]
