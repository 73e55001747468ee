"""Does the author's domain stand behind the message, and if not, what does it want? (RFC 9989).

Takes the domains that SPF and DKIM authenticated, finds records and organizational domains by the
tree walk, and says which identifiers align. Pure: asks the DNS by yielding questions.
Not here: what is done with a message that fails (RFC 9989 section 5.4: never refused for that
alone), reports.
Holds: never raises; at most QUERIES_LIMIT questions a walk, and each name is asked for once.
"""

import enum
from collections.abc import Generator, Iterable, Sequence
from typing import TypeVar

import msgspec

from mailstead.model.address import DOMAIN_LIMIT, parse_domain
from mailstead.model.dns import Answer, Question, Status
from mailstead.msgauth.dmarc.record import Mode, Policy, Psd, Record, only_record, softened

T = TypeVar("T")
Lookup = Generator[Question, Answer, T]

QUERIES_LIMIT = 8  # of one tree walk (RFC 9989 section 4.10)
IDENTIFIERS_LIMIT = 10  # that are looked at: SPF's, and those of the first signatures
AUTHORS_LIMIT = 4  # domains of one From field that are looked at (RFC 9989 section 11.5)


class Dmarc(enum.StrEnum):
    """What the check comes to, in the words of RFC 9989 section 9."""

    NONE = "none"
    PASS = "pass"
    FAIL = "fail"
    TEMPERROR = "temperror"
    PERMERROR = "permerror"


class Method(enum.StrEnum):
    """By what a domain was authenticated."""

    SPF = "spf"
    DKIM = "dkim"


class Identifier(msgspec.Struct, frozen=True):
    """What SPF (of the MAIL FROM identity) or one DKIM signature came to, and for which domain."""

    method: Method
    domain: str
    result: str  # "pass" authenticates; "temperror" might have; others do not


class Alignment(msgspec.Struct, frozen=True):
    """How an identifier stands to the author's domain; `aligned` is None if the DNS kept silent."""

    identifier: Identifier
    mode: Mode
    aligned: bool | None
    organizational_domain: str = ""  # the identifier's, where it had to be found


class Verdict(msgspec.Struct, frozen=True):
    """What the check came to, and all that led there.

    `policy` is what applies to a failing message, with t=y reckoned in, and none for all others;
    `tag` is where it stands in the record: p, sp or np.
    """

    result: Dmarc
    author_domain: str
    policy_domain: str = ""  # where the record was found
    organizational_domain: str = ""  # the author's, where it had to be found
    record: Record | None = None
    policy: Policy = Policy.NONE
    tag: str = ""
    alignments: tuple[Alignment, ...] = ()
    problem: str = ""

    @property
    def aligned(self) -> tuple[Identifier, ...]:
        """The identifiers that pass and align: each of them alone makes the message pass."""
        return tuple(
            one.identifier
            for one in self.alignments
            if one.aligned and one.identifier.result == "pass"
        )


def check_authors(domains: Iterable[str], identifiers: Sequence[Identifier]) -> Lookup[Verdict]:
    """The verdict for a From field: of several domains the one that fails most severely.

    RFC 9989 sections 5.3.1 and 11.5. Only where each domain passes, the message does.
    """
    authors = list(dict.fromkeys(map(_normal, domains)))
    if not authors or "" in authors:
        return Verdict(Dmarc.NONE, "", problem="From names no domain, or what is none")
    if len(authors) > AUTHORS_LIMIT:
        problem = f"From names more than {AUTHORS_LIMIT} domains"
        return Verdict(Dmarc.PERMERROR, authors[0], problem=problem)
    check = _Check(identifiers)
    verdict = yield from check.judge(authors[0])
    for author in authors[1:]:
        verdict = max(verdict, (yield from check.judge(author)), key=_severity)
    return verdict


_SEVERITY = (Dmarc.PASS, Dmarc.NONE, Dmarc.PERMERROR, Dmarc.TEMPERROR, Dmarc.FAIL)


def _severity(verdict: Verdict) -> tuple[int, int]:
    return _SEVERITY.index(verdict.result), list(Policy).index(verdict.policy)


def _normal(domain: str) -> str:
    """Lower case and A-labels (RFC 9989 section 5.3.1); nothing if it is no domain name."""
    try:
        name = parse_domain(domain.removesuffix(".")) if len(domain) <= DOMAIN_LIMIT else ""
    except ValueError:
        return ""
    return "" if name.startswith("[") else name


def names_to_ask(domain: str) -> list[str]:
    """The domains of a tree walk, longest first; of long ones the middle is left out.

    RFC 9989 section 4.10.
    """
    labels = domain.split(".")
    first = min(len(labels) - 1, QUERIES_LIMIT - 1)
    return [domain, *(".".join(labels[-count:]) for count in range(first, 0, -1))]


def organizational_domain(domain: str, found: Sequence[tuple[str, Record]]) -> str:
    """Whose the domain is, by the records of its tree walk, longest name first.

    RFC 9989 section 4.10.2.
    """
    for name, record in found:
        if record.psd is Psd.NO:
            return name
        if record.psd is Psd.YES and name != domain:
            return ".".join(domain.split(".")[-name.count(".") - 2 :])
    return found[-1][0] if found else domain


class _Walk(msgspec.Struct, frozen=True):
    """What a tree walk found; `failed` names the first look-up without an answer."""

    domain: str
    found: tuple[tuple[str, Record], ...]
    failed: str

    @property
    def organizational_domain(self) -> str:
        """The domain's, as far as the DNS answered."""
        return organizational_domain(self.domain, self.found)


class _Check:
    """One message: its identifiers, and what the DNS said of all names so far."""

    def __init__(self, identifiers: Sequence[Identifier]) -> None:
        normal = (
            Identifier(one.method, _normal(one.domain), one.result)
            for one in identifiers
            if one.result in ("pass", "temperror")
        )
        self._identifiers = [one for one in dict.fromkeys(normal) if one.domain]
        del self._identifiers[IDENTIFIERS_LIMIT:]
        self._records: dict[str, Record | Status | None] = {}

    def judge(self, author: str) -> Lookup[Verdict]:
        """The verdict for one author's domain (RFC 9989 section 5.3)."""
        own = yield from self._ask(author)
        if isinstance(own, Record):
            return (yield from self._apply(author, author, own))
        walk = yield from self._walk(author)
        policy_domain = _policy_domain(walk)
        if policy_domain is None:
            result = Dmarc.TEMPERROR if walk.failed else Dmarc.NONE
            problem = f"no answer for TXT {walk.failed}" if walk.failed else "there is no record"
            return Verdict(result, author, problem=problem)
        record = dict(walk.found)[policy_domain]
        return (yield from self._apply(author, policy_domain, record, walk.failed))

    def _apply(
        self, author: str, policy_domain: str, record: Record, failed: str = ""
    ) -> Lookup[Verdict]:
        """The verdict by a record; `failed` if another might count instead of it."""
        problem = f"no answer for TXT {failed}" if failed else ""
        result = Dmarc.TEMPERROR if failed else Dmarc.PERMERROR
        verdict = Verdict(result, author, policy_domain, "", record, problem=problem)
        if record.p is None:
            unusable = f"the record of {policy_domain} cannot be used: {record.problem}"
            return msgspec.structs.replace(verdict, problem=problem or unusable)
        alignments = yield from self._align(author, record)
        organizational = ""
        if any(one.organizational_domain for one in alignments):
            organizational = (yield from self._walk(author)).organizational_domain
        verdict = msgspec.structs.replace(
            verdict, alignments=alignments, organizational_domain=organizational
        )
        if verdict.aligned:
            return msgspec.structs.replace(verdict, result=Dmarc.PASS, problem="")
        if problem := problem or _open_question(alignments):
            return msgspec.structs.replace(verdict, result=Dmarc.TEMPERROR, problem=problem)
        return (yield from self._fail(verdict, record.p))

    # -- alignment

    def _align(self, author: str, record: Record) -> Lookup[tuple[Alignment, ...]]:
        """How each identifier stands to the author's domain (RFC 9989 section 4.10.2)."""
        alignments = []
        for one in self._identifiers:
            mode = record.aspf if one.method is Method.SPF else record.adkim
            if one.domain == author or mode is Mode.STRICT or not _share_root(one.domain, author):
                alignments.append(Alignment(one, mode, one.domain == author))
            else:
                alignments.append((yield from self._align_relaxed(author, one)))
        return tuple(alignments)

    def _align_relaxed(self, author: str, identifier: Identifier) -> Lookup[Alignment]:
        ours = yield from self._walk(author)
        theirs = yield from self._walk(identifier.domain)
        domain = theirs.organizational_domain
        aligned: bool | None = domain == ours.organizational_domain
        if ours.failed or theirs.failed:
            aligned = None
        return Alignment(identifier, Mode.RELAXED, aligned, domain)

    # -- policy

    def _fail(self, verdict: Verdict, p: Policy) -> Lookup[Verdict]:
        """The policy for a message that nobody stands behind (RFC 9989 section 4.10.1)."""
        record = verdict.record
        assert record is not None
        policy, tag = p, "p"
        if verdict.author_domain != verdict.policy_domain:
            policy, tag = (p, "p") if record.sp is None else (record.sp, "sp")
            if record.np is not None and record.np is not policy:
                answer = yield Question("A", verdict.author_domain)
                if answer.failed:
                    problem = f"no answer for A {verdict.author_domain}"
                    return msgspec.structs.replace(verdict, result=Dmarc.TEMPERROR, problem=problem)
                if answer.status is Status.NXDOMAIN:
                    policy, tag = record.np, "np"
        applied = softened(policy) if record.testing else policy
        return msgspec.structs.replace(verdict, result=Dmarc.FAIL, policy=applied, tag=tag)

    # -- questions

    def _walk(self, domain: str) -> Lookup[_Walk]:
        """The records from the domain up to the root (RFC 9989 section 4.10)."""
        found: list[tuple[str, Record]] = []
        failed = ""
        for name in names_to_ask(domain):
            record = yield from self._ask(name)
            if isinstance(record, Record):
                found.append((name, record))
                if record.psd is not Psd.UNKNOWN:
                    break
            elif record is not None:
                failed = failed or f"_dmarc.{name}"
        return _Walk(domain, tuple(found), failed)

    def _ask(self, domain: str) -> Lookup[Record | Status | None]:
        """The domain's one record, or None; a Status if the DNS does not answer."""
        if domain not in self._records:
            answer = yield Question("TXT", f"_dmarc.{domain}")
            self._records[domain] = answer.status if answer.failed else only_record(answer.records)
        return self._records[domain]


def _policy_domain(walk: _Walk) -> str | None:
    """Whose record applies to a domain without its own: the organizational domain's, else a PSD's.

    RFC 9989 section 4.10.1.
    """
    names = [name for name, _ in walk.found]
    if walk.organizational_domain in names:
        return walk.organizational_domain
    return next((name for name, record in walk.found if record.psd is Psd.YES), None)


def _share_root(one: str, other: str) -> bool:
    """Whether any domain stands above both; else no walk can bring them together."""
    return one.rpartition(".")[2] == other.rpartition(".")[2]


def _open_question(alignments: Sequence[Alignment]) -> str:
    """Why nobody can say that the message fails, or nothing (RFC 9989 section 5.3.6)."""
    for one in alignments:
        name, domain = one.identifier.method.value.upper(), one.identifier.domain
        if one.aligned is None:
            return f"the organizational domain of {domain} cannot be found now"
        if one.aligned and one.identifier.result == "temperror":
            return f"{name} of {domain} could not be checked now"
    return ""
