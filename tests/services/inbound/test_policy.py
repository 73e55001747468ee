"""The verdict as a table: what is known, and what follows."""

import pytest

from mailstead.msgauth.arc import validate as chains
from mailstead.msgauth.dmarc.check import Dmarc
from mailstead.msgauth.dmarc.check import Verdict as DmarcVerdict
from mailstead.msgauth.dmarc.record import Policy
from mailstead.msgauth.spf.check import Verdict as SpfVerdict
from mailstead.msgauth.spf.record import Spf
from mailstead.services.inbound.evidence import Client, Evidence, Sealed
from mailstead.services.inbound.lists import Hit
from mailstead.services.inbound.policy import Wishes, judge

CLIENT = Client("192.0.2.66", "mail.example.net", "bob@example.net")
LISTED = Hit("zen", "192.0.2.66", ("SBL",), 4.0, of_client=True)
LINKED = Hit("dbl", "bad.example", ("spam",), 4.0)
ALLOWED = Hit("dnswl", "192.0.2.66", ("high",), -4.0, allows=True, of_client=True)
VOUCHED = (Sealed("a.example", "pass"), Sealed("lists.example", "fail"))


@pytest.mark.rfc("9989 section 7.4")
@pytest.mark.parametrize(
    ("spf", "dmarc", "policy", "more", "expected"),
    [
        ("pass", "pass", "none", {}, "inbox"),
        ("fail", "none", "none", {}, "inbox"),
        ("fail", "fail", "none", {}, "inbox"),
        ("fail", "fail", "quarantine", {}, "junk"),
        ("fail", "fail", "reject", {}, "refuse"),
        ("none", "fail", "reject", {}, "junk"),
        ("softfail", "fail", "reject", {}, "junk"),
        ("fail", "fail", "reject", {"passed_on": True}, "junk"),
        ("fail", "fail", "reject", {"passed_on": True, "hits": (LISTED,)}, "refuse"),
        ("none", "fail", "reject", {"hits": (LISTED,)}, "refuse"),
        ("none", "fail", "reject", {"hits": (LISTED, ALLOWED)}, "junk"),
        ("none", "fail", "reject", {"hits": (LINKED,)}, "junk"),
        ("none", "fail", "quarantine", {"hits": (LISTED,)}, "junk"),
        ("none", "pass", "reject", {"hits": (LISTED,)}, "inbox"),
        ("pass", "fail", "reject", {"hosted": True}, "junk"),
        ("none", "none", "none", {"hosted": True}, "junk"),
        ("fail", "fail", "reject", {"hosted": True, "hits": (LISTED,)}, "junk"),
        ("fail", "temperror", "none", {}, "defer"),
        ("fail", "temperror", "none", {"passed_on": True}, "inbox"),
        ("temperror", "temperror", "none", {}, "inbox"),
        ("none", "temperror", "none", {}, "inbox"),
        ("fail", "fail", "reject", {"chain": (Sealed("lists.example", "pass"),)}, "inbox"),
        ("fail", "fail", "reject", {"chain": (Sealed("x.lists.example", "pass"),)}, "inbox"),
        ("fail", "fail", "reject", {"chain": (Sealed("xlists.example", "pass"),)}, "refuse"),
        ("fail", "fail", "reject", {"chain": (Sealed("lists.example", "fail"),)}, "refuse"),
        ("fail", "fail", "reject", {"chain": VOUCHED}, "refuse"),
    ],
)
def test_verdicts(
    spf: str, dmarc: str, policy: str, more: dict[str, object], expected: str
) -> None:
    evidence = Evidence(
        client=CLIENT,
        spf=SpfVerdict(Spf(spf), "example.net", "example.net"),
        dmarc=DmarcVerdict(Dmarc(dmarc), "example.net", policy=Policy(policy)),
        arc=chains.Validation(chains.Status.NONE),
        **more,  # type: ignore[arg-type]
    )
    verdict = judge(evidence, Wishes(frozenset({"lists.example"})))
    assert verdict.action.value == expected
    assert (verdict.reply is not None) == (expected in ("refuse", "defer"))


@pytest.mark.parametrize(
    ("policy", "chain", "expected"),
    [
        ("reject", (), "refuse"),
        ("quarantine", (), "junk"),
        ("none", (), "inbox"),
        ("reject", (Sealed("lists.example", "pass"),), "inbox"),
    ],
)
def test_who_is_strict(policy: str, chain: tuple[Sealed, ...], expected: str) -> None:
    evidence = Evidence(
        client=CLIENT,
        spf=SpfVerdict(Spf.NONE, "example.net", "example.net"),
        dmarc=DmarcVerdict(Dmarc.FAIL, "example.net", policy=Policy(policy)),
        chain=chain,
        passed_on=True,
    )
    wishes = Wishes(frozenset({"lists.example"}), strict=True)
    assert judge(evidence, wishes).action.value == expected


def test_several_sealers_that_are_all_believed() -> None:
    evidence = Evidence(
        client=CLIENT,
        spf=SpfVerdict(Spf.FAIL, "example.net", "example.net"),
        chain=(Sealed("a.example", "pass"), Sealed("b.example", "fail")),
    )
    assert evidence.believed({"a.example", "b.example"}) == "a.example"
    assert evidence.believed({"a.example"}) == ""
    assert evidence.believed({"b.example"}) == ""
