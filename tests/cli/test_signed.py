"""`mailstead check dkim` and `check arc`."""

from typing import Any

import pytest

from mailstead.message.header import split
from mailstead.model.address import Domain
from mailstead.model.dns import Status
from mailstead.msgauth.arc.chain import parse_chain
from mailstead.msgauth.arc.seal import seal
from mailstead.msgauth.arc.validate import Status as ArcStatus
from mailstead.msgauth.arc.validate import Validation
from mailstead.msgauth.authres import AuthenticationResults
from mailstead.msgauth.dkim.canonical import BodyHash
from mailstead.msgauth.dkim.key import SigningKey
from mailstead.msgauth.dkim.sign import sign
from mailstead.net.clock import SystemClock
from mailstead.server import wiring
from mailstead.testing.zone import Zone

# A key that is as good as any other; the one of RFC 8463 section A.1.
KEY = SigningKey(
    Domain("example.org"),
    "e1",
    b"-----BEGIN PRIVATE KEY-----\n"
    b"MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n"
    b"-----END PRIVATE KEY-----\n",
)
HEADER = b"From: Alice <a@example.org>\r\nSubject: Hi\r\nTo: bob@example.net\r\n\r\n"
BODY = b"Hi Bob!\r\n"


def body_hash(body: bytes) -> bytes:
    hashed = BodyHash()
    hashed.add(body)
    return hashed.finish()


SIGNED = sign(HEADER, body_hash(BODY), KEY, SystemClock().now()) + HEADER + BODY


@pytest.fixture
def zone(monkeypatch: pytest.MonkeyPatch) -> Zone:
    """The DNS as the command line sees it."""
    simulated = Zone()
    monkeypatch.setattr(wiring, "_resolver", lambda *_: simulated)
    simulated["TXT", KEY.name] = KEY.record
    return simulated


def check(shell: Any, what: str, message: bytes) -> tuple[int, str]:
    ran = shell("check", what, stdin=message.decode())
    return ran.code, ran.out.rstrip()


def test_a_good_signature(mailstead: Any, zone: Zone) -> None:
    expected = "pass      example.org (s=e1, ed25519-sha256, 256 bits)"
    assert check(mailstead, "dkim", SIGNED) == (0, expected)
    assert check(mailstead, "dkim", SIGNED.replace(b"\r\n", b"\n")) == (0, expected)


def test_no_signature(mailstead: Any, zone: Zone) -> None:
    assert check(mailstead, "dkim", HEADER + BODY) == (1, "The message is not signed.")


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (SIGNED + b"-- \r\nList\r\n", "probably the last 10 octets of the body were added"),
        (SIGNED.replace(b"Hi Bob", b"Hi Eve"), "fail      example.org (s=e1, ed25519-sha256"),
        (SIGNED.replace(b"Subject: ", b"Subject: [L] "), "a prefix was put into Subject"),
        (b"Cc: eve@example.com\r\n" + SIGNED, "probably a field Cc was added"),
        (SIGNED.replace(b"v=1", b"v=2"), "neutral   example.org (s=e1): v=2 is another version"),
    ],
)
def test_a_bad_one_says_why(mailstead: Any, zone: Zone, message: bytes, said: str) -> None:
    code, out = check(mailstead, "dkim", message)
    assert code == 1
    assert said in out


def test_the_dns_does_not_answer(mailstead: Any, zone: Zone) -> None:
    zone.fail(KEY.name, Status.TIMEOUT)
    code, out = check(mailstead, "dkim", SIGNED)
    assert (code, out.partition(" ")[0]) == (75, "temperror")


def test_a_revoked_key(mailstead: Any, zone: Zone) -> None:
    zone["TXT", KEY.name] = "v=DKIM1; p="
    code, out = check(mailstead, "dkim", SIGNED)
    assert code == 1
    assert "permerror example.org" in out
    assert "the key was revoked by its owner" in out


def test_for_programs(mailstead: Any, zone: Zone) -> None:
    ran = mailstead("check", "dkim", "--json", stdin=(SIGNED + b"More\r\n").decode())
    (found,) = ran.json()
    assert found["result"]["verdict"] == "fail"
    assert found["result"]["cause"] == "body"
    assert found["guess"] == "the last 6 octets of the body were added"


def test_arc(mailstead: Any, zone: Zone) -> None:
    assert check(mailstead, "arc", SIGNED) == (0, "The message has no ARC chain.")
    header, body = split(SIGNED)
    fields = seal(
        header,
        body_hash(body),
        parse_chain(header),
        Validation(ArcStatus.NONE),
        AuthenticationResults("mx.example.org"),
        KEY,
        SystemClock().now(),
    )
    sealed = fields + SIGNED
    expected = "pass\ni=1 example.org (s=e1)\nnobody changed the message since i=1"
    assert check(mailstead, "arc", sealed) == (0, expected)
    code, out = check(mailstead, "arc", sealed + b"More\r\n")
    assert code == 1
    assert out.startswith("fail: the message is not as i=1 signed it: the body was changed")
    found = mailstead("check", "arc", "--json", stdin=sealed.decode()).json()
    assert (found["status"], found["oldest_pass"]) == ("pass", 0)
    assert found["sealers"] == [{"instance": 1, "domain": "example.org", "selector": "e1"}]
