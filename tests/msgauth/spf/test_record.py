"""SPF records: tables of what is one, what its terms are, and of macros."""

import ipaddress
import time
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailstead.msgauth.spf import macro, record
from mailstead.msgauth.spf.record import All, Directive, HostAddress, Network, Ptr, Record, Spf


@pytest.mark.rfc("7208 section 4.5")
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("v=spf1", True),
        ("v=spf1 -all", True),
        ("V=SPF1 -all", True),
        ("v=spf10", False),
        ("v=spf1\t-all", False),
        (" v=spf1", False),
        ("spf2.0/pra -all", False),
    ],
)
def test_version(text: str, expected: bool) -> None:
    assert expected == record.is_record(text)


@pytest.mark.rfc("7208 section 4.6.1")
@pytest.mark.parametrize(
    ("term", "expected"),
    [
        ("all", Directive(Spf.PASS, All(), "all")),
        ("-ALL", Directive(Spf.FAIL, All(), "-ALL")),
        ("~a", Directive(Spf.SOFTFAIL, HostAddress(None), "~a")),
        ("?a/24//64", Directive(Spf.NEUTRAL, HostAddress(None, 24, 64), "?a/24//64")),
        ("a:b.c/8", Directive(Spf.PASS, HostAddress(("b.c",), 8), "a:b.c/8")),
        ("a:b/c.d//0", Directive(Spf.PASS, HostAddress(("b/c.d",), 32, 0), "a:b/c.d//0")),
        ("ptr", Directive(Spf.PASS, Ptr(None), "ptr")),
        (
            "ip4:192.0.2.1/24",
            Directive(Spf.PASS, Network(ipaddress.ip_network("192.0.2.0/24")), "ip4:192.0.2.1/24"),
        ),
        ("ip6:::/0", Directive(Spf.PASS, Network(ipaddress.ip_network("::/0")), "ip6:::/0")),
    ],
)
def test_terms(term: str, expected: Directive) -> None:
    assert (expected,) == record.parse(f"v=spf1  {term} ").directives


@pytest.mark.rfc("7208 section 12")
@pytest.mark.parametrize(
    "term",
    [
        "al", "all:x.example", "all/8", "include", "include:", "exists", "exists:", "a:", "mx:/24",
        "a/33", "a//129", "a/024", "a/-1", "a/24/64", "ptr/24", "ptr:", "ip4", "ip4:192.0.2",
        "ip4:192.0.2.256", "ip4:192.0.02.1", "ip4:192.0.2.1/33", "ip4:192.0.2.1//24", "ip6:x",
        "ip6:fe80::1%eth0", "ip6:::1/129", "ip6:1.2.3.4", "a:x", "a:x.1", "a:x.-y", "a:x.y-",
        "a:%{d}x", "a:%{d", "a:%d}", "a:%{}", "a:%{d0}", "a:%{d00r}", "a:%{q}.x.y", "a:%{r}",
        "a:%{c}.x.y", "a:%{t}.x.y", "a:%", "a:x%z.y", "!a", "--all", "-", "a:x.y\tmx", "a:\u00e9.x",
        "redirect=", "exp=", "redirect=x", "exp=%{z}.x.y", "x=%", "x=%{z}", "-redirect=x.y", "=x",
    ],
)  # fmt: skip
def test_what_is_no_term(term: str) -> None:
    with pytest.raises(ValueError, match=r"[a-z]"):
        record.parse(f"v=spf1 {term} -all")


@pytest.mark.rfc("7208 section 6")
@pytest.mark.parametrize(
    "term", ["x=", "moo.y-z_1=a:b/c=d", "x=%{c}%{r}%{t}", "X=%%%_%-", "a=b", "all=no"]
)
def test_unknown_modifiers_are_passed_over(term: str) -> None:
    assert record.parse("v=spf1 -all") == record.parse(f"v=spf1 {term} -all {term}")


def test_a_record_has_its_limit() -> None:
    with pytest.raises(ValueError, match="longer"):
        record.parse("v=spf1" + " " * record.RECORD_LIMIT)


@given(st.text())
def test_any_text_parses_or_not(text: str) -> None:
    for prefix in ("v=spf1 ", "v=spf1 a:", "v=spf1 exp=%{", "v=spf1 ip6:"):
        with suppress(ValueError):
            assert isinstance(record.parse(prefix + text), Record)


@pytest.mark.parametrize(
    "text", ["a ", "a:%%", "%{d}", "/24", "a:" + "%{l1r+}." * 100 + "%{d} ", "1.", "a-", "x=%_ "]
)
def test_parsing_takes_no_longer_than_its_text(text: str) -> None:
    whole = "v=spf1 " + (text * record.RECORD_LIMIT)[: record.RECORD_LIMIT - 7]
    start = time.process_time()
    with suppress(ValueError):
        record.parse(whole)
    assert time.process_time() - start < 1  # some 20 ms


SENDER = "strong-bad@email.example.com"
VALUES = {
    "s": SENDER,
    "l": "strong-bad",
    "o": "email.example.com",
    "d": "email.example.com",
    "i": "192.0.2.3",
    "p": "mx.example.org",
    "v": "in-addr",
    "h": "x.example",
}
SIX = {**VALUES, "i": macro.dotted(ipaddress.ip_address("2001:db8::cb01")), "v": "ip6"}


@pytest.mark.rfc("7208 section 7.4")
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("%{s}", "strong-bad@email.example.com"),
        ("%{o}", "email.example.com"),
        ("%{d}", "email.example.com"),
        ("%{d4}", "email.example.com"),
        ("%{d3}", "email.example.com"),
        ("%{d2}", "example.com"),
        ("%{d1}", "com"),
        ("%{dr}", "com.example.email"),
        ("%{d2r}", "example.email"),
        ("%{l}", "strong-bad"),
        ("%{l-}", "strong.bad"),
        ("%{lr}", "strong-bad"),
        ("%{lr-}", "bad.strong"),
        ("%{l1r-}", "strong"),
        ("%{ir}.%{v}._spf.%{d2}", "3.2.0.192.in-addr._spf.example.com"),
        ("%{lr-}.lp._spf.%{d2}", "bad.strong.lp._spf.example.com"),
        (
            "%{lr-}.lp.%{ir}.%{v}._spf.%{d2}",
            "bad.strong.lp.3.2.0.192.in-addr._spf.example.com",
        ),
        (
            "%{ir}.%{v}.%{l1r-}.lp._spf.%{d2}",
            "3.2.0.192.in-addr.strong.lp._spf.example.com",
        ),
        ("%{d2}.trusted-domains.example.net", "example.com.trusted-domains.example.net"),
    ],
)
def test_macros(text: str, expected: str) -> None:
    assert expected == macro.expand(macro.parse_domain_spec(text), VALUES)


@pytest.mark.rfc("7208 section 7.4")
def test_macros_of_an_ipv6_client() -> None:
    found = macro.expand(macro.parse_domain_spec("%{ir}.%{v}._spf.%{d2}"), SIX)
    assert found.lower() == (
        "1.0.b.c.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6._spf.example.com"
    )


@pytest.mark.rfc("7208 section 7.3")
@pytest.mark.parametrize(
    ("text", "value", "expected"),
    [
        ("%{L}", "~jack&jill=up-a_b3.c", "~jack%26jill%3Dup-a_b3.c"),
        ("%{L}", "\u00e9 /", "%C3%A9%20%2F"),
        ("%{l+}", "a+b+c.d", "a.b.c.d"),
        ("%{l2+-}", "a+b-c", "b.c"),
        ("%{l128}", ".a..b.", ".a..b."),
        ("%{l9999999}", "a.b", "a.b"),
        ("%{l001}", "a.b", "b"),
        ("%{lr}", ".a..b", "b..a."),
        ("%{LR}", "a.b/c", "b%2Fc.a"),
        ("%%%_%-", "", "% %20"),
        ("%{l", "", None),
    ],
)
def test_transformers(text: str, value: str, expected: str | None) -> None:
    if expected is None:
        with pytest.raises(ValueError, match="no macro"):
            macro.parse(text)
    else:
        assert expected == macro.expand(macro.parse(text), {**VALUES, "l": value})


@pytest.mark.rfc("7208 section 7.3")
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a." * 126 + "b", "a." * 126 + "b"),
        ("a." * 127 + "b", "a." * 126 + "b"),
        ("x" * 60 + "." + "a." * 126 + "b", "a." * 126 + "b"),
        ("x" * 300, "x" * 253),
    ],
)
def test_long_names_lose_their_left_labels(name: str, expected: str) -> None:
    assert expected == macro.shorten(name)
