"""Annotations: names, commands, responses (RFC 5464)."""

import pytest

from mailstead.protocol.imap import commands, metadata, responses
from mailstead.protocol.imap.commands import Return
from mailstead.protocol.imap.lexer import BadSyntax
from mailstead.protocol.imap.metadata import INFINITE, GetMetadata, SetMetadata
from mailstead.protocol.imap.parser import parse_command
from mailstead.protocol.imap.server import ImapServer


@pytest.mark.rfc("5464 section 3.2")
@pytest.mark.parametrize(
    "name", ["/private", "/Shared/Comment", "/shared/vendor/x/y z", "/private/a.b"]
)
def test_names(name: str) -> None:
    assert metadata.parse_entry(name) == name.lower()


@pytest.mark.rfc("5464 section 3.2")
@pytest.mark.parametrize(
    "name",
    ["", "/", "/comment", "/privatex", "private/x", "/private/", "/private//x", "/private/x/",
     "/private/x*", "/private/%", "/private/\u00fc", "/private/a\tb", "/shared/" + "x" * 250],
)  # fmt: skip
def test_what_is_no_name(name: str) -> None:
    with pytest.raises(ValueError, match="no name of an entry"):
        metadata.parse_entry(name)


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("/private", False),
        ("/private/comment", True),
        ("/shared/vendor", False),
        ("/shared/vendor/x", False),
        ("/shared/vendor/x/y", True),
        ("/shared/vendors/x", True),
    ],
)
def test_what_can_have_a_value(entry: str, expected: bool) -> None:
    assert expected == metadata.is_complete(entry)


@pytest.mark.rfc("5464 section 4.2")
@pytest.mark.parametrize(
    ("entry", "root", "depth", "expected"),
    [
        ("/private/a", "/private/a", 0, True),
        ("/private/a/b", "/private/a", 0, False),
        ("/private/a/b", "/private/a", 1, True),
        ("/private/a/b/c", "/private/a", 1, False),
        ("/private/a/b/c", "/private/a", INFINITE, True),
        ("/private/ab", "/private/a", INFINITE, False),
        ("/private", "/private/a", INFINITE, False),
    ],
)
def test_depth(entry: str, root: str, depth: int, expected: bool) -> None:
    assert expected == metadata.is_within(entry, root, depth)


SMALL = ("/private/filters/values",)
COMMENTS = ("/shared/comment", "/private/comment")


@pytest.mark.rfc("5464 section 5")
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b'a GETMETADATA "" /shared/comment', GetMetadata(b"a", "", ("/shared/comment",))),
        (
            b'a GETMETADATA "INBOX" (/shared/comment "/private/comment")',
            GetMetadata(b"a", "INBOX", COMMENTS),
        ),
        (
            b'a GETMETADATA "INBOX" (MAXSIZE 1024) (/shared/comment /private/comment)',
            GetMetadata(b"a", "INBOX", COMMENTS, 1024),
        ),
        (
            b"a GETMETADATA (MAXSIZE 10 DEPTH 1) INBOX (/private/filters/values)",
            GetMetadata(b"a", "INBOX", SMALL, 10, 1),
        ),
        (
            b'a GETMETADATA "INBOX" (depth infinity) (/private/filters/values)',
            GetMetadata(b"a", "INBOX", SMALL, None, INFINITE),
        ),
        (
            b'a SETMETADATA INBOX (/private/comment "My \\"own\\"" /shared/comment NIL)',
            SetMetadata(
                b"a", "INBOX", (("/private/comment", b'My "own"'), ("/shared/comment", None))
            ),
        ),
    ],
)
def test_commands(text: bytes, expected: metadata.MetadataCommand) -> None:
    assert expected == parse_command(text)


@pytest.mark.parametrize(
    "text",
    [
        b"a GETMETADATA INBOX",
        b"a GETMETADATA INBOX ()",
        b"a GETMETADATA INBOX (DEPTH 2) /private/x",
        b"a GETMETADATA INBOX (WIDTH 1) /private/x",
        b"a GETMETADATA INBOX (MAXSIZE x) /private/x",
        b"a GETMETADATA (DEPTH 1) INBOX (DEPTH 1) /private/x",
        b"a SETMETADATA INBOX ()",
        b"a SETMETADATA INBOX (/private/comment)",
        b"a SETMETADATA INBOX (/private/comment x)",
        b"a SETMETADATA INBOX (/private/comment ~NIL)",
        b'a SETMETADATA INBOX (/private/vendor/x "y")',
        b"a GETMETADATA INBOX (" + b"/private/x " * 100 + b"/private/y)",
        b"a SETMETADATA INBOX (" + b" ".join(b"/private/%d NIL" % n for n in range(101)) + b")",
    ],
)
def test_bad_commands(text: bytes) -> None:
    with pytest.raises(BadSyntax):
        parse_command(text)


@pytest.mark.rfc("5464 section 5")
def test_octets_that_are_nul_come_as_literal8() -> None:
    engine = ImapServer()
    engine.authenticated()
    found = engine.receive(
        b"a SETMETADATA INBOX (/private/x ~{3+}\r\n\0\0x /private/y {1+}\r\ny)\r\n"
    )
    values = (("/private/x", b"\0\0x"), ("/private/y", b"y"))
    assert found == [SetMetadata(b"a", "INBOX", values)]
    (bad,) = engine.receive(b"b SETMETADATA INBOX (/private/x {3+}\r\n\0\0x)\r\n")
    assert type(bad).__name__ == "BadCommand"
    (bad,) = engine.receive(b"b LOGIN ~{1+}\r\n\0 x\r\n")
    assert type(bad).__name__ == "BadCommand"


@pytest.mark.rfc("9590 section 3")
def test_list_metadata() -> None:
    found = parse_command(b'a LIST "" % RETURN (METADATA ("/shared/x" /private/y) CHILDREN)')
    assert isinstance(found, commands.List)
    assert found.returns == {Return.METADATA, Return.CHILDREN}
    assert found.entries == ("/shared/x", "/private/y")
    for text in (b"METADATA", b"METADATA ()", b"METADATA (x)"):
        with pytest.raises(BadSyntax):
            parse_command(b'a LIST "" % RETURN (' + text + b")")


@pytest.mark.rfc("5464 section 4.4")
def test_responses() -> None:
    values = [("/shared/comment", b"My comment"), ("/private/x", None), ("/private/y z", b"a\0")]
    assert responses.metadata("INBOX", values) == (
        b'* METADATA "INBOX" (/shared/comment "My comment" /private/x NIL'
        b' "/private/y z" ~{2}\r\na\0)\r\n'
    )
    assert responses.metadata_changed("", ["/shared/comment", "/private/comment"]) == (
        b'* METADATA "" /shared/comment /private/comment\r\n'
    )
