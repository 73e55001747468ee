"""What a client's behaviour says, as a table."""

import pytest

from mailstead.msgauth.iprev import Iprev
from mailstead.msgauth.iprev import Verdict as IprevVerdict
from mailstead.services.inbound.manners import Manners, facts_of, facts_of_name

US, PEER = "mx.example.org", "192.0.2.66"


@pytest.mark.rfc("5321 section 4.1.4")
@pytest.mark.parametrize(
    ("helo", "expected"),
    [
        ("mail.example.net", []),
        ("mail.example.net.", []),
        ("[192.0.2.66]", ["helo.literal"]),
        ("[192.0.2.67]", ["helo.wrong-literal"]),
        ("[IPv6:2001:db8::1]", ["helo.wrong-literal"]),
        ("192.0.2.66", ["helo.address"]),
        ("MX.example.org", ["helo.ours"]),
        ("localhost", ["helo.unqualified"]),
        ("localhost.localdomain", ["helo.unqualified"]),
        ("DESKTOP-4711", ["helo.unqualified"]),
        ("my pc.example.net", ["helo.malformed"]),
        ("", ["helo.unqualified"]),
    ],
)
def test_names(helo: str, expected: list[str]) -> None:
    assert [one.name for one in facts_of(Manners(helo), PEER, US)] == expected


def test_its_own_literal_in_ipv6() -> None:
    facts = facts_of(Manners("[IPv6:2001:DB8::1]"), "2001:db8::1", US)
    assert [one.name for one in facts] == ["helo.literal"]


def test_who_does_not_wait() -> None:
    facts = facts_of(Manners("mail.example.net", pipelined=True), PEER, US)
    assert [one.name for one in facts] == ["client.pipelined"]


@pytest.mark.parametrize(
    ("result", "name", "expected"),
    [
        (Iprev.PASS, "mail.example.net", []),
        (Iprev.PASS, "mail2.pool.example.net", ["iprev.generic"]),
        (Iprev.PASS, "66-2-0-192.example.net", ["iprev.generic"]),
        (Iprev.PASS, "host066.002.example.net", []),
        (Iprev.PASS, "dynamite.example.net", []),
        (Iprev.FAIL, "mail.example.net", ["iprev.fail"]),
        (Iprev.PERMERROR, "", ["iprev.none"]),
        (Iprev.TEMPERROR, "", []),
    ],
)
def test_reverse_names(result: Iprev, name: str, expected: list[str]) -> None:
    found = IprevVerdict(result, PEER, name, "" if name else "there is no PTR")
    assert [one.name for one in facts_of_name(found)] == expected
