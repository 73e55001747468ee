"""What was found of a message's authentication, in the forms that others read: the field on top of
the message (RFC 8601) and the entry of the journal. Pure.
"""

from collections.abc import Iterator
from datetime import datetime

from mailstead.model.entries import Authenticated
from mailstead.msgauth import authres, iprev
from mailstead.msgauth.arc.validate import Status
from mailstead.msgauth.authres import AuthenticationResults, Property, Result
from mailstead.msgauth.dkim.verify import Result as DkimResult
from mailstead.msgauth.dmarc.check import Dmarc
from mailstead.msgauth.spf.record import Spf
from mailstead.services.inbound.evidence import Evidence
from mailstead.services.inbound.policy import Verdict

REASON_LIMIT = 300  # characters about a signature in the journal


def is_genuine(evidence: Evidence) -> bool:
    """Whether its sender is who it says, so that they may be told of failures."""
    passed = evidence.dmarc is not None and evidence.dmarc.result is Dmarc.PASS
    return passed or evidence.spf.result is Spf.PASS


def results_of(evidence: Evidence, hostname: str) -> AuthenticationResults:
    """What was found, for Authentication-Results and for ARC's copy of it."""
    return AuthenticationResults(hostname, tuple(_results(evidence)))


def field_of(evidence: Evidence, hostname: str) -> bytes:
    """Authentication-Results, with its line end."""
    return authres.format(results_of(evidence, hostname))


def _results(evidence: Evidence) -> Iterator[Result]:
    """RFC 8601 section 2.7, RFC 9989 section 9, RFC 8617 section 10.2."""
    spf, client = evidence.spf, evidence.client
    who = ("mailfrom", client.reverse_path) if client.reverse_path else ("helo", client.helo)
    yield Result("spf", spf.result.value, (Property("smtp", *who),), spf.problem)
    for one in evidence.dkim:
        found = [("d", one.domain), ("s", one.selector), ("a", one.algorithm)]
        properties = tuple(Property("header", name, value) for name, value in found if value)
        yield Result("dkim", one.verdict.value, properties, one.reason)
    if not evidence.dkim:
        yield Result("dkim", "none")
    if evidence.dmarc is not None:
        domain = Property("header", "from", evidence.dmarc.author_domain)
        yield Result("dmarc", evidence.dmarc.result.value, (domain,))
    if evidence.arc.status is not Status.NONE:
        yield _arc(evidence)
    if evidence.iprev is not None:
        yield _iprev(evidence.iprev)


def _arc(evidence: Evidence) -> Result:
    found, properties = evidence.arc, [Property("smtp", "remote-ip", evidence.client.address)]
    if found.oldest_pass is not None:
        properties.append(Property("header", "oldest-pass", str(found.oldest_pass)))
    return Result("arc", found.status.value, tuple(properties), found.reason)


def _iprev(found: iprev.Verdict) -> Result:
    return Result("iprev", found.result.value, (Property("policy", "iprev", found.address),))


def entry_of(evidence: Evidence, verdict: Verdict, now: datetime) -> Authenticated:
    """What the journal keeps of it."""
    spf, dmarc = evidence.spf, evidence.dmarc
    return Authenticated(
        at=now,
        spf=spf.result.value,
        spf_domain=spf.identity,
        dkim=tuple(map(_in_words, evidence.dkim)),
        dmarc=dmarc.result.value if dmarc else "",
        domain=dmarc.author_domain if dmarc else "",
        policy=dmarc.policy.value if dmarc and dmarc.record else "",
        action=verdict.action.value,
        reason=verdict.reason,
    )


def _in_words(one: DkimResult) -> str:
    reason = f": {one.reason}" if one.reason else ""
    return f"{one.domain} {one.verdict.value}{reason}"[:REASON_LIMIT]
