"""imaplib in mailboxes of others, on a server of two processes and from the command line."""

import imaplib
from typing import Any

ALICE, BOB = "alice@example.test", "bob@example.test"
SHARED = f'"Other Users/{ALICE}/Projects"'


def log_in(server: Any, login: str) -> imaplib.IMAP4:
    """A client of its own, in whichever process."""
    client = imaplib.IMAP4("127.0.0.1", server.imap, timeout=30)
    client.login(login, "secret")
    return client


def test_sharing_and_taking_back(server: Any) -> None:
    alice, bobs = log_in(server, ALICE), [log_in(server, BOB) for _ in range(4)]
    assert alice.create("Projects")[0] == "OK"
    assert alice.setacl("Projects", BOB, "lrswi")[0] == "OK"
    entries = f"{ALICE} lrswipkxteacd {BOB} lrswi".encode()
    assert alice.getacl("Projects") == ("OK", [b'"Projects" ' + entries])
    (names,) = bobs[0].namespace()[1]
    assert names == b'(("" "/")) (("Other Users/" "/")) NIL'
    for bob in bobs:
        assert bob.myrights(SHARED) == ("OK", [f"{SHARED} lrswi".encode()])
        assert bob.select(SHARED)[0] == "OK"
        bob.send(b"x IDLE\r\n")
        while not bob.readline().startswith(b"+ "):
            pass
    alice.append("Projects", "", imaplib.Time2Internaldate(0), b"Subject: shared\r\n\r\nHi!\r\n")
    for bob in bobs:
        assert bob.readline() == b"* 1 EXISTS\r\n"
        assert bob.readline() == b"* 1 RECENT\r\n"
    server.mailstead("mailbox", "unshare", ALICE, "Projects", BOB)
    for bob in bobs:
        assert bob.readline().startswith(b"* BYE ")
        bob.shutdown()
    bob = log_in(server, BOB)
    assert bob.select(SHARED)[0] == "NO"
    server.mailstead("mailbox", "share", ALICE, "Projects", "anyone")
    assert bob.select(SHARED, readonly=True) == ("OK", [b"1"])
    assert bob.deleteacl(SHARED, "anyone")[0] == "NO"
    for client in (alice, bob):
        client.logout()
