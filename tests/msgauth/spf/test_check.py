"""check_host: tables of records and clients, limits, and what is kept to explain it."""

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailstead.model.dns import Answer, Question, Status
from mailstead.msgauth.spf.check import (
    LOOKUP_LIMIT,
    NAMES_LIMIT,
    VOID_LIMIT,
    Verdict,
    check_helo,
    check_host,
    check_mail_from,
)
from mailstead.msgauth.spf.record import Spf

NOW = datetime(2026, 11, 22, tzinfo=UTC)
Zone = dict[tuple[str, str], str | tuple[str, ...] | Status]


def answer(zone: Zone, question: Question) -> Answer:
    found = zone.get((question.type, question.name))
    match found:
        case None:
            exists = any(name == question.name for _, name in zone)
            return Answer(Status.NOERROR if exists else Status.NXDOMAIN)
        case Status():
            return Answer(found)
        case str():
            return Answer(Status.NOERROR, (found,))
    return Answer(Status.NOERROR, found)


def run(lookup, zone: Zone) -> tuple[Verdict, list[Question]]:
    """The verdict, and what was asked."""
    asked = []
    try:
        question = next(lookup)
        while True:
            asked.append(question)
            question = lookup.send(answer(zone, question))
    except StopIteration as end:
        return end.value, asked


def check(client: str, record: str, zone: Zone | None = None, sender: str = "bob@example.com"):
    whole: Zone = {("TXT", "example.com"): record, **(zone or {})}
    return run(check_mail_from(client, sender, "mx.example.com", "mx.example.org"), whole)[0]


# The zones of RFC 7208 appendix A.
EXAMPLE: Zone = {
    ("MX", "example.com"): ("10 mail-a.example.com", "20 mail-b.example.com"),
    ("A", "example.com"): ("192.0.2.10", "192.0.2.11"),
    ("A", "amy.example.com"): "192.0.2.65",
    ("A", "bob.example.com"): "192.0.2.66",
    ("A", "mail-a.example.com"): "192.0.2.129",
    ("A", "mail-b.example.com"): "192.0.2.130",
    ("A", "www.example.com"): ("192.0.2.10", "192.0.2.11"),
    ("MX", "example.org"): "10 mail-c.example.org",
    ("A", "mail-c.example.org"): "192.0.2.140",
    ("PTR", "10.2.0.192.in-addr.arpa"): "example.com",
    ("PTR", "11.2.0.192.in-addr.arpa"): "example.com",
    ("PTR", "65.2.0.192.in-addr.arpa"): "amy.example.com",
    ("PTR", "66.2.0.192.in-addr.arpa"): "bob.example.com",
    ("PTR", "129.2.0.192.in-addr.arpa"): "mail-a.example.com",
    ("PTR", "130.2.0.192.in-addr.arpa"): "mail-b.example.com",
    ("PTR", "140.2.0.192.in-addr.arpa"): "mail-c.example.org",
    ("PTR", "4.0.0.10.in-addr.arpa"): "bob.example.com",
}
CLIENTS = [
    "192.0.2.10",
    "192.0.2.11",
    "192.0.2.65",
    "192.0.2.128",
    "192.0.2.129",
    "192.0.2.130",
    "192.0.2.131",
    "192.0.2.132",
    "192.0.2.140",
    "192.0.2.143",
    "10.0.0.4",
]


@pytest.mark.rfc("7208 section A.1")
@pytest.mark.parametrize(
    ("record", "passing"),
    [
        ("v=spf1 +all", CLIENTS),
        ("v=spf1 a -all", ["192.0.2.10", "192.0.2.11"]),
        ("v=spf1 a:example.org -all", []),
        ("v=spf1 mx -all", ["192.0.2.129", "192.0.2.130"]),
        ("v=spf1 mx:example.org -all", ["192.0.2.140"]),
        ("v=spf1 mx mx:example.org -all", ["192.0.2.129", "192.0.2.130", "192.0.2.140"]),
        (
            "v=spf1 mx/30 mx:example.org/30 -all",
            ["192.0.2.128", *CLIENTS[4:7], "192.0.2.140", "192.0.2.143"],
        ),
        (
            "v=spf1 ptr -all",
            ["192.0.2.10", "192.0.2.11", "192.0.2.65", "192.0.2.129", "192.0.2.130"],
        ),
        (
            "v=spf1 ip4:192.0.2.128/28 -all",
            [one for one in CLIENTS if 128 <= int(one.rpartition(".")[2]) < 144],
        ),
    ],
)
def test_simple_examples(record: str, passing: list[str]) -> None:
    verdicts = {client: check(client, record, EXAMPLE).result for client in CLIENTS}
    assert passing == [client for client, result in verdicts.items() if result is Spf.PASS]
    assert set(verdicts.values()) <= {Spf.PASS, Spf.FAIL}


@pytest.mark.rfc("7208 section A.2")
@pytest.mark.parametrize(
    ("client", "result", "domain", "mechanism"),
    [
        ("192.0.2.1", Spf.PASS, "example.org", "include:example.com"),
        ("198.51.100.1", Spf.PASS, "example.org", "include:example.net"),
        ("203.0.113.1", Spf.FAIL, "example.org", "-all"),
    ],
)
def test_several_domains(client: str, result: Spf, domain: str, mechanism: str) -> None:
    zone: Zone = {
        ("TXT", "la.example.org"): "v=spf1 redirect=example.org",
        ("TXT", "example.org"): "v=spf1 include:example.com include:example.net -all",
        ("TXT", "example.com"): "v=spf1 ip4:192.0.2.0/24 -all",
        ("TXT", "example.net"): "v=spf1 ip4:198.51.100.0/24 -all",
    }
    verdict, _ = run(check_mail_from(client, "bob@la.example.org", "x.example"), zone)
    assert verdict == Verdict(result, "la.example.org", domain, mechanism, verdict.lookups)


@pytest.mark.rfc("7208 section A.3")
@pytest.mark.parametrize(
    ("sender", "client", "expected"),
    [
        ("mary@example.com", "203.0.113.1", Spf.PASS),
        ("fred+list@example.com", "203.0.113.1", Spf.PASS),
        ("joel@example.com", "192.168.15.15", Spf.PASS),
        ("joel@example.com", "192.168.15.17", Spf.FAIL),
        ("eve@example.com", "192.168.15.15", Spf.FAIL),
    ],
)
def test_users_in_the_dns(sender: str, client: str, expected: Spf) -> None:
    record = "v=spf1 include:mobile-users._spf.%{d} include:remote-users._spf.%{d} -all"
    zone: Zone = {
        ("TXT", "mobile-users._spf.example.com"): "v=spf1 exists:%{l1r+}.%{d}",
        ("TXT", "remote-users._spf.example.com"): "v=spf1 exists:%{ir}.%{l1r+}.%{d}",
        ("A", "mary.mobile-users._spf.example.com"): "127.0.0.2",
        ("A", "fred.mobile-users._spf.example.com"): "127.0.0.2",
        ("A", "15.15.168.192.joel.remote-users._spf.example.com"): "127.0.0.2",
    }
    assert expected == check(client, record, zone, sender).result


@pytest.mark.rfc("7208 section A.4")
@pytest.mark.parametrize(
    ("client", "expected"),
    [("192.0.2.65", Spf.PASS), ("192.0.2.140", Spf.FAIL), ("10.0.0.4", Spf.FAIL)],
)
def test_several_requirements(client: str, expected: Spf) -> None:
    record = "v=spf1 -include:ip4._spf.%{d} -include:ptr._spf.%{d} +all"
    zone: Zone = {
        **EXAMPLE,
        ("TXT", "ip4._spf.example.com"): "v=spf1 -ip4:192.0.2.0/24 +all",
        ("TXT", "ptr._spf.example.com"): "v=spf1 -ptr:example.com +all",
    }
    assert expected == check(client, record, zone).result


HERE: Zone = {("A", "x.example"): "198.51.100.9", ("MX", "x.example"): "10 x.example"}


@pytest.mark.rfc("7208 section 4.6.4")
@pytest.mark.parametrize(
    ("record", "zone", "expected"),
    [
        ("v=spf1 " + "a:x.example " * LOOKUP_LIMIT + "-all", HERE, Spf.FAIL),
        ("v=spf1 " + "a:x.example " * (LOOKUP_LIMIT + 1) + "-all", HERE, Spf.PERMERROR),
        ("v=spf1 " + "mx:x.example " * (LOOKUP_LIMIT + 1) + "-all", HERE, Spf.PERMERROR),
        ("v=spf1 " + "exists:x.example " * (LOOKUP_LIMIT + 1) + "-all", HERE, Spf.PASS),
        ("v=spf1 " + "ptr:x.example " * (LOOKUP_LIMIT + 1) + "-all", HERE, Spf.PERMERROR),
        ("v=spf1 redirect=example.com", HERE, Spf.PERMERROR),
        ("v=spf1 include:example.com", HERE, Spf.PERMERROR),
        # What asks nothing is not counted.
        ("v=spf1 " + "ip4:198.51.100.1 ip6:2001:db8::1 " * 50 + "-all", HERE, Spf.FAIL),
        # What is not there.
        ("v=spf1 " + "a:no.example " * VOID_LIMIT + "-all", {}, Spf.FAIL),
        ("v=spf1 " + "a:no.example " * (VOID_LIMIT + 1) + "-all", {}, Spf.PERMERROR),
        ("v=spf1 mx:no.example exists:no.example a:no.example -all", {}, Spf.PERMERROR),
        ("v=spf1 mx:many.example -all", {}, Spf.PERMERROR),
        ("v=spf1 mx:ten.example -all", {}, Spf.FAIL),
    ],
)
def test_limits(record: str, zone: Zone, expected: Spf) -> None:
    hosts = tuple(f"{n} x.example" for n in range(NAMES_LIMIT + 1))
    more: Zone = {("MX", "many.example"): hosts, ("MX", "ten.example"): hosts[:-1], **HERE}
    verdict = check("192.0.2.1", record, {**more, **zone})
    assert expected == verdict.result
    assert bool(verdict.problem) == (expected is Spf.PERMERROR)


@pytest.mark.rfc("7208 section 4.6.4")
def test_a_client_with_many_names_costs_ten_questions() -> None:
    names = tuple(f"{n}.example.com" for n in range(100))
    zone: Zone = {
        ("TXT", "example.com"): "v=spf1 ptr ptr exists:%{p}.example.net -all",
        ("PTR", "1.2.0.192.in-addr.arpa"): names,
    }
    verdict, asked = run(check_mail_from("192.0.2.1", "bob@example.com", "x.example"), zone)
    assert verdict.result is Spf.FAIL
    assert [question for question in asked if question.type == "PTR"] == [
        Question("PTR", "1.2.0.192.in-addr.arpa")
    ]
    forward = [question.name for question in asked if question.name in names]
    assert forward == list(names[:NAMES_LIMIT])


@pytest.mark.rfc("7208 section 5.5")
@pytest.mark.parametrize(
    ("record", "zone", "expected"),
    [
        ("v=spf1 ptr -all", {("A", "mx.example.com"): "192.0.2.1"}, Spf.PASS),
        ("v=spf1 ptr -all", {("A", "mx.example.com"): "192.0.2.2"}, Spf.FAIL),  # a lie
        ("v=spf1 ptr:le.com -all", {("A", "mx.example.com"): "192.0.2.1"}, Spf.FAIL),
        ("v=spf1 ptr -all", {("A", "mx.example.com"): Status.SERVFAIL}, Spf.FAIL),
        ("v=spf1 ptr -all", {("PTR", "1.2.0.192.in-addr.arpa"): Status.TIMEOUT}, Spf.FAIL),
    ],
)
def test_names_of_the_client(record: str, zone: Zone, expected: Spf) -> None:
    pointer: Zone = {("PTR", "1.2.0.192.in-addr.arpa"): "MX.Example.com."}
    assert expected == check("192.0.2.1", record, {**pointer, **zone}).result


@pytest.mark.rfc("7208 section 5")
@pytest.mark.parametrize(
    ("client", "record", "expected"),
    [
        ("::ffff:192.0.2.1", "v=spf1 ip4:192.0.2.0/24 -all", Spf.PASS),  # IPv4-mapped
        ("::ffff:192.0.2.1", "v=spf1 ip6:::ffff:0:0/96 -all", Spf.FAIL),
        ("2001:db8::1", "v=spf1 ip6:2001:DB8::/32 -all", Spf.PASS),
        ("2001:db8::1", "v=spf1 ip4:0.0.0.0/0 -all", Spf.FAIL),
        ("2001:db8::1", "v=spf1 a:six.example//64 -all", Spf.PASS),
        ("2001:db8::1", "v=spf1 a:six.example/0 -all", Spf.FAIL),
        ("192.0.2.1", "v=spf1 a:six.example/24//128 -all", Spf.PASS),
        ("fe80::1%eth0", "v=spf1 ip6:fe80::/10 -all", Spf.PASS),
    ],
)
def test_both_kinds_of_addresses(client: str, record: str, expected: Spf) -> None:
    zone: Zone = {("A", "six.example"): "192.0.2.200", ("AAAA", "six.example"): "2001:db8::ff"}
    assert expected == check(client, record, zone).result


@pytest.mark.rfc("7208 section 5.2")
@pytest.mark.parametrize(
    ("included", "expected"),
    [
        ("v=spf1 +all", Spf.PASS),
        ("v=spf1 -all", Spf.SOFTFAIL),
        ("v=spf1 ~all", Spf.SOFTFAIL),
        ("v=spf1 ?all", Spf.SOFTFAIL),
        (Status.SERVFAIL, Spf.TEMPERROR),
        ("v=spf1 foo", Spf.PERMERROR),
        ("no record", Spf.PERMERROR),
        (("v=spf1 +all", "v=spf1 -all"), Spf.PERMERROR),
    ],
)
def test_include(included: str, expected: Spf) -> None:
    record = "v=spf1 include:_spf.example.net ~all"
    assert expected == check("192.0.2.1", record, {("TXT", "_spf.example.net"): included}).result


@pytest.mark.rfc("7208 section 6.1")
@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ("v=spf1 redirect=_spf.example.net", Spf.FAIL),
        ("v=spf1 redirect=_spf.example.net ?all", Spf.NEUTRAL),  # ignored beside "all"
        ("v=spf1 redirect=no.example.net", Spf.PERMERROR),
        ("v=spf1 redirect=%{h}", Spf.PERMERROR),
        ("v=spf1 redirect=a..b.example", Spf.PERMERROR),
        ("v=spf1 redirect=_spf.example.net redirect=_spf.example.net", Spf.PERMERROR),
    ],
)
def test_redirect(record: str, expected: Spf) -> None:
    assert (
        expected == check("192.0.2.1", record, {("TXT", "_spf.example.net"): "v=spf1 -all"}).result
    )


@pytest.mark.rfc("7208 section 7.3")
@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("x.example.net", "b.example.com", "example.com"), "example.com"),
        (("x.example.net", "b.example.com"), "b.example.com"),
        (("x.example.net", "badexample.com"), "x.example.net"),
        (("lie.example.com", "x.example.net"), "x.example.net"),
        (("lie.example.com",), "unknown"),
        ((), "unknown"),
    ],
)
def test_the_validated_name(names: tuple[str, ...], expected: str) -> None:
    zone: Zone = {("A", name): "192.0.2.1" for name in names if name != "lie.example.com"}
    zone[("PTR", "1.2.0.192.in-addr.arpa")] = names
    zone[("A", f"{expected}.is.example")] = "127.0.0.2"
    assert check("192.0.2.1", "v=spf1 exists:%{p}.is.example -all", zone).result is Spf.PASS


@pytest.mark.rfc("7208 section 4.6.4")
def test_the_name_of_the_client_is_one_more_look_up() -> None:
    zone: Zone = {("A", "unknown.is.example"): "127.0.0.2"}
    record = "v=spf1 ~exists:%{p}.is.example"
    assert check("192.0.2.1", record, zone).lookups == 2


@pytest.mark.rfc("7208 section 4.6.4")
def test_mx_hosts_without_an_address_of_the_clients_kind_are_no_void_look_ups() -> None:
    zone: Zone = {("MX", "example.com"): tuple(f"{n} mx{n}.example.com" for n in range(5))}
    zone |= {("A", f"mx{n}.example.com"): "192.0.2.1" for n in range(5)}
    assert check("2001:db8::1", "v=spf1 mx ~all", zone).result is Spf.SOFTFAIL


EXPLAINED = "v=spf1 -all exp=why.%{d}"


@pytest.mark.rfc("7208 section 6.2")
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Only our own servers.", "Only our own servers."),
        ("%{i} is not one of %{d}'s", "192.0.2.1 is not one of example.com's"),
        (
            "See http://%{d}/why.html?s=%{S}&i=%{I}",
            "See http://example.com/why.html?s=bob%40example.com&i=192.0.2.1",
        ),
        ("%{c} %{r} %{t} %{h}", "192.0.2.1 mx.example.org 1795305600 mx.example.net"),
        ("100%", ""),
        ("%{z}", ""),
        ("caf\u00e9", ""),
        (("one", "two"), ""),
        (Status.SERVFAIL, ""),
        ("x" * 1000, "x" * 400),
    ],
)
def test_explanation(text: str, expected: str) -> None:
    zone: Zone = {("TXT", "example.com"): EXPLAINED, ("TXT", "why.example.com"): text}
    lookup = check_mail_from(
        "192.0.2.1", "bob@example.com", "mx.example.net", "mx.example.org", NOW
    )
    assert expected == run(lookup, zone)[0].explanation


@pytest.mark.rfc("7208 section 6.2")
@pytest.mark.parametrize(
    ("zone", "expected"),
    [
        ({("TXT", "example.com"): "v=spf1 include:b.example -all"}, ""),  # not the included one's
        ({("TXT", "example.com"): "v=spf1 redirect=b.example exp=a.example"}, "that of b.example"),
        ({("TXT", "example.com"): "v=spf1 ~all exp=a.example"}, ""),
        ({("TXT", "example.com"): "v=spf1 -all exp=a.example"}, "that of example.com"),
    ],
)
def test_whose_explanation(zone: Zone, expected: str) -> None:
    both: Zone = {
        ("TXT", "b.example"): "v=spf1 -all exp=a.example",
        ("TXT", "a.example"): "that of %{d}",
    }
    lookup = check_mail_from("192.0.2.1", "bob@example.com", "mx.example.com", "", NOW)
    assert expected == run(lookup, {**both, **zone})[0].explanation


def test_no_explanation_is_fetched_unasked() -> None:
    lookup = check_mail_from("192.0.2.1", "bob@example.com", "mx.example.com")
    _, asked = run(lookup, {("TXT", "example.com"): EXPLAINED})
    assert asked == [Question("TXT", "example.com")]


@pytest.mark.rfc("7208 section 4.3")
@pytest.mark.parametrize(
    ("domain", "asked"),
    [
        ("EXAMPLE.com.", "example.com"),
        ("b\u00fccher.example", "xn--bcher-kva.example"),
        ("_x.example", "_x.example"),
        ("localhost", None),
        ("a..example", None),
        (".example.com", None),
        ("[192.0.2.1]", None),
        ("a b.example", None),
        ("a" * 64 + ".example", None),
        (".".join(["a" * 60] * 5), None),
        ("", None),
        ("\u00ff..example", None),
        ("\udc80.example", None),
    ],
)
def test_domains(domain: str, asked: str | None) -> None:
    verdict, questions = run(check_host("192.0.2.1", domain, f"bob@{domain}", "x.example"), {})
    assert verdict.result is Spf.NONE
    assert [Question("TXT", asked)] * bool(asked) == questions


@pytest.mark.rfc("7208 section 2.3")
def test_helo_identity() -> None:
    zone: Zone = {("TXT", "mx.example.com"): "v=spf1 exists:%{l}.%{o} -all"}
    zone[("A", "postmaster.mx.example.com")] = "127.0.0.2"
    verdict, _ = run(check_helo("192.0.2.1", "mx.example.com"), zone)
    assert verdict.result is Spf.PASS


@pytest.mark.rfc("7208 section 2.4")
def test_null_reverse_path() -> None:
    zone: Zone = {("TXT", "mx.example.com"): "v=spf1 exists:%{l}.%{o} -all"}
    zone[("A", "postmaster.mx.example.com")] = "127.0.0.2"
    verdict, _ = run(check_mail_from("192.0.2.1", "", "mx.example.com"), zone)
    assert verdict == Verdict(
        Spf.PASS, "mx.example.com", "mx.example.com", "exists:%{l}.%{o}", lookups=1
    )


@pytest.mark.rfc("8616 section 4")
@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ("v=spf1 exists:%{l}.x.example -all", Spf.FAIL),
        ("v=spf1 include:%{s}.x.example -all", Spf.FAIL),
        ("v=spf1 exists:%{o}.x.example -all", Spf.PASS),
        ("v=spf1 exists:%{d}.x.example -all", Spf.PASS),
    ],
)
def test_internationalized_senders(record: str, expected: Spf) -> None:
    zone: Zone = {
        ("TXT", "xn--bcher-kva.example"): record,
        ("A", "xn--bcher-kva.example.x.example"): "127.0.0.2",
    }
    sender = "\u00e9va@b\u00fccher.example"
    assert expected == run(check_mail_from("192.0.2.1", sender, "x.example"), zone)[0].result


@pytest.mark.rfc("7208 section 4.6")
@pytest.mark.parametrize(
    ("zone", "expected"),
    [
        (
            {("TXT", "example.com"): "v=spf1 +all foo:bar"},
            ("permerror", "example.com", "", "'foo:bar' is no mechanism"),
        ),
        (
            {("TXT", "example.com"): "v=spf1 include:b.example -all", ("TXT", "b.example"): "x"},
            (
                "permerror",
                "example.com",
                "include:b.example",
                "include:b.example leads to b.example, which has no record",
            ),
        ),
        (
            {("TXT", "example.com"): "v=spf1 mx", ("MX", "example.com"): Status.SERVFAIL},
            ("temperror", "example.com", "mx", "no answer for MX example.com"),
        ),
        ({("TXT", "example.com"): "v=spf1"}, ("neutral", "example.com", "default", "")),
        ({("TXT", "example.com"): "x"}, ("none", "example.com", "", "there is no record")),
        (
            {("TXT", "example.com"): ("v=spf1 -all", "V=SPF1 +all")},
            ("permerror", "example.com", "", "example.com has 2 records"),
        ),
    ],
)
def test_what_decided(zone: Zone, expected: tuple[str, str, str, str]) -> None:
    verdict, _ = run(check_mail_from("192.0.2.1", "bob@example.com", "x.example"), zone)
    assert expected == (verdict.result, verdict.domain, verdict.mechanism, verdict.problem)


TERMS = st.sampled_from(
    [
        "all", "-all", "a", "mx", "ptr", "a:%{h}", "include:%{d}", "exists:%{ir}.%{l1r-}.%{d2}",
        "exp=%{p}.%{d}", "redirect=%{o}", "ip4:192.0.2.0/24", "mx:%{S}.example//64", "x=%{t}",
        "ptr:%{p}", "exists:%{p}.%{p}.example", "include:b.example", "%", "a:..", "-include:%{s}",
    ]
)  # fmt: skip
RECORDS = st.one_of(st.text(), st.lists(TERMS, max_size=15).map(lambda all: " ".join(all)))
ANSWERS = st.builds(
    Answer,
    st.sampled_from(list(Status)),
    st.lists(RECORDS.map(lambda text: "v=spf1 " + text), max_size=2).map(tuple),
)


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(["192.0.2.1", "2001:db8::1", "::ffff:192.0.2.1"]),
    st.text(max_size=80),
    st.text(max_size=80),
    st.lists(ANSWERS, min_size=1, max_size=5),
)
def test_a_hostile_dns_ends_in_a_verdict(
    client: str, sender: str, helo: str, answers: list[Answer]
) -> None:
    lookup = check_mail_from(client, f"{sender}@example.com", helo, "mx.example.org", NOW)
    asked = 0
    try:
        question = next(lookup)
        while True:
            given_answer = answers[asked % len(answers)]
            if question.type in ("A", "AAAA"):
                given_answer = Answer(given_answer.status, ("192.0.2.7", "2001:db8::7"))
            elif question.type == "MX":
                given_answer = Answer(given_answer.status, ("1 mx.example", "2 .", "3 a..b"))
            assert question.name == question.name.lower()
            assert len(question.name) <= 253
            asked += 1
            question = lookup.send(given_answer)
    except StopIteration as end:
        verdict = end.value
    assert verdict.lookups <= LOOKUP_LIMIT + 1
    assert asked <= (LOOKUP_LIMIT + 1) * (NAMES_LIMIT + 1) + 3
    assert verdict.explanation.isascii()
