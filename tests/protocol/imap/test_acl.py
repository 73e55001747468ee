"""Rights, the commands on them, and what is answered (RFC 4314)."""

import pytest

from mailstead.protocol.imap import acl, responses
from mailstead.protocol.imap.acl import RIGHTS, Change
from mailstead.protocol.imap.lexer import BadSyntax
from mailstead.protocol.imap.parser import parse_command


@pytest.mark.rfc("4314 section 2.1.1")
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("lrswida", (Change.REPLACE, "lrswitea")),
        ("lrswikda", (Change.REPLACE, "lrswiktea")),
        ("+cda", (Change.ADD, "kxtea")),
        ("-w", (Change.REMOVE, "w")),
        ("rrl", (Change.REPLACE, "lr")),
        ("", (Change.REPLACE, "")),
        ("+", (Change.ADD, "")),
        ("-", (Change.REMOVE, "")),
    ],
)
def test_rights_as_they_are_said(text: str, expected: tuple[Change, str]) -> None:
    assert expected == acl.parse_change(text)


@pytest.mark.rfc("4314 section 3.1")
@pytest.mark.parametrize("text", ["lrQ", "lrq", "0", "+-l", "l r", "lr+", "é"])
def test_there_is_no_such_right(text: str) -> None:
    with pytest.raises(ValueError, match="There is no right"):
        acl.parse_change(text)


@pytest.mark.rfc("4314 section 2.1.1")
@pytest.mark.parametrize(
    ("rights", "expected"),
    [("lr", "lr"), ("lk", "lkc"), ("x", "xc"), ("t", "td"), ("e", "ed"), (RIGHTS, RIGHTS + "cd")],
)
def test_rights_as_they_are_shown(rights: str, expected: str) -> None:
    assert expected == acl.format_rights(rights)


@pytest.mark.parametrize(
    ("before", "change", "rights", "expected"),
    [
        ("lr", Change.REPLACE, "w", "w"),
        ("lr", Change.ADD, "rsw", "lrsw"),
        ("lrsw", Change.REMOVE, "ra", "lsw"),
        ("lr", Change.REMOVE, "lr", ""),
    ],
)
def test_changes(before: str, change: Change, rights: str, expected: str) -> None:
    assert expected == acl.changed(before, change, rights)


@pytest.mark.rfc("4314 section 7")
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            b"A002 SETACL INBOX/Drafts Chris +cda",
            acl.SetAcl(b"A002", "INBOX/Drafts", "Chris", Change.ADD, "kxtea"),
        ),
        (b'a setacl x " Fred " ""', acl.SetAcl(b"a", "x", "Fred", Change.REPLACE, "")),
        (b"B002 DeleteAcl INBOX -Fred", acl.DeleteAcl(b"B002", "INBOX", "-Fred")),
        (b"A002 GETACL inbox", acl.GetAcl(b"A002", "INBOX")),
        (
            b"a001 LISTRIGHTS ~/Mail/saved smith",
            acl.ListRights(b"a001", "~/Mail/saved", "smith", b"smith"),
        ),
        (b"A003 MYRIGHTS INBOX", acl.MyRights(b"A003", "INBOX")),
        ("a DELETEACL x u\u0308".encode(), acl.DeleteAcl(b"a", "x", "ü")),
    ],
)
def test_commands(text: bytes, expected: acl.AclCommand) -> None:
    assert expected == parse_command(text)


@pytest.mark.rfc("4314 section 3")
@pytest.mark.parametrize(
    "text",
    [
        b"a SETACL x bob",
        b"a SETACL x bob lrQ",
        b'a SETACL x "" lr',
        b'a SETACL x " " lr',
        b"a DELETEACL x \xff",
        b'a DELETEACL x "a\tb"',
        b"a DELETEACL x " + b"y" * 401,
        b'a SETACL "" bob lr',
        b"a GETACL",
        b"a MYRIGHTS x y",
    ],
)
def test_bad_commands(text: bytes) -> None:
    with pytest.raises(BadSyntax):
        parse_command(text)


@pytest.mark.rfc("4314 section 3.6")
def test_responses() -> None:
    entries = [("Fred", "rwipslxcetda"), ("David Y", "")]
    assert responses.acl("INBOX", entries) == (b'* ACL "INBOX" Fred rwipslxcetda "David Y" ""\r\n')
    assert responses.list_rights("~/Mail/saved", b"smith", "la", ["r", "swicdkxte"]) == (
        b'* LISTRIGHTS "~/Mail/saved" smith la r swicdkxte\r\n'
    )
    assert responses.list_rights("x", b"anyone", "", "lr") == b'* LISTRIGHTS "x" anyone "" l r\r\n'
    assert responses.my_rights("INBOX", "rwiptsldaex") == b'* MYRIGHTS "INBOX" rwiptsldaex\r\n'
