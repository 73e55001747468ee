"""What TLS is demanded of a host that takes a domain's mail, and by whom. Pure.

DANE where the host has usable TLSA records (RFC 7672), else MTA-STS (RFC 8461), which never
overrides DANE; else TLS if it works (RFC 7435). A message may demand more (REQUIRETLS, RFC 8689
section 4.2.1). Not here: how that is learned (tls_policy), how it is met (connect).
Holds: what a policy demands and a host does not give puts mail off; it never leaves in the clear.
"""

import enum

import msgspec

from mailstead.model.reply import Reply
from mailstead.msgauth import mtasts
from mailstead.msgauth.dane import Binding, Unknown
from mailstead.msgauth.mtasts import Mode
from mailstead.msgauth.tlsrpt import NO_POLICY, Policy, PolicyType, Result


class Wanted(enum.StrEnum):
    """What is asked of a connection beyond what the Way says."""

    OPPORTUNISTIC = "opportunistic"  # TLS if offered, in the clear if that fails again and again
    ENCRYPTED = "encrypted"  # TLS with any certificate (RFC 7672 section 2.2.3)
    TESTING = "testing"  # as enforce, but what fails is counted and goes on opportunistically
    ENFORCE = "enforce"  # TLS with a certificate for the host, of a public CA (RFC 8461)
    VERIFIED = "verified"  # the same because the message says so (RFC 8689)
    DANE = "dane"  # TLS with a certificate that the TLSA records name


class Demand(msgspec.Struct, frozen=True):
    """What a connection has to be like; `policy` is what reports say it was judged by."""

    wanted: Wanted = Wanted.OPPORTUNISTIC
    policy: Policy = NO_POLICY
    binding: Binding | None = None  # with DANE
    names: tuple[str, ...] = ()  # reference identifiers (RFC 7672 section 3.2.2)
    require_tls: bool = False  # the host has to offer REQUIRETLS too
    failed: Result | None = None  # the policy failed before any session

    @property
    def mandatory(self) -> bool:
        """Whether nothing less will do."""
        return self.wanted not in (Wanted.OPPORTUNISTIC, Wanted.TESTING)

    @property
    def by_name(self) -> bool:
        """Whether OpenSSL has to verify the certificate, name and all."""
        return self.wanted in (Wanted.TESTING, Wanted.ENFORCE, Wanted.VERIFIED)


ANYHOW = Demand()


class Unusable(msgspec.Struct, frozen=True):
    """The host must not be used now: why, and what reports call it."""

    reply: Reply
    policy: Policy = NO_POLICY
    result: Result | None = None


class NextHop(msgspec.Struct, frozen=True):
    """Whose mail it is; `secure` if DNSSEC vouches for the names of its hosts."""

    domain: str
    port: int
    secure: bool
    require_tls: bool = False


def decide(
    hop: NextHop, host: str, binding: Binding | Unknown | None, sts: mtasts.Policy | None
) -> Demand | Unusable:
    """What is demanded of the host, with these TLSA records and that policy of the domain."""
    if isinstance(binding, Unknown):
        return _unknown(binding)
    if binding and binding.usable:
        names = tuple(dict.fromkeys((binding.base, host, hop.domain)))
        policy = Policy(PolicyType.TLSA, binding.records)
        return Demand(Wanted.DANE, policy, binding, names, hop.require_tls)
    demand = _by_sts(hop, host, sts)
    if isinstance(demand, Unusable) or demand.wanted is Wanted.ENFORCE:
        return demand
    if hop.require_tls:
        return _required(hop, demand)
    if binding:
        policy = Policy(PolicyType.TLSA, binding.records)
        return Demand(Wanted.ENCRYPTED, policy, failed=Result.TLSA_INVALID)
    return demand


def _unknown(unknown: Unknown) -> Unusable:
    question = f"{unknown.question.type} {unknown.question.name}"
    text = f"The DNS does not answer now: {question} ({unknown.answer.status.value})"
    return Unusable(Reply(451, "4.4.3", text), Policy(PolicyType.TLSA), Result.DNSSEC_INVALID)


def _by_sts(hop: NextHop, host: str, sts: mtasts.Policy | None) -> Demand | Unusable:
    if sts is None or sts.mode is Mode.NONE:
        return ANYHOW
    policy = Policy(PolicyType.STS, mtasts.policy_lines(sts))
    if mtasts.allows(sts.mx, host):
        wanted = Wanted.ENFORCE if sts.mode is Mode.ENFORCE else Wanted.TESTING
        return Demand(wanted, policy, require_tls=hop.require_tls)
    if sts.mode is Mode.TESTING:
        return Demand(policy=policy, failed=Result.VALIDATION_FAILURE)
    text = f"The MTA-STS policy of {hop.domain} does not name the host {host}"
    return Unusable(Reply(451, "4.7.5", text), policy, Result.VALIDATION_FAILURE)


# RFC 8689 section 4.2.1: what cannot be had here will not be had later; the sender is told at once.
_UNPROVEN = Reply(
    550, "5.7.10", "The message requires TLS, but neither DNSSEC nor MTA-STS vouches for this host"
)


def _required(hop: NextHop, demand: Demand) -> Demand | Unusable:
    """The message wants TLS of a host that is surely the domain's."""
    if not hop.secure and demand.wanted is not Wanted.TESTING:
        return Unusable(_UNPROVEN)
    return Demand(Wanted.VERIFIED, demand.policy, require_tls=True)
