"""Authentication-Results: the RFC's examples, hostile fields, and that what we write is read."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailstead.msgauth import authres
from mailstead.msgauth.authres import (
    ArcResults,
    AuthenticationResults,
    Property,
    Result,
    format,
    format_arc,
    parse,
    parse_arc,
    remove_own,
)


def spf(result: str, domain: str) -> Result:
    return Result("spf", result, (Property("smtp", "mailfrom", domain),))


def dkim(result: str, name: str, value: str, reason: str = "") -> Result:
    return Result("dkim", result, (Property("header", name, value),), reason)


AUTH = Result("auth", "pass", (Property("smtp", "auth", "sender@example.net"),))


@pytest.mark.rfc("8601 section 2.2")
@pytest.mark.parametrize(
    ("value", "expected"),
    [
        # The examples of RFC 8601 appendix B.
        ("example.org 1; none", AuthenticationResults("example.org")),
        (
            "example.com;\r\n          spf=pass smtp.mailfrom=example.net",
            AuthenticationResults("example.com", (spf("pass", "example.net"),)),
        ),
        (
            "example.com;\r\n  auth=pass (cram-md5) smtp.auth=sender@example.net;\r\n"
            "  spf=pass smtp.mailfrom=example.net",
            AuthenticationResults("example.com", (AUTH, spf("pass", "example.net"))),
        ),
        (
            "example.com; iprev=pass\r\n  policy.iprev=192.0.2.200",
            AuthenticationResults(
                "example.com",
                (Result("iprev", "pass", (Property("policy", "iprev", "192.0.2.200"),)),),
            ),
        ),
        (
            "example.com;\r\n  dkim=pass (good signature) header.d=example.com",
            AuthenticationResults("example.com", (dkim("pass", "d", "example.com"),)),
        ),
        (
            'example.com;\r\n  dkim=pass reason="good signature"\r\n'
            "    header.i=@mail-router.example.net;\r\n"
            '  dkim=fail reason="bad signature"\r\n    header.i=@newyork.example.com',
            AuthenticationResults(
                "example.com",
                (
                    dkim("pass", "i", "@mail-router.example.net", "good signature"),
                    dkim("fail", "i", "@newyork.example.com", "bad signature"),
                ),
            ),
        ),
        (
            "foo.example.net (foobar) 1 (baz);\r\n"
            "    dkim (Because I like it) / 1 (One yay) = (wait for it) fail\r\n"
            "      policy (A dot can go here) . (like that) expired\r\n"
            "      (this surprised me) = (as I wasn't expecting it) 1362471462",
            AuthenticationResults(
                "foo.example.net",
                (Result("dkim", "fail", (Property("policy", "expired", "1362471462"),)),),
            ),
        ),
        # Quotes, comments, case, and what others write.
        ('"my host"; none', AuthenticationResults("my host")),
        ('"m\\y";none;', AuthenticationResults("my")),
        ("x; SPF=Pass SMTP.MailFrom=A@B.c", ("spf", "pass", "smtp", "mailfrom", "A@B.c")),
        ('x; spf=pass smtp.mailfrom="a;b"@c.example', '"a;b"@c.example'),
        ('x; spf=pass smtp.mailfrom="a \\"b\\""', 'a "b"'),
        ("x; dkim=pass header.b=ab/c+d=", "ab/c+d="),
        ('x; spf=pass smtp.helo="(no comment)"', "(no comment)"),
        ("x; spf=pass smtp.helo=a (b", "a"),
        # What cannot be read is passed over.
        ("x; spf=pass =; dkim=pass header.d=y", ("spf", "dkim")),
        ("x; what is this; spf; =; ; spf=; spf=pass", ("spf",)),
        ('x; a="b; spf=fail"; spf=pass', ("spf",)),
        ("x; dkim/2=pass; spf/1=pass", ("spf",)),
    ],
)  # fmt: skip
def test_reading(value: str, expected: object) -> None:
    found = parse(value.encode())
    assert found is not None
    match expected:
        case AuthenticationResults():
            assert expected == found
        case str():
            assert expected == found.results[0].properties[0].value
        case (method, result, type_, name, value):
            one = Result(method, result, (Property(type_, name, value),))
            assert (one,) == found.results
        case _:
            assert expected == tuple(result.method for result in found.results)


@pytest.mark.rfc("8601 section 2.6")
@pytest.mark.parametrize(
    "value", ["", " ", ";", "; spf=pass", "(x)", "x 2; spf=pass", "spf=pass x=y"]
)
def test_nothing_to_read(value: str) -> None:
    assert parse(value.encode()) is None


@pytest.mark.rfc("8601 section 2.2")
@pytest.mark.parametrize(
    ("results", "expected"),
    [
        (AuthenticationResults("mx.example.org"), b" mx.example.org;\r\n none\r\n"),
        (
            AuthenticationResults("mx.example.org", (spf("pass", "example.net"), AUTH)),
            b" mx.example.org;\r\n spf=pass smtp.mailfrom=example.net;\r\n"
            b" auth=pass smtp.auth=sender@example.net\r\n",
        ),
        (
            AuthenticationResults("a b", (spf("fail", 'x\r\nEvil: "y\\'),)),
            b' "a b";\r\n spf=fail smtp.mailfrom="x Evil: \\"y\\\\"\r\n',
        ),
        (
            AuthenticationResults("x", (dkim("fail", "i", "@" + "d" * 60, "bad signature"),)),
            b' x;\r\n dkim=fail reason="bad signature"\r\n header.i=@' + b"d" * 60 + b"\r\n",
        ),
        (
            AuthenticationResults("x", (spf("pass", "2001:db8::1"), spf("pass", "\u00e9@x.y"))),
            b' x;\r\n spf=pass smtp.mailfrom="2001:db8::1";\r\n'
            b' spf=pass smtp.mailfrom="\xc3\xa9@x.y"\r\n',
        ),
        (
            AuthenticationResults("x", (spf("pass", '"a b"@x.example'),)),
            b' x;\r\n spf=pass smtp.mailfrom="a b"@x.example\r\n',
        ),
    ],
)
def test_writing(results: AuthenticationResults, expected: bytes) -> None:
    assert b"Authentication-Results:" + expected == format(results)


@pytest.mark.parametrize("word", ["", "a b", "a;b", "A", "a=b", "-a", "a\r\nb", "a" * 100])
def test_keywords_are_ours_to_choose(word: str) -> None:
    for result in (
        Result(word, "pass"),
        Result("spf", word),
        Result("spf", "pass", (Property(word, "x", "y"),)),
    ):
        with pytest.raises(ValueError, match="no keyword"):
            format(AuthenticationResults("x", (result,)))


@pytest.mark.rfc("8617 section 4.1.1")
def test_arc() -> None:
    arc = ArcResults(3, AuthenticationResults("mx.example.org", (spf("pass", "example.net"),)))
    field = format_arc(arc)
    assert field == (
        b"ARC-Authentication-Results: i=3; mx.example.org;\r\n"
        b" spf=pass smtp.mailfrom=example.net\r\n"
    )
    assert arc == parse_arc(field.partition(b":")[2])


@pytest.mark.rfc("8617 section 4.1.1")
@pytest.mark.parametrize(
    ("value", "instance"),
    [
        ("i=1; x; none", 1),
        (" (c) i (d) = 50 (e) ;x;none", 50),
        ("i=0; x; none", None),
        ("i=51; x; none", None),
        ("i=100; x; none", None),
        ("I=1; x; none", None),
        ("x; none", None),
        ("i=1 x; none", None),
        ("i=1;", None),
    ],
)
def test_arc_instances(value: str, instance: int | None) -> None:
    found = parse_arc(value.encode())
    assert instance == (found and found.instance)


@pytest.mark.rfc("8601 section 5")
@pytest.mark.parametrize(
    ("value", "removed"),
    [
        ("mx.example.org; spf=pass", True),
        ("MX.Example.ORG.; spf=pass", True),
        (' (hello) "mx.example.org" 1; spf=pass', True),
        ('"mx\\.example\\.org"; spf=pass', True),
        ("(a (b\\) c) d)\r\n mx.example.org\r\n ; none", True),
        ("mx.example.org 7; who=knows", True),  # another version
        ("mx.example.org", True),
        ("mx.example.org\r; broken", True),
        ('mx.example.org; "unclosed', True),
        ('"mx.example.org', True),
        ("mx.example.com; spf=pass", False),
        ("example.org; spf=pass", False),
        ("x.mx.example.org; spf=pass", False),
        ("(mx.example.org) example.net; spf=pass", False),
        ("example.net; reason=mx.example.org", False),
        ("", False),
    ],
)
def test_removing_what_claims_to_be_ours(value: str, removed: bool) -> None:
    above, below = (
        b"Subject: Authentication-Results: mx.example.org\r\n",
        b"To: x@y.example\r\n\r\n",
    )
    for name in (
        b"Authentication-Results",
        b"AUTHENTICATION-results ",
        b"Authentication-Results\t",
    ):
        field = name + b": " + value.encode() + b"\r\n"
        expected = above + below if removed else above + field + below
        assert expected == remove_own(above + field + below, "mx.example.org")


@pytest.mark.rfc("8601 section 5")
@pytest.mark.parametrize("ours", ["b\u00fccher.example", "xn--bcher-kva.example"])
@pytest.mark.parametrize("claimed", ["B\u00fccher.example", "XN--bcher-kva.example"])
def test_ids_are_compared_across_a_labels_and_u_labels(ours: str, claimed: str) -> None:
    assert remove_own(f"Authentication-Results: {claimed}; none\r\n".encode(), ours) == b""


def test_arc_fields_are_left_alone() -> None:
    field = b"ARC-Authentication-Results: i=1; mx.example.org; none\r\n"
    assert field == remove_own(field, "mx.example.org")


TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), max_size=100)
VALUES = st.one_of(
    TEXT,
    st.sampled_from(
        ["@x.example", '"a b"@x.example', "a@x.example", "a=b;c", "(", '"', "\\", "i=1"]
    ),
)
WORDS = st.from_regex(r"[a-z0-9]([a-z0-9_-]{0,20}[a-z0-9])?", fullmatch=True)
RESULTS = st.builds(
    Result,
    WORDS,
    WORDS,
    st.lists(st.builds(Property, WORDS, WORDS, VALUES), max_size=4).map(tuple),
    VALUES,
)
FIELDS = st.builds(AuthenticationResults, VALUES, st.lists(RESULTS, max_size=4).map(tuple))


@given(FIELDS, st.integers(1, 50))
def test_what_is_written_is_read(results: AuthenticationResults, instance: int) -> None:
    field = format(results)
    assert results == parse(field.partition(b":")[2])
    arc = ArcResults(instance, results)
    assert arc == parse_arc(format_arc(arc).partition(b":")[2])
    assert all(len(line) <= 998 for line in field.split(b"\r\n"))
    assert remove_own(field, results.authserv_id) == b""


@settings(max_examples=300)
@given(st.one_of(st.binary(), st.text('ab=;."\\() \t/1@', max_size=60).map(str.encode)))
def test_any_field_can_be_looked_at(value: bytes) -> None:
    found, arc = parse(value), parse_arc(b"i=1;" + value)
    assert arc is None or len(arc.results.results) <= authres.RESULTS_LIMIT
    assert found is None or all(result.method and result.result for result in found.results)
    remove_own(b"Authentication-Results: " + value + b"\r\n", "x")


@pytest.mark.parametrize(
    "text",
    [
        "(",
        ")",
        '"',
        "\\",
        ";",
        "; a=b",
        "; a=b c.d=e",
        " ",
        "=",
        '";',
        '("',
        "a.",
        '; a=b c.d="',
        "; a /1",
    ],
)
def test_reading_takes_no_longer_than_the_field(text: str) -> None:
    value = b"x; " + text.encode() * (authres.FIELD_LIMIT // len(text))
    start = time.process_time()
    parse(value)
    remove_own(b"Authentication-Results: " + value + b"\r\n", "x")
    assert time.process_time() - start < 1  # some 10 ms
