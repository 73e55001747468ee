import pytest

from mailstead.model.address import Address, parse_address


@pytest.mark.rfc("5321 section 4.1.2")
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("alice@example.org", Address("alice", "example.org")),
        ("Alice@EXAMPLE.org", Address("Alice", "example.org")),  # the local-part keeps its case
        ('"a b"@example.org', Address("a b", "example.org")),
        (r'"a\"b"@example.org', Address('a"b', "example.org")),
        ('"alice"@example.org', Address("alice", "example.org")),  # quotes are no part of the name
        ("bob@[192.0.2.1]", Address("bob", "[192.0.2.1]")),
        ("bob@[IPv6:2001:db8::1]", Address("bob", "[IPv6:2001:db8::1]")),
        ("josé@bücher.example", Address("josé", "xn--bcher-kva.example")),  # RFC 6531
    ],
)
def test_parse_address(text: str, expected: Address) -> None:
    assert expected == parse_address(text)
    assert expected == parse_address(str(expected))


@pytest.mark.rfc("5321 section 4.5.3.1.1")
@pytest.mark.parametrize(
    "text",
    [
        "alice",
        "@example.org",
        "alice@",
        "a..b@example.org",
        ".a@example.org",
        "a b@example.org",
        "alice@-example.org",
        "alice@exa mple.org",
        "alice@example..org",
        "x" * 65 + "@example.org",
        "alice@" + "x." * 130 + "org",
        "alice@[300",
        "alice\r\n@example.org",
        "alice\x00@example.org",
    ],
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 the sentence differs
        parse_address(text)
