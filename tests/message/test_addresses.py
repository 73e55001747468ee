"""Address lists of header fields."""

import email.utils

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailstead.message.addresses import (
    ADDRESS_LIMIT,
    Group,
    HeaderAddress,
    author_addresses,
    mailboxes,
    parse_addresses,
)
from mailstead.model.address import Address


def box(address: str, name: str | None = None, route: str | None = None) -> HeaderAddress:
    local_part, _, domain = address.rpartition("@")
    encoded = [None if one is None else one.encode() for one in (name, route)]
    return HeaderAddress(*encoded, local_part.encode(), domain.encode())


@pytest.mark.rfc("5322 section 3.4")
@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"", []),
        (b"a@b.example", [box("a@b.example")]),
        (b"<a@b.example>", [box("a@b.example")]),
        (b"Ann Lee <a@b.example>,c@d", [box("a@b.example", "Ann Lee"), box("c@d")]),
        (b'"Lee, Ann" <a@b>, "x" <c@d>', [box("a@b", "Lee, Ann"), box("c@d", "x")]),
        (b'"say \\"hi\\"" <a@b>', [box("a@b", 'say "hi"')]),
        (b'"a b"@[192.0.2.1]', [box("a b@[192.0.2.1]")]),
        (b"A. Lee <a . l @ b . c>", [box("a.l@b.c", "A. Lee")]),
        (b"Ann (c1) Lee (c2) <a@b (c3)> (c4)", [box("a@b", "Ann Lee")]),
        (b"a@b (Ann (Lee) x)", [box("a@b", "Ann (Lee) x")]),
        (b"Ann\t \tLee\t<a@b>", [box("a@b", "Ann Lee")]),
        # section 4.4: routes and empty elements
        (b"Ann <@x,@y:a@b>", [box("a@b", "Ann", "@x,@y")]),
        (b",, a@b ,, c@d,", [box("a@b"), box("c@d")]),
        # groups
        (b"undisclosed-recipients:;", [Group(b"undisclosed-recipients", ())]),
        (
            b'Best Friends: a@b, "C" <c@d>;, e@f',
            [Group(b"Best Friends", (box("a@b"), box("c@d", "C"))), box("e@f")],
        ),
        (b"open: a@b", [Group(b"open", (box("a@b"),))]),
        # encoded words stay as they are (RFC 2047 section 5)
        (b"=?utf-8?q?=C3=BC?= <a@b>", [box("a@b", "=?utf-8?q?=C3=BC?=")]),
        (b"=?utf-8?q?x,y?= <a@b>", [box("a@b", "=?utf-8?q?x,y?=")]),
        ("Ü <ü@ü>".encode(), [box("ü@ü", "Ü")]),
        # garbage
        (b"nobody", [box("nobody@")]),
        (b"<>", [box("@")]),
        (b"a@b@c", [box("a@b@c")]),
        (b"Ann <a@b", [box("a@b", "Ann")]),
        (b"Ann <a@b> rest", [box("a@b", "Ann rest")]),
        (b"a@b>", [box("a@b>")]),
        (b"(", []),
        (b"a b@c d", [box("a b@c d")]),
        (b"\0@\0", [box("\0@\0")]),
    ],
)
def test_parse_addresses(value, expected):
    assert list(parse_addresses(value)) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"=?utf-8?q?=C3=BC?= <a@b>", "ü"),
        (b'"=?utf-8?q?=C3=BC?=" <a@b>', "ü"),
        (b"\xfc <a@b>", "ü"),
        (b"a@b", ""),
    ],
)
def test_display_name(value, expected):
    assert mailboxes(value)[0].display_name == expected


@pytest.mark.rfc("5322 section 3.6.2")
@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (b"From: Ann <ann@EXAMPLE.org>\r\n", ["ann@example.org"]),
        (b"From: a@b.c, bad, d@e..f\r\nfrom: g@h.i\r\n", ["a@b.c", "g@h.i"]),
        (b'From: "a b"@b.c\r\n', ['"a b"@b.c']),
        ("From: x@bücher.example\r\n".encode(), ["x@xn--bcher-kva.example"]),
        (b"From: friends: a@b.c;\r\n", ["a@b.c"]),
        (b"From: \xff@b.c, a@\xff, a@b\0c, a@b c, a b@c\0\r\n", []),
        (b"Sender: a@b.c\r\n", []),
    ],
)
def test_author_addresses(header, expected):
    authors = author_addresses(header)
    assert all(isinstance(author, Address) for author in authors)
    assert [str(author) for author in authors] == expected


@pytest.mark.parametrize(
    "piece",
    [
        b"a@b,",
        b"g:;",
        b"g:a@b;",
        b'"x" <a@b>, (c)',
        b"(",
        b'"',
        b"<",
        b"@",
        b'"\\',
        b"a.",
        b"[",
        b"\\",
    ],
)
def test_long_lists_are_bounded(piece):
    found = parse_addresses(piece * 50_000)
    assert len(found) <= ADDRESS_LIMIT
    assert len(mailboxes(piece * 50_000)) <= ADDRESS_LIMIT


@given(st.text(alphabet='ab@<>,;:."\\() \t\0[]=?qü', max_size=60))
@settings(deadline=None)
def test_garbage_gives_addresses(text):
    for found in mailboxes(text.encode()):
        assert isinstance(found.local_part + found.domain, bytes)
        assert "\0" not in found.addr_spec


NAMES = st.text(alphabet='abz .,"\\()@<>;:', min_size=1, max_size=12).map(str.strip).filter(bool)


@given(st.lists(st.tuples(NAMES, st.sampled_from(["a@b.example", "c.d@e.example"])), max_size=5))
@settings(deadline=None)
def test_well_formed_lists_are_read_back(pairs):
    quoted = [name.replace("\\", "\\\\").replace('"', '\\"') for name, _ in pairs]
    value = ", ".join(
        f'"{name}" <{address}>' for name, (_, address) in zip(quoted, pairs, strict=True)
    )
    found = [(one.display_name, one.addr_spec) for one in mailboxes(value.encode())]
    assert found == pairs
    assert [pair[1] for pair in email.utils.getaddresses([value])] == [pair[1] for pair in pairs]
