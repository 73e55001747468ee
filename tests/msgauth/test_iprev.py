"""iprev: tables of what a client's address is called, and whether that leads back."""

import pytest

from mailstead.model.dns import Answer, Question, Status
from mailstead.msgauth.iprev import NAMES_LIMIT, Iprev, Verdict, check

POINTER = ("PTR", "1.2.0.192.in-addr.arpa")
SIX = ("PTR", "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa")
HOST = ("A", "mx.example.com")
OTHER = ("A", "other.example.com")
FAILED = Answer(Status.SERVFAIL)


def found(*records: str) -> Answer:
    return Answer(Status.NOERROR, records)


def run(client: str, zone: dict[tuple[str, str], Answer]) -> tuple[Verdict, list[Question]]:
    lookup, asked = check(client), []
    try:
        question = next(lookup)
        while True:
            asked.append(question)
            nothing = Answer(Status.NXDOMAIN)
            question = lookup.send(zone.get((question.type, question.name), nothing))
    except StopIteration as end:
        return end.value, asked


@pytest.mark.rfc("8601 section 2.7.3")
@pytest.mark.parametrize(
    ("zone", "result", "name"),
    [
        ({POINTER: found("mx.example.com"), HOST: found("192.0.2.1")}, Iprev.PASS, HOST[1]),
        ({POINTER: found("MX.Example.com."), HOST: found("192.0.2.1")}, Iprev.PASS, HOST[1]),
        (
            {POINTER: found(HOST[1], OTHER[1]), OTHER: found("192.0.2.9", "192.0.2.1")},
            Iprev.PASS,
            OTHER[1],
        ),
        ({POINTER: found(HOST[1], OTHER[1]), HOST: FAILED, OTHER: found("192.0.2.1")}, "pass", 0),
        ({POINTER: found("mx.example.com"), HOST: found("192.0.2.2")}, Iprev.FAIL, HOST[1]),
        ({POINTER: found("mx.example.com"), HOST: found()}, Iprev.FAIL, HOST[1]),
        ({POINTER: found("mx.example.com")}, Iprev.FAIL, HOST[1]),
        ({POINTER: found("mx.example.com"), HOST: FAILED}, Iprev.TEMPERROR, HOST[1]),
        ({POINTER: FAILED}, Iprev.TEMPERROR, ""),
        ({POINTER: found()}, Iprev.PERMERROR, ""),
        ({}, Iprev.PERMERROR, ""),
        ({POINTER: found("", ".")}, Iprev.PERMERROR, ""),
    ],
)
def test_results(zone: dict, result: Iprev, name: str) -> None:
    verdict, _ = run("192.0.2.1", zone)
    assert (result, name or verdict.name, "192.0.2.1") == (
        verdict.result,
        verdict.name,
        verdict.address,
    )
    assert bool(verdict.problem) == (result != Iprev.PASS)


@pytest.mark.rfc("8601 section 3")
@pytest.mark.parametrize("client", ["192.0.2.1", "::ffff:192.0.2.1"])
def test_an_ipv4_client_is_asked_for_by_its_ipv4_address(client: str) -> None:
    verdict, asked = run(client, {POINTER: found(HOST[1]), HOST: found("192.0.2.1")})
    assert verdict == Verdict(Iprev.PASS, "192.0.2.1", HOST[1])
    assert asked == [Question(*POINTER), Question(*HOST)]


@pytest.mark.rfc("8601 section 3")
def test_an_ipv6_client() -> None:
    zone = {SIX: found(HOST[1]), ("AAAA", HOST[1]): found("2001:db8:0::1")}
    assert run("2001:db8::1", zone)[0] == Verdict(Iprev.PASS, "2001:db8::1", HOST[1])


@pytest.mark.rfc("8601 section 3")
def test_a_client_with_many_names_costs_ten_questions() -> None:
    names = [f"{number}.example.com" for number in range(100)]
    verdict, asked = run("192.0.2.1", {POINTER: found(*names)})
    assert verdict.result is Iprev.FAIL
    assert [question.name for question in asked[1:]] == names[:NAMES_LIMIT]
