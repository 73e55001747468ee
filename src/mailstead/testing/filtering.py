"""For tests of operators' own code: the file loaded as the server loads it, and evidence for it.

judge = load_code("filter.py")
verdict = judge(evidence(spf="fail", listed="spamhaus-zen"), ALL_RIGHT, "alice@example.org")
assert verdict.action == "junk"
"""

from pathlib import Path

from mailstead.msgauth.dmarc.check import Dmarc
from mailstead.msgauth.dmarc.check import Verdict as DmarcVerdict
from mailstead.msgauth.dmarc.record import Policy
from mailstead.msgauth.spf.check import Verdict as SpfVerdict
from mailstead.msgauth.spf.record import Spf
from mailstead.services.inbound.evidence import Client, Evidence
from mailstead.services.inbound.facts import Fact
from mailstead.services.inbound.lists import Hit
from mailstead.services.inbound.own_code import Judge, checked, load
from mailstead.services.inbound.policy import ALL_RIGHT, Verdict
from mailstead.spam.rules import Part
from mailstead.spam.score import add_up

__all__ = ["ALL_RIGHT", "Part", "evidence", "load_code"]


def load_code(path: Path | str) -> Judge:
    """The function of the file, which gives what the server would take from it."""
    judge, name = load(Path(path)), str(path)

    def judged(evidence: Evidence, verdict: Verdict, recipient: str) -> Verdict:
        return checked(judge(evidence, verdict, recipient), verdict, name)

    return judged


def evidence(
    sender: str = "bob@example.net",
    address: str = "192.0.2.1",
    helo: str = "mail.example.net",
    spf: str = "pass",
    dmarc: str = "pass",
    policy: str = "none",
    listed: str = "",
    facts: tuple[Fact, ...] = (),
    rules: tuple[Part, ...] = (),
) -> Evidence:
    """Evidence of a message from `sender`, whose client has the address; results as in RFC 8601.

    The score is the sum of `rules`.
    """
    domain = sender.rpartition("@")[2]
    hits = (Hit(listed, address, ("listed",), 4.0, of_client=True),) if listed else ()
    return Evidence(
        client=Client(address, helo, sender),
        spf=SpfVerdict(Spf(spf), domain, domain),
        dmarc=DmarcVerdict(Dmarc(dmarc), domain, policy=Policy(policy)),
        hits=hits,
        facts=(*facts, *(hit.fact for hit in hits)),
        score=add_up(rules),
    )
