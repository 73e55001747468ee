"""Sharing mailboxes on the command line."""

from .conftest import PASSWORD, Shell

ALICE, BOB = "alice@example.org", "bob@example.org"


def test_sharing(mailstead: Shell) -> None:
    added = mailstead("account", "add", BOB, "--password-stdin", stdin=PASSWORD + "\n")
    assert added.code == 0
    owner = {"who": ALICE, "rights": "lrswipkxtea"}
    assert mailstead("mailbox", "rights", ALICE, "Archive", "--json").json() == [owner]
    shared = mailstead("mailbox", "share", ALICE, "Archive", BOB)
    assert (shared.code, f"Other Users/{ALICE}/Archive" in shared.out) == (0, True)
    for who, rights, expected in (("anyone", "write", "lrswite"), (BOB, "lkd", "lkte")):
        ran = mailstead("mailbox", "share", ALICE, "Archive", who, "--rights", rights, "--json")
        assert {"who": who, "rights": expected} in ran.json()
    listed = mailstead("mailbox", "rights", ALICE, "Archive").out.splitlines()
    assert [line.split() for line in listed[1:]] == [
        [ALICE, "lrswipkxtea"],
        [BOB, "lkte"],
        ["anyone", "lrswite"],
    ]
    for who in (BOB, "anyone"):
        assert mailstead("mailbox", "unshare", ALICE, "Archive", who).code == 0
    assert mailstead("mailbox", "rights", ALICE, "Archive", "--json").json() == [owner]


def test_what_cannot_be_shared(mailstead: Shell) -> None:
    for arguments, said in {
        (ALICE, "Nowhere", "anyone"): "account show",
        ("nobody@example.org", "INBOX", "anyone"): "account list",
        (ALICE, "INBOX", "nobody@example.org"): "no account nobody@example.org",
        (ALICE, "INBOX", ALICE): "every right",
    }.items():
        refused = mailstead("mailbox", "share", *arguments)
        assert (refused.code, said in refused.err) == (1, True)
    for rights in ("lrQ", ""):
        assert mailstead("mailbox", "share", ALICE, "INBOX", "anyone", "--rights", rights).code == 2
