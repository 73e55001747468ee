"""Where mail goes: a table of zones and what follows from them."""

from collections.abc import Sequence

import pytest

from mailstead.model.address import Domain
from mailstead.model.dns import Answer, Question, Status
from mailstead.model.reply import Reply
from mailstead.model.world import Endpoint
from mailstead.services.outbound import route
from mailstead.services.outbound.route import (
    Hosts,
    MxHost,
    Security,
    Smarthost,
    Way,
    choose_way,
    find_hosts,
    parse_route,
)
from mailstead.services.outbound.targets import Targets, parse_networks
from mailstead.testing.clock import SeededRandom

MX = Way("mx")
TARGETS = Targets(own=frozenset({"203.0.113.25", "2001:db8::25"}))
Zone = dict[tuple[str, str], Sequence[str] | Status]


def find(domain: str, zone: Zone, way: Way = MX, targets: Targets = TARGETS, seed: int = 1):
    """The hosts, the DNS being that zone; and what was asked."""
    lookup = find_hosts(Domain(domain), way, "mx.example.org", targets, SeededRandom(seed))
    asked: list[Question] = []
    try:
        question = next(lookup)
        while True:
            asked.append(question)
            question = lookup.send(reply_to(question, zone))
    except StopIteration as end:
        return end.value, asked


def reply_to(question: Question, zone: Zone) -> Answer:
    found = zone.get((question.type, question.name))
    if isinstance(found, Status):
        return Answer(found)
    if found is not None:
        return Answer(Status.NOERROR, tuple(found))
    known = any(name == question.name for _, name in zone)
    return Answer(Status.NOERROR if known else Status.NXDOMAIN)


def hosts(*found: tuple[str, Sequence[str], int], kind: str = "mx") -> Hosts:
    return Hosts(tuple(MxHost(n, tuple(a), p) for n, a, p in found), 25, kind)


NET = "example.net"
A, B, C = ("A", "a.example.net"), ("A", "b.example.net"), ("A", "c.example.net")


@pytest.mark.rfc("5321 section 5.1")
@pytest.mark.parametrize(
    ("zone", "expected"),
    [
        (
            {
                ("MX", NET): ["20 b.example.net", "10 a.example.net"],
                A: ["192.0.2.1"],
                B: ["192.0.2.2"],
            },
            hosts(("a.example.net", ["192.0.2.1"], 10), ("b.example.net", ["192.0.2.2"], 20)),
        ),
        # "If an empty list of MXs is returned, the address is treated as if it was an implicit MX"
        ({("A", NET): ["192.0.2.1"]}, hosts((NET, ["192.0.2.1"], 0), kind="implicit mx")),
        ({("AAAA", NET): ["2001:db8::1"]}, hosts((NET, ["2001:db8::1"], 0), kind="implicit mx")),
        # Both address families, in turn.
        (
            {
                ("MX", NET): ["10 a.example.net"],
                A: ["192.0.2.1", "192.0.2.2"],
                ("AAAA", "a.example.net"): ["2001:db8::1"],
            },
            hosts(("a.example.net", ["2001:db8::1", "192.0.2.1", "192.0.2.2"], 10)),
        ),
        # "If MX records are present, but none of them are usable": an error, no implicit MX.
        ({("MX", NET): ["10 a.example.net"], ("A", NET): ["192.0.2.1"]}, route.NO_ADDRESS),
        ({("TXT", NET): ["v=spf1 -all"]}, route.NO_ADDRESS),
        ({}, route.NO_SUCH_DOMAIN),
        # An MX host that does not exist costs nobody else.
        (
            {("MX", NET): ["10 x.example.net", "20 b.example.net"], B: ["192.0.2.2"]},
            hosts(("b.example.net", ["192.0.2.2"], 20)),
        ),
    ],
)
def test_finds_the_hosts_of_a_domain(zone: Zone, expected: Hosts | Reply) -> None:
    assert expected == find(NET, zone)[0]


@pytest.mark.rfc("7505 section 3")
@pytest.mark.parametrize(
    ("records", "expected"),
    [
        (["0 ."], route.NULL_MX),
        # "A domain that advertises a null MX MUST NOT advertise any other MX": it is no null MX.
        (["0 .", "10 a.example.net"], hosts(("a.example.net", ["192.0.2.1"], 10))),
    ],
)
def test_a_null_mx_takes_no_mail(records: list[str], expected: Hosts | Reply) -> None:
    zone: Zone = {("MX", NET): records, A: ["192.0.2.1"], ("A", NET): ["192.0.2.9"]}
    assert expected == find(NET, zone)[0]


@pytest.mark.parametrize(
    "zone",
    [
        {("MX", NET): Status.SERVFAIL},
        {("MX", NET): Status.TIMEOUT},
        {("MX", NET): ["10 a.example.net"], A: Status.SERVFAIL},
        {("MX", NET): ["10 a.example.net"], A: [], ("AAAA", "a.example.net"): Status.TIMEOUT},
        # The better host cannot be looked up now and the other is ourselves: no loop yet.
        {
            ("MX", NET): ["10 a.example.net", "20 mx.example.org"],
            A: Status.SERVFAIL,
        },
    ],
)
def test_a_failing_dns_is_temporary(zone: Zone) -> None:
    found, _ = find(NET, zone)
    assert (found.code, found.enhanced) == (451, "4.4.3")


def test_a_failing_host_is_passed_over() -> None:
    zone: Zone = {
        ("MX", NET): ["10 a.example.net", "20 b.example.net"],
        A: Status.SERVFAIL,
        B: ["192.0.2.2"],
    }
    assert hosts(("b.example.net", ["192.0.2.2"], 20)) == find(NET, zone)[0]


@pytest.mark.rfc("5321 section 5.1")
@pytest.mark.parametrize(
    ("records", "expected"),
    [
        (["10 a.example.net", "20 mx.example.org", "30 b.example.net"], ["a.example.net"]),
        (["10 a.example.net", "20 b.example.net", "20 mx.example.org"], ["a.example.net"]),
        # By address: c.example.net is another name of ours.
        (["10 a.example.net", "20 c.example.net", "20 b.example.net"], ["a.example.net"]),
        (["10 MX.Example.ORG", "20 a.example.net"], route.LOOP),
        (["10 c.example.net"], route.LOOP),
    ],
)
def test_never_sends_to_itself_or_to_worse_hosts(
    records: list[str], expected: list[str] | Reply
) -> None:
    zone: Zone = {
        ("MX", NET): records,
        A: ["192.0.2.1"],
        B: ["192.0.2.2"],
        C: ["203.0.113.25"],
        ("A", "mx.example.org"): ["203.0.113.25"],
    }
    found, _ = find(NET, zone)
    if isinstance(found, Hosts):
        assert expected == [host.name for host in found.hosts]
    else:
        assert expected == found


FORBIDDEN = [
    "127.0.0.1",
    "0.0.0.0",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "224.0.0.1",
    "255.255.255.255",
    "::1",
    "::",
    "fd00::1",
    "fe80::1",
    "ff02::1",
    "::ffff:192.0.2.1",
    "::ffff:7f00:1",
    "64:ff9b::7f00:1",
    "64:ff9b:1::1",
    "2002:7f00:1::1",
]


@pytest.mark.parametrize("address", FORBIDDEN)
def test_special_addresses_are_no_targets(address: str) -> None:
    kind = "AAAA" if ":" in address else "A"
    zone: Zone = {("MX", NET): ["10 a.example.net"], (kind, "a.example.net"): [address]}
    found, _ = find(NET, zone)
    assert found == route.FORBIDDEN


@pytest.mark.parametrize("address", ["192.0.2.1", "198.51.100.7", "203.0.113.9", "8.8.8.8"])
def test_documentation_addresses_are_ordinary(address: str) -> None:
    zone: Zone = {("MX", NET): ["10 a.example.net"], A: [address]}
    assert hosts(("a.example.net", [address], 10)) == find(NET, zone)[0]


def test_a_host_with_special_addresses_only_is_passed_over() -> None:
    zone: Zone = {
        ("MX", NET): ["10 a.example.net", "20 b.example.net"],
        A: ["127.0.0.1"],
        B: ["10.0.0.1", "192.0.2.2"],
    }
    assert hosts(("b.example.net", ["192.0.2.2"], 20)) == find(NET, zone)[0]


def test_allowed_targets_are_allowed() -> None:
    targets = Targets(parse_networks(("127.0.0.0/8",)))
    zone: Zone = {("MX", NET): ["10 a.example.net"], A: ["127.0.0.2", "10.0.0.1"]}
    expected = hosts(("a.example.net", ["127.0.0.2"], 10))
    assert expected == find(NET, zone, targets=targets)[0]


@pytest.mark.rfc("5321 section 4.1.3")
@pytest.mark.parametrize(
    ("domain", "expected"),
    [
        ("[192.0.2.1]", route.LITERAL),
        ("[127.0.0.1]", route.LITERAL),
        ("[IPv6:2001:db8::1]", route.LITERAL),
        ("[not-an-address]", route.LITERAL),
        ("[10.0.0.1]", hosts(("[10.0.0.1]", ["10.0.0.1"], -1), kind="literal")),
        ("[IPv6:fd00::1]", hosts(("[IPv6:fd00::1]", ["fd00::1"], -1), kind="literal")),
    ],
)
def test_address_literals_only_where_allowed(domain: str, expected: Hosts | Reply) -> None:
    targets = Targets(parse_networks(("10.0.0.0/8", "fd00::/8")))
    assert (expected, []) == find(domain, {}, targets=targets)


def test_equal_hosts_share_the_load() -> None:
    zone: Zone = {
        ("MX", NET): ["10 a.example.net", "10 b.example.net", "20 c.example.net"],
        A: ["192.0.2.1"],
        B: ["192.0.2.2"],
        C: ["192.0.2.3"],
    }
    orders = [tuple(host.name[0] for host in find(NET, zone, seed=s)[0].hosts) for s in range(100)]
    assert {("a", "b", "c"), ("b", "a", "c")} == set(orders)
    assert 30 <= orders.count(("a", "b", "c")) <= 70


def test_looks_no_further_than_needed() -> None:
    many = [f"192.0.2.{n}" for n in range(1, 7)]
    zone: Zone = {("MX", NET): ["10 a.example.net", "20 b.example.net"], A: many, B: ["192.0.2.9"]}
    assert Question("A", "b.example.net") not in find(NET, zone)[1]


def test_a_route_needs_no_mx_and_may_be_anywhere() -> None:
    way = Way("route", Endpoint("127.0.0.1", 2599))
    expected = Hosts((MxHost("127.0.0.1", ("127.0.0.1",)),), 2599, "route")
    assert (expected, []) == find(NET, {}, way)
    way = Way("smarthost", Endpoint("relay.test", 587))
    expected = Hosts((MxHost("relay.test", ("10.0.0.1",)),), 587, "smarthost")
    assert expected == find(NET, {("A", "relay.test"): ["10.0.0.1"]}, way)[0]
    assert find(NET, {}, way)[0].code == 451


ROUTES = {
    "example.net": Endpoint("exact.test", 25),
    "*.example.net": Endpoint("wild.test", 25),
    "*.b.example.net": Endpoint("nearer.test", 25),
}


@pytest.mark.parametrize(
    ("domain", "reroute", "expected"),
    [
        ("example.net", "", "exact.test"),
        ("a.example.net", "", "wild.test"),
        ("a.b.example.net", "", "nearer.test"),
        ("b.example.net", "", "wild.test"),
        ("notexample.net", "", "relay.test"),
        ("example.net", "other.test:2525", "other.test"),
    ],
)
def test_chooses_the_nearest_route(domain: str, reroute: str, expected: str) -> None:
    smarthost = Smarthost(Endpoint("relay.test", 465), Security.IMPLICIT, "us", "secret")
    way = choose_way(Domain(domain), reroute, ROUTES, smarthost)
    assert way.endpoint is not None
    assert expected == way.endpoint.address
    assert (way.login == "us") == (expected == "relay.test")


def test_a_star_takes_what_no_other_route_takes() -> None:
    everything = {**ROUTES, "*": Endpoint("all.test", 25)}
    assert Way("route", Endpoint("all.test", 25)) == choose_way(
        Domain("x.test"), "", everything, None
    )
    assert Way("mx") == choose_way(Domain("x.test"), "", ROUTES, None)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mx.test:25", Endpoint("mx.test", 25)),
        ("[2001:db8::1]:2525", Endpoint("2001:db8::1", 2525)),
        ("192.0.2.1:25", Endpoint("192.0.2.1", 25)),
    ],
)
def test_reads_routes(text: str, expected: Endpoint) -> None:
    assert expected == parse_route(text)


@pytest.mark.parametrize(
    "text", ["mx.test", "mx.test:0", "mx.test:70000", "a b:25", "", ":25", "\n"]
)
def test_refuses_what_is_no_route(text: str) -> None:
    with pytest.raises(ValueError, match="host:port"):
        parse_route(text)
