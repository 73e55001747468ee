"""DMARC: tables of records and identifiers; the examples of the RFC."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailstead.model.dns import Answer, Question, Status
from mailstead.msgauth.dmarc.check import (
    AUTHORS_LIMIT,
    IDENTIFIERS_LIMIT,
    QUERIES_LIMIT,
    Dmarc,
    Identifier,
    Method,
    Verdict,
    check_authors,
    names_to_ask,
)
from mailstead.msgauth.dmarc.record import Mode, Policy

Zone = dict[str, str | tuple[str, ...] | Status]
REJECT = "v=DMARC1; p=reject"


def spf(domain: str, result: str = "pass") -> Identifier:
    return Identifier(Method.SPF, domain, result)


def dkim(domain: str, result: str = "pass") -> Identifier:
    return Identifier(Method.DKIM, domain, result)


def answer(zone: Zone, question: Question) -> Answer:
    """`zone` has the texts of _dmarc.NAME; a "NAME" in `exists` has addresses, or a Status."""
    prefix = "_dmarc." if question.type == "TXT" else ""
    found = zone.get(question.name if not prefix else question.name.removeprefix(prefix))
    if question.type == "A":
        found = zone.get(f"A {question.name}")
    match found:
        case None:
            return Answer(Status.NXDOMAIN)
        case Status():
            return Answer(found)
        case str():
            return Answer(Status.NOERROR, (found,))
    return Answer(Status.NOERROR, found)


def run(
    zone: Zone, authors: str | list[str], *identifiers: Identifier
) -> tuple[Verdict, list[str]]:
    """The verdict, and the names that were asked for."""
    domains = [authors] if isinstance(authors, str) else authors
    lookup, asked = check_authors(domains, identifiers), []
    try:
        question = next(lookup)
        while True:
            asked.append(question.name)
            question = lookup.send(answer(zone, question))
    except StopIteration as end:
        return end.value, asked


@pytest.mark.rfc("9989 section 4.10")
@pytest.mark.parametrize(
    ("domain", "expected"),
    [
        (
            "a.b.c.d.e.f.g.h.i.j.mail.example.com",
            [
                "a.b.c.d.e.f.g.h.i.j.mail.example.com",
                "g.h.i.j.mail.example.com",
                "h.i.j.mail.example.com",
                "i.j.mail.example.com",
                "j.mail.example.com",
                "mail.example.com",
                "example.com",
                "com",
            ],
        ),
        ("a.mail.example.com", ["a.mail.example.com", "mail.example.com", "example.com", "com"]),
        (
            "8.7.6.5.4.3.2.1",
            [".".join("87654321"[at:]) for at in range(8)],
        ),
        ("com", ["com"]),
    ],
)
def test_walks(domain: str, expected: list[str]) -> None:
    assert expected == names_to_ask(domain)
    assert len(expected) <= QUERIES_LIMIT


@pytest.mark.rfc("9989 section 4.10.2")
@pytest.mark.parametrize(
    ("zone", "expected"),
    [
        ({"mail.example.com": REJECT, "example.com": REJECT}, "example.com"),
        ({"mail.example.com": REJECT + "; psd=n", "example.com": REJECT}, "mail.example.com"),
        ({"com": REJECT + "; psd=y"}, "example.com"),
        ({"mail.example.com": REJECT, "com": REJECT + "; psd=y"}, "example.com"),
        ({"a.mail.example.com": REJECT + "; psd=y", "com": REJECT}, "a.mail.example.com"),
        ({"example.com": REJECT + "; psd=n", "com": REJECT}, "example.com"),
        ({"example.com": REJECT, "com": REJECT}, "com"),  # who claims so, but for psd=n below
        ({"example.com": (REJECT, REJECT), "mail.example.com": REJECT}, "mail.example.com"),
    ],
)
def test_organizational_domains(zone: Zone, expected: str) -> None:
    verdict, _ = run(zone, "a.mail.example.com", spf("z.a.mail.example.com"))
    assert expected == verdict.organizational_domain


@pytest.mark.rfc("9989 section 4.4")
@pytest.mark.parametrize(
    ("author", "identifier", "tags", "expected"),
    [
        # Table 1.
        ("news.example.com", "foo.example.com", "", True),
        ("news.example.com", "foo.example.com", "; adkim=s; aspf=s", False),
        ("news.example.com", "news.example.com", "; adkim=s; aspf=s", True),
        ("news.example.com", "foo.example.net", "", False),
        # Appendix B.1.
        ("example.com", "example.com", "", True),
        ("example.com", "child.example.com", "", True),
        ("child.example.com", "example.com", "", True),
        ("child.example.com", "example.net", "", False),
        # Names have no case, and no dot at the end.
        ("News.Example.COM", "NEWS.example.com.", "; adkim=s; aspf=s", True),
        ("b\u00fccher.example.com", "xn--bcher-kva.example.com", "; adkim=s; aspf=s", True),
        ("news.example.com", "badexample.com", "", False),
    ],
)
@pytest.mark.parametrize("method", Method)
def test_alignment(method: Method, author: str, identifier: str, tags: str, expected: bool) -> None:
    one = Identifier(method, identifier, "pass")
    verdict, _ = run({"example.com": REJECT + tags}, author, one)
    assert (Dmarc.PASS if expected else Dmarc.FAIL) == verdict.result
    assert [method] * expected == [aligned.method for aligned in verdict.aligned]
    assert (Policy.NONE if expected else Policy.REJECT) == verdict.policy


@pytest.mark.rfc("9989 section 4.4.1")
def test_each_mechanism_has_its_own_mode() -> None:
    zone: Zone = {"example.com": REJECT + "; aspf=s"}
    both = spf("mail.example.com"), dkim("mail.example.com")
    verdict, _ = run(zone, "example.com", *both)
    assert verdict.result is Dmarc.PASS
    assert verdict.aligned == (both[1],)
    assert [one.mode for one in verdict.alignments] == [Mode.STRICT, Mode.RELAXED]
    assert run({"example.com": REJECT + "; adkim=s"}, "example.com", *both)[0].aligned == both[:1]


@pytest.mark.rfc("9989 section B.3.1")
def test_the_example_of_a_session() -> None:
    record = "v=DMARC1; p=reject; aspf=r; rua=mailto:dmarc-feedback@example.com"
    both = spf("mail.example.com"), dkim("example.com")
    verdict, asked = run({"example.com": record}, "example.com", *both)
    assert (verdict.result, verdict.policy, verdict.aligned) == (Dmarc.PASS, Policy.NONE, both)
    assert asked == ["_dmarc.example.com", "_dmarc.com", "_dmarc.mail.example.com"]


@pytest.mark.rfc("9989 section B.4.1")
def test_the_simple_example_of_a_walk() -> None:
    zone: Zone = {"example.com": REJECT, "signing.example.com": "v=DMARC1; p=none"}
    both = spf("example.com"), dkim("signing.example.com")
    verdict, asked = run(zone, "example.com", *both)
    assert (verdict.result, verdict.aligned) == (Dmarc.PASS, both)
    assert verdict.policy_domain == verdict.organizational_domain == "example.com"
    assert asked == ["_dmarc.example.com", "_dmarc.com", "_dmarc.signing.example.com"]
    failing, _ = run(zone, "example.com", spf("example.com", "fail"), dkim("x.example"))
    assert (failing.result, failing.policy) == (Dmarc.FAIL, Policy.REJECT)


@pytest.mark.rfc("9989 section B.4.2")
def test_the_deep_example_of_a_walk() -> None:
    author = "a.b.c.d.e.f.g.h.i.j.k.example.com"
    zone: Zone = {"example.com": REJECT + "; sp=quarantine", "signing.example.com": REJECT}
    both = spf("example.com"), dkim("signing.example.com")
    verdict, asked = run(zone, author, *both)
    assert (verdict.result, verdict.aligned) == (Dmarc.PASS, both)
    assert verdict.policy_domain == verdict.organizational_domain == "example.com"
    assert asked == [
        f"_dmarc.{name}"
        for name in (
            author,
            "g.h.i.j.k.example.com",
            "h.i.j.k.example.com",
            "i.j.k.example.com",
            "j.k.example.com",
            "k.example.com",
            "example.com",
            "com",
            "signing.example.com",
        )
    ]
    failing, _ = run(zone, author)
    assert (failing.policy_domain, failing.tag) == ("example.com", "sp")


@pytest.mark.rfc("9989 section B.4.3")
def test_the_example_of_a_public_suffix() -> None:
    zone: Zone = {
        "bank.example": REJECT + "; psd=y",
        "giant.bank.example": "v=DMARC1; p=quarantine",
    }
    mine, theirs = spf("mail.giant.bank.example"), dkim("mail.mega.bank.example")
    verdict, asked = run(zone, "giant.bank.example", mine, theirs)
    assert (verdict.result, verdict.aligned) == (Dmarc.PASS, (mine,))
    assert verdict.policy_domain == verdict.organizational_domain == "giant.bank.example"
    assert [one.organizational_domain for one in verdict.alignments] == [
        "giant.bank.example",
        "mega.bank.example",
    ]
    assert "_dmarc.example" not in asked  # psd=y stops the walk


@pytest.mark.rfc("9989 section 11.8")
def test_a_domain_beside_the_organizational_one_does_not_align() -> None:
    zone: Zone = {"mail.example.com": REJECT + "; psd=n", "example.com": REJECT}
    verdict, _ = run(zone, "evil.example.com", dkim("mail.example.com"))
    assert (verdict.result, verdict.policy_domain) == (Dmarc.FAIL, "example.com")


@pytest.mark.rfc("9989 section 4.10.1")
@pytest.mark.parametrize(
    ("zone", "author", "expected"),
    [
        ({"example.com": REJECT}, "example.com", ("example.com", "p", "reject")),
        ({"example.com": REJECT}, "a.b.example.com", ("example.com", "p", "reject")),
        ({"example.com": REJECT + ";sp=none"}, "example.com", ("example.com", "p", "reject")),
        ({"example.com": REJECT + ";sp=none"}, "a.example.com", ("example.com", "sp", "none")),
        # The domain does not exist: no A record, and no other.
        ({"example.com": REJECT + ";np=none"}, "a.example.com", ("example.com", "np", "none")),
        (
            {"example.com": "v=DMARC1;p=none;sp=none;np=reject"},
            "a.example.com",
            ("example.com", "np", "reject"),
        ),
        # It exists, with or without an A record.
        (
            {"example.com": REJECT + ";np=none", "A a.example.com": ()},
            "a.example.com",
            ("example.com", "p", "reject"),
        ),
        (
            {"example.com": REJECT + ";sp=quarantine;np=none", "A a.example.com": "192.0.2.1"},
            "a.example.com",
            ("example.com", "sp", "quarantine"),
        ),
        ({"example.com": REJECT + ";np=none"}, "example.com", ("example.com", "p", "reject")),
        # A record in between, which is neither the author's nor the organizational domain's.
        (
            {"example.com": REJECT, "b.example.com": "v=DMARC1;p=none"},
            "a.b.example.com",
            ("example.com", "p", "reject"),
        ),
        # Only the public suffix has one; its sp and np are for all below it.
        ({"com": REJECT + ";psd=y"}, "a.example.com", ("com", "p", "reject")),
        ({"com": "v=DMARC1;p=none;np=reject;psd=y"}, "a.example.com", ("com", "np", "reject")),
        ({"com": REJECT + ";psd=y;sp=none"}, "com", ("com", "p", "reject")),
        (
            {"com": REJECT + ";psd=y", "example.com": "v=DMARC1;p=none"},
            "a.example.com",
            ("example.com", "p", "none"),
        ),
        # Tests.
        ({"example.com": REJECT + ";t=y"}, "example.com", ("example.com", "p", "quarantine")),
        (
            {"example.com": "v=DMARC1;p=reject;sp=quarantine;t=y"},
            "a.example.com",
            ("example.com", "sp", "none"),
        ),
        # A record that asks for nothing, but for reports.
        ({"example.com": "v=DMARC1;rua=mailto:a@b.c"}, "example.com", ("example.com", "p", "none")),
        (
            {"a.example.com": (REJECT, REJECT), "example.com": "v=DMARC1;p=quarantine"},
            "a.example.com",
            ("example.com", "p", "quarantine"),
        ),
    ],
)
def test_policy(zone: Zone, author: str, expected: tuple[str, str, str]) -> None:
    verdict, _ = run(zone, author, spf("elsewhere.example"), dkim(author, "fail"))
    assert verdict.result is Dmarc.FAIL
    assert expected == (verdict.policy_domain, verdict.tag, verdict.policy)


@pytest.mark.rfc("9989 section 4.10.1")
@pytest.mark.parametrize(
    ("zone", "author", "expected"),
    [
        ({}, "example.com", Dmarc.NONE),
        ({"example.com": (REJECT, REJECT)}, "example.com", Dmarc.NONE),
        ({"example.com": "v=spf1 -all"}, "example.com", Dmarc.NONE),
        ({"example.com": "v=DMARC1;"}, "example.com", Dmarc.PERMERROR),
        ({"example.com": "v=DMARC1; p=rejct"}, "a.example.com", Dmarc.PERMERROR),
        ({"example.com": REJECT}, "[192.0.2.1]", Dmarc.NONE),
        ({"example.com": REJECT}, "a b", Dmarc.NONE),
        ({"example.com": REJECT}, "", Dmarc.NONE),
        ({"example.com": REJECT}, "x" * 5000 + ".example.com", Dmarc.NONE),
    ],
)
def test_nothing_to_apply(zone: Zone, author: str, expected: Dmarc) -> None:
    verdict, _ = run(zone, author, spf("example.com"), dkim("a.example.com"))
    assert (expected, Policy.NONE) == (verdict.result, verdict.policy)
    assert verdict.problem
    assert not verdict.aligned


FAILED = Status.SERVFAIL


@pytest.mark.rfc("9989 section 5.3.6")
@pytest.mark.parametrize(
    ("zone", "identifiers", "expected"),
    [
        # Nobody knows whether there is a record.
        ({"a.example.com": FAILED}, [spf("a.example.com")], Dmarc.TEMPERROR),
        ({"example.com": FAILED}, [spf("a.example.com")], Dmarc.TEMPERROR),
        ({"com": Status.TIMEOUT}, [], Dmarc.TEMPERROR),
        # There is one; which does not matter to the very same domain, but to others.
        ({"a.example.com": FAILED, "example.com": REJECT}, [spf("a.example.com")], Dmarc.PASS),
        ({"a.example.com": FAILED, "example.com": REJECT}, [spf("example.com")], Dmarc.TEMPERROR),
        ({"a.example.com": FAILED, "example.com": REJECT}, [], Dmarc.TEMPERROR),
        ({"a.example.com": FAILED, "example.com": "v=DMARC1"}, [], Dmarc.TEMPERROR),
        # The organizational domain is not known.
        ({"a.example.com": REJECT, "com": FAILED}, [dkim("example.com")], Dmarc.TEMPERROR),
        ({"a.example.com": REJECT, "com": FAILED}, [dkim("a.example.com")], Dmarc.PASS),
        ({"a.example.com": REJECT, "com": FAILED}, [dkim("example.net")], Dmarc.FAIL),
        ({"a.example.com": REJECT + ";adkim=s", "com": FAILED}, [dkim("example.com")], Dmarc.FAIL),
        # A mechanism that might have passed.
        ({"example.com": REJECT}, [spf("example.com", "temperror")], Dmarc.TEMPERROR),
        ({"example.com": REJECT}, [spf("example.com", "temperror"), dkim("example.com")], "pass"),
        ({"example.com": REJECT}, [spf("elsewhere.example", "temperror")], Dmarc.FAIL),
        # Whether the domain exists.
        ({"example.com": REJECT + ";np=none", "A a.example.com": FAILED}, [], Dmarc.TEMPERROR),
    ],
)
def test_silence_is_neither_pass_nor_fail(
    zone: Zone, identifiers: list[Identifier], expected: Dmarc
) -> None:
    verdict, _ = run(zone, "a.example.com", *identifiers)
    assert expected == verdict.result
    assert bool(verdict.problem) == (expected is Dmarc.TEMPERROR)
    assert (verdict.policy is Policy.NONE) == (expected != Dmarc.FAIL)


@pytest.mark.rfc("9989 section 11.5")
@pytest.mark.parametrize(
    ("authors", "result", "author", "policy"),
    [
        (["good.example", "GOOD.example"], Dmarc.PASS, "good.example", "none"),
        (["good.example", "strict.example"], Dmarc.FAIL, "strict.example", "reject"),
        (["mild.example", "strict.example"], Dmarc.FAIL, "strict.example", "reject"),
        (["strict.example", "mild.example"], Dmarc.FAIL, "strict.example", "reject"),
        (["good.example", "nothing.example"], Dmarc.NONE, "nothing.example", "none"),
        (["good.example", "silent.example"], Dmarc.TEMPERROR, "silent.example", "none"),
        (["good.example", "no domain"], Dmarc.NONE, "", "none"),
        ([], Dmarc.NONE, "", "none"),
        ([f"{n}.example" for n in range(AUTHORS_LIMIT + 1)], "permerror", "0.example", "none"),
    ],
)
def test_several_authors(authors: list[str], result: Dmarc, author: str, policy: str) -> None:
    zone: Zone = {
        "good.example": REJECT,
        "strict.example": REJECT,
        "mild.example": "v=DMARC1; p=quarantine",
        "silent.example": Status.TIMEOUT,
    }
    verdict, _ = run(zone, authors, dkim("good.example"))
    assert (result, author, policy) == (verdict.result, verdict.author_domain, verdict.policy)


@pytest.mark.rfc("9989 section 4.10.2")
def test_who_needs_no_walk_gets_none() -> None:
    zone: Zone = {"a.example.com": REJECT + "; adkim=s"}
    same, strict, other = spf("a.example.com"), dkim("example.com"), spf("example.net")
    verdict, asked = run(zone, "a.example.com", same, strict, other, spf("example.com", "fail"))
    assert asked == ["_dmarc.a.example.com"]
    assert verdict.aligned == (same,)


def test_many_signatures_cost_no_more() -> None:
    many = [dkim(f"a.b.c.d.e.f.{number}.example.com") for number in range(1000)]
    _, asked = run({"x.example.com": REJECT}, "x.example.com", *many)
    assert len(asked) == len(set(asked))
    assert len(asked) <= QUERIES_LIMIT * (IDENTIFIERS_LIMIT + 1)


DOMAINS = st.one_of(
    st.text(),
    st.sampled_from(["a.b.example.com", "example.com", "com", "b.example.com", "a.example.net"]),
)
RECORDS = st.lists(
    st.sampled_from([";p=none", ";p=reject", ";psd=y", ";psd=n", ";sp=x", ";np=none", ";t=y", ";"]),
    max_size=4,
).map(lambda tags: "v=DMARC1" + "".join(tags))
ANSWERS = st.builds(Answer, st.sampled_from(list(Status)), st.lists(RECORDS, max_size=2).map(tuple))


@given(
    st.lists(DOMAINS, max_size=3),
    st.lists(
        st.builds(
            Identifier,
            st.sampled_from(Method),
            DOMAINS,
            st.sampled_from(["pass", "temperror", "fail"]),
        ),
        max_size=5,
    ),
    st.lists(ANSWERS, min_size=1, max_size=9),
)
def test_a_hostile_dns_ends_in_a_verdict(
    authors: list[str], identifiers: list[Identifier], answers: list[Answer]
) -> None:
    lookup, asked = check_authors(authors, identifiers), 0
    try:
        next(lookup)
        while True:
            lookup.send(answers[asked % len(answers)])
            asked += 1
    except StopIteration as end:
        verdict = end.value
    assert asked <= QUERIES_LIMIT * 9
    assert verdict.policy is Policy.NONE or verdict.result is Dmarc.FAIL
    assert bool(verdict.aligned) == (verdict.result is Dmarc.PASS)
    assert verdict.result is not Dmarc.PASS or "pass" in {one.result for one in identifiers}
