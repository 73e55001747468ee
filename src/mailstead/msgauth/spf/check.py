"""check_host: may this client send mail in the name of this domain? (RFC 7208 section 4).

Pure: asks the DNS by yielding questions. How long all of it may take is the caller's to say
(RFC 7208 section 4.6.4: at least 20 seconds, then "temperror").
Holds: never raises, whatever sender, HELO name and DNS say; at most LOOKUP_LIMIT terms that ask,
each with at most NAMES_LIMIT names; VOID_LIMIT answers of nothing.
"""

import ipaddress
import re
from collections.abc import Generator
from datetime import UTC, datetime
from typing import TypeVar, assert_never

import msgspec

from mailstead.model.address import parse_domain
from mailstead.model.dns import Answer, Question, Status
from mailstead.msgauth.spf import macro, record
from mailstead.msgauth.spf.macro import IpAddress, MacroString
from mailstead.msgauth.spf.record import (
    All,
    Exists,
    HostAddress,
    Include,
    Mechanism,
    Modifier,
    Mx,
    Network,
    Ptr,
    Record,
    Spf,
)

T = TypeVar("T")
Lookup = Generator[Question, Answer, T]

LOOKUP_LIMIT = 10  # terms that ask the DNS, all records together (RFC 7208 section 4.6.4)
VOID_LIMIT = 2  # of them whose answer was nothing
NAMES_LIMIT = 10  # names of one MX or PTR question whose addresses are asked for
SENDER_LIMIT = 320  # characters of a sender or HELO name; what follows is passed over
EXPLANATION_LIMIT = 400  # characters of an explanation, which has to fit into a reply

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NOTHING = Answer(Status.NXDOMAIN)
DEFAULT = "default"  # the mechanism, where none matched (RFC 7208 section 9.1)


class Verdict(msgspec.Struct, frozen=True):
    """What the check came to, and what decided it.

    `identity` is the domain that was checked, `domain` the one whose record decided (another one
    after a redirect), `mechanism` the term that matched, as written.
    """

    result: Spf
    identity: str
    domain: str
    mechanism: str = ""
    lookups: int = 0
    problem: str = ""  # of an error or of "none", for people
    explanation: str = ""  # the domain's own words on a fail; not to be believed


def check_mail_from(
    client: str, reverse_path: str, helo: str, receiver: str = "", now: datetime | None = None
) -> Lookup[Verdict]:
    """The check of the MAIL FROM identity; of the null reverse-path it is postmaster@HELO.

    RFC 7208 section 2.4. An explanation is fetched if `now` is given.
    """
    sender = reverse_path or f"postmaster@{helo}"
    domain = sender.rpartition("@")[2]
    return (yield from check_host(client, domain, sender, helo, receiver, now))


def check_helo(
    client: str, helo: str, receiver: str = "", now: datetime | None = None
) -> Lookup[Verdict]:
    """The check of the HELO identity (RFC 7208 section 2.3)."""
    return (yield from check_host(client, helo, f"postmaster@{helo}", helo, receiver, now))


def check_host(
    client: str,
    domain: str,
    sender: str,
    helo: str,
    receiver: str = "",
    now: datetime | None = None,
) -> Lookup[Verdict]:
    """Whether the client's address may be used by the sender, as the domain's record says.

    `receiver` and `now` are for explanations, which are fetched only if `now` is given.
    ValueError if the client is no IP address.
    """
    identity = _normal(domain)
    if not _is_checkable(identity):
        problem = "it is no domain name of several labels"
        return Verdict(Spf.NONE, identity, identity, problem=problem)
    check = _Check(_address(client), identity, sender, helo)
    try:
        decision = yield from check.evaluate(identity)
    except _Failed as failed:
        return Verdict(
            failed.result, identity, failed.domain, failed.term, check.lookups, failed.problem
        )
    explanation = ""
    if decision.explanation and decision.result is Spf.FAIL and now is not None:
        explanation = yield from check.explain(decision, receiver, now)
    return Verdict(
        decision.result,
        identity,
        decision.domain,
        decision.term,
        check.lookups,
        decision.problem,
        explanation,
    )


def _address(text: str) -> IpAddress:
    """The address; an IPv4-mapped one is IPv4 (RFC 7208 section 5)."""
    address = ipaddress.ip_address(text.partition("%")[0])
    return getattr(address, "ipv4_mapped", None) or address


def _normal(domain: str) -> str:
    """Lower case, A-labels (RFC 8616 section 4), no final dot; nothing if that cannot be."""
    if domain.isascii():
        return domain[:SENDER_LIMIT].lower().removesuffix(".")
    try:
        return parse_domain(domain[:SENDER_LIMIT])
    except ValueError:
        return ""


_NAME = re.compile(r"[^.]{1,63}(?:\.[^.]{1,63})*")
_LABEL = r"[^.\[\]\x00-\x20\x7f]{1,63}"  # so an address literal is none
_CHECKABLE = re.compile(rf"{_LABEL}(?:\.{_LABEL})+")


def _is_checkable(domain: str) -> bool:
    """RFC 7208 section 4.3."""
    return len(domain) <= macro.NAME_LIMIT and _CHECKABLE.fullmatch(domain) is not None


def _is_name(name: str) -> bool:
    """Whether the DNS can be asked for it: what macros stand for may be anything."""
    return name.isascii() and len(name) <= macro.NAME_LIMIT and bool(_NAME.fullmatch(name))


class _Failed(Exception):
    """What ends the topmost check at once: a temporary or a permanent error."""

    def __init__(self, result: Spf, domain: str, term: str, problem: str) -> None:
        super().__init__(problem)
        self.result, self.domain, self.term, self.problem = result, domain, term, problem


class _Decision(msgspec.Struct, frozen=True):
    """What one record came to; `explanation` is that record's exp=."""

    result: Spf
    domain: str
    term: str = ""
    problem: str = ""
    explanation: Modifier | None = None


class _Check:
    """One run of check_host with its includes and redirects: one client, one count of look-ups."""

    def __init__(self, address: IpAddress, domain: str, sender: str, helo: str) -> None:
        self.lookups = 0
        self._address, self._voids = address, 0
        self._type = "AAAA" if address.version == 6 else "A"
        local_part, _, sender_domain = sender[:SENDER_LIMIT].rpartition("@")
        local_part = macro.clean(local_part, SENDER_LIMIT) or "postmaster"
        sender_domain = _normal(sender_domain) or domain
        self._values = {
            "s": f"{local_part}@{sender_domain}",
            "l": local_part,
            "o": sender_domain,
            "i": macro.dotted(address),
            "v": "ip6" if address.version == 6 else "in-addr",
            "h": macro.clean(_normal(helo) if not helo.isascii() else helo, SENDER_LIMIT),
        }
        self._names: list[str] | None = None  # of the client, as its PTR records say
        self._validated: dict[str, bool] = {}

    # -- records

    def evaluate(self, domain: str) -> Lookup[_Decision]:
        """What the domain's record says of the client (RFC 7208 sections 4.6 and 4.7)."""
        found = yield from self._fetch(domain)
        if found is None:
            return _Decision(Spf.NONE, domain, problem="there is no record")
        for directive in found.directives:
            if (yield from self._matches(directive.mechanism, domain, directive.text)):
                return _Decision(
                    directive.result, domain, directive.text, explanation=found.explanation
                )
        if found.redirect is not None:
            return (yield from self._redirect(found.redirect, domain))
        return _Decision(Spf.NEUTRAL, domain, DEFAULT)

    def _fetch(self, domain: str) -> Lookup[Record | None]:
        """The one record of the domain (RFC 7208 sections 4.4 and 4.5)."""
        answer = yield Question("TXT", domain)
        if answer.failed:
            raise _Failed(Spf.TEMPERROR, domain, "", f"no answer for TXT {domain}")
        texts = [text for text in answer.records if record.is_record(text)]
        if len(texts) > 1:
            raise _Failed(Spf.PERMERROR, domain, "", f"{domain} has {len(texts)} records")
        try:
            return record.parse(texts[0]) if texts else None
        except ValueError as error:
            raise _Failed(Spf.PERMERROR, domain, "", str(error)) from None

    def _redirect(self, redirect: Modifier, domain: str) -> Lookup[_Decision]:
        """The result of another domain's record instead (RFC 7208 section 6.1)."""
        self._count(domain, redirect.text)
        target = yield from self._target(redirect.domain, domain, redirect.text)
        if _is_name(target):
            decision = yield from self.evaluate(target)
            if decision.result is not Spf.NONE:
                return decision
        problem = f"{redirect.text} leads to {target}, which has no record"
        raise _Failed(Spf.PERMERROR, domain, redirect.text, problem)

    # -- mechanisms

    def _matches(self, mechanism: Mechanism, domain: str, term: str) -> Lookup[bool]:
        """Whether the mechanism speaks of the client (RFC 7208 section 5)."""
        match mechanism:
            case All():
                return True
            case Network(network):
                return self._address in network
            case Include():
                return (yield from self._include(mechanism.domain, domain, term))
            case HostAddress():
                return (yield from self._host_address(mechanism, domain, term))
            case Mx():
                return (yield from self._mx(mechanism, domain, term))
            case Ptr():
                return (yield from self._ptr(mechanism.domain, domain, term))
            case Exists():
                return (yield from self._exists(mechanism.domain, domain, term))
            case _:
                assert_never(mechanism)

    def _include(self, spec: MacroString, domain: str, term: str) -> Lookup[bool]:
        self._count(domain, term)
        target = yield from self._target(spec, domain, term)
        if not target.isascii():  # of a local-part: matches nothing (RFC 8616 section 4)
            return False
        decision = None
        if _is_name(target):
            decision = yield from self.evaluate(target)
        if decision is None or decision.result is Spf.NONE:
            problem = f"{term} leads to {target}, which has no record"
            raise _Failed(Spf.PERMERROR, domain, term, problem)
        return decision.result is Spf.PASS

    def _host_address(self, mechanism: HostAddress, domain: str, term: str) -> Lookup[bool]:
        self._count(domain, term)
        target = yield from self._target(mechanism.domain, domain, term)
        answer = yield from self._ask(self._type, target, domain, term)
        return self._is_among(answer, mechanism.ip4_prefix, mechanism.ip6_prefix)

    def _mx(self, mechanism: Mx, domain: str, term: str) -> Lookup[bool]:
        self._count(domain, term)
        target = yield from self._target(mechanism.domain, domain, term)
        hosts = (yield from self._ask("MX", target, domain, term)).mx()
        for host in hosts[:NAMES_LIMIT]:
            # Hosts without an address are no void look-ups of the term: a domain whose hosts have
            # IPv4 addresses only would else be broken for clients with IPv6.
            answer = yield from self._ask(self._type, host.exchange, domain, term, counts=False)
            if self._is_among(answer, mechanism.ip4_prefix, mechanism.ip6_prefix):
                return True
        if len(hosts) > NAMES_LIMIT:
            problem = f"{target} has more than {NAMES_LIMIT} MX hosts"
            raise _Failed(Spf.PERMERROR, domain, term, problem)
        return False

    def _ptr(self, spec: MacroString | None, domain: str, term: str) -> Lookup[bool]:
        self._count(domain, term)
        target = yield from self._target(spec, domain, term)
        for name in (yield from self._client_names()):
            if _lies_in(name, target) and (yield from self._is_validated(name)):
                return True
        return False

    def _exists(self, spec: MacroString, domain: str, term: str) -> Lookup[bool]:
        self._count(domain, term)
        target = yield from self._target(spec, domain, term)
        answer = yield from self._ask("A", target, domain, term)  # also for IPv6 (section 5.7)
        return bool(answer.records)

    # -- the client's names

    def _client_names(self) -> Lookup[list[str]]:
        """What its PTR records say, not yet validated; nothing if the DNS fails (section 5.5)."""
        if self._names is None:
            answer = yield Question("PTR", self._address.reverse_pointer)
            names = [name.lower().removesuffix(".") for name in answer.records[:NAMES_LIMIT]]
            self._names = [name for name in names if _is_name(name)]
        return self._names

    def _is_validated(self, name: str) -> Lookup[bool]:
        if name not in self._validated:
            answer = yield Question(self._type, name)
            self._validated[name] = self._is_among(answer, 32, 128)
        return self._validated[name]

    def _validated_name(self, domain: str) -> Lookup[str]:
        """The value of %{p}: the domain, else a name in it, else any (RFC 7208 section 7.3)."""
        names = yield from self._client_names()
        for name in sorted(names, key=lambda one: (one != domain, not _lies_in(one, domain))):
            if (yield from self._is_validated(name)):
                return name
        return "unknown"

    # -- questions

    def _count(self, domain: str, term: str) -> None:
        self.lookups += 1
        if self.lookups > LOOKUP_LIMIT:
            problem = f"more than {LOOKUP_LIMIT} terms have to look something up"
            raise _Failed(Spf.PERMERROR, domain, term, problem)

    def _target(self, spec: MacroString | None, domain: str, term: str) -> Lookup[str]:
        """The <target-name> (RFC 7208 section 4.8)."""
        if spec is None:
            return domain
        if self._names is None and macro.uses(spec, "p"):
            self._count(domain, term)  # its PTR question is one more (RFC 7208 section 4.6.4)
        values = yield from self._values_for(spec, domain)
        return macro.shorten(macro.expand(spec, values).removesuffix(".")).lower()

    def _values_for(self, pieces: MacroString, domain: str) -> Lookup[dict[str, str]]:
        values = {**self._values, "d": domain}
        if macro.uses(pieces, "p"):
            values["p"] = yield from self._validated_name(domain)
        return values

    def _ask(
        self, kind: str, name: str, domain: str, term: str, counts: bool = True
    ) -> Lookup[Answer]:
        """The answer; a name that cannot be has no records, a failure ends the check."""
        if not _is_name(name):
            return _NOTHING
        answer = yield Question(kind, name)
        if answer.failed:
            raise _Failed(Spf.TEMPERROR, domain, term, f"no answer for {kind} {name}")
        if counts and not answer.records:
            self._voids += 1
            if self._voids > VOID_LIMIT:
                problem = f"more than {VOID_LIMIT} terms look up what is not there"
                raise _Failed(Spf.PERMERROR, domain, term, problem)
        return answer

    def _is_among(self, answer: Answer, ip4_prefix: int, ip6_prefix: int) -> bool:
        bits = self._address.max_prefixlen
        shift = bits - (ip6_prefix if bits == 128 else ip4_prefix)
        wanted = int(self._address) >> shift
        addresses = map(ipaddress.ip_address, answer.records)
        return any(int(one) >> shift == wanted for one in addresses if one.max_prefixlen == bits)

    # -- explanations

    def explain(self, decision: _Decision, receiver: str, now: datetime) -> Lookup[str]:
        """The domain's words on why, in ASCII; nothing if there is any fault (section 6.2)."""
        if decision.explanation is None:
            return ""
        domain, spec = decision.domain, decision.explanation.domain
        values = yield from self._values_for(spec, domain)
        target = macro.shorten(macro.expand(spec, values).removesuffix(".")).lower()
        answer = (yield Question("TXT", target)) if _is_name(target) else _NOTHING
        if len(answer.records) != 1:
            return ""
        try:
            pieces = macro.parse(answer.records[0][: record.RECORD_LIMIT])
        except ValueError:
            return ""
        values = yield from self._values_for(pieces, domain)
        values["c"] = str(self._address)
        values["r"] = receiver or "unknown"
        values["t"] = str(int((now - _EPOCH).total_seconds()))
        return _plain(macro.expand(pieces, values))


def _lies_in(name: str, domain: str) -> bool:
    return name == domain or name.endswith("." + domain)


def _plain(text: str) -> str:
    """Printable ASCII, not too long: a reply can hold nothing else (RFC 5321 section 2.4)."""
    return _UNPRINTABLE.sub("?", text[:EXPLANATION_LIMIT])


_UNPRINTABLE = re.compile(r"[^ -~]")
