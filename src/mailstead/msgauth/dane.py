"""DANE for SMTP: which TLSA records bind a host, and whether its certificates match (RFC 7672).

Pure: asks the DNS by yielding questions; certificates come as DER, the peer's own first.
Usages DANE-TA(2) and DANE-EE(3); PKIX-TA(0) and PKIX-EE(1) are unusable (RFC 7672 section 3.1.3).
Not here: the way from a certificate to a trust anchor (certpath), the handshake.
Holds: only answers with the AD bit count; a look-up that fails is never taken for "no records".
"""

import enum
import hashlib
from collections.abc import Generator, Sequence
from datetime import datetime
from typing import TypeVar

import msgspec

from mailstead.model.dns import Answer, Question
from mailstead.msgauth import certpath
from mailstead.msgauth.certpath import Anchors, Certificate
from mailstead.msgauth.tlsrpt import Result

T = TypeVar("T")
Lookup = Generator[Question, Answer, T]

RECORDS_LIMIT = 100  # of one host
ALIASES_LIMIT = 8  # CNAME records in a row
CHAIN_LIMIT = 10  # certificates of a peer that are looked at


class Usage(enum.IntEnum):
    """What the record is about (RFC 7218); others are unusable here."""

    DANE_TA = 2
    DANE_EE = 3


class Selector(enum.IntEnum):
    """What of the certificate is compared."""

    CERT = 0
    SPKI = 1


class Matching(enum.IntEnum):
    """How it is compared."""

    FULL = 0
    SHA2_256 = 1
    SHA2_512 = 2


class Tlsa(msgspec.Struct, frozen=True):
    """One TLSA record (RFC 6698 section 2.1)."""

    usage: int
    selector: int
    matching: int
    data: bytes

    def __str__(self) -> str:
        return f"{self.usage} {self.selector} {self.matching} {self.data.hex()}"


class Binding(msgspec.Struct, frozen=True):
    """A host's secure TLSA records: `usable` ones authenticate it; with none, TLS is a must still.

    `base` is the TLSA base domain: the name to ask for in the handshake.
    """

    base: str
    records: tuple[str, ...]  # all, as reports quote them
    usable: tuple[Tlsa, ...]


class Unknown(msgspec.Struct, frozen=True):
    """The DNS kept something back: this host must not be used for now (RFC 7672 section 2.1.2)."""

    question: Question
    answer: Answer


# ---------------------------------------------------------------------- the records


def find_binding(host: str, port: int, secure: bool) -> Lookup[Binding | Unknown | None]:
    """What binds the host of a secure MX record; None where DANE does not apply.

    `secure` says that its addresses, with all CNAME records before them, were authenticated; if
    not, there is nothing to ask for unless the host is an alias in a signed zone (section 2.2.2).
    """
    expanded = yield from _expand(host, whole=secure)
    if isinstance(expanded, Unknown):
        return expanded
    if not secure and expanded == host:
        return None
    bases = (expanded, host) if secure else (host,)
    for base in dict.fromkeys(bases):
        question = Question("TLSA", f"_{port}._tcp.{base}")
        answer = yield question
        if answer.failed:
            return Unknown(question, answer)
        if answer.authenticated and answer.records:
            return _binding(base, answer.records)
    return None


def _expand(host: str, whole: bool) -> Lookup[str | Unknown]:
    """The name at the end of the host's secure CNAME records, or only of the first of them."""
    name = host
    for _ in range(ALIASES_LIMIT if whole else 1):
        question = Question("CNAME", name)
        answer = yield question
        if answer.failed:
            return Unknown(question, answer)
        if not answer.authenticated or not answer.records:
            break
        name = answer.records[0].lower()
    return name


def _binding(base: str, texts: Sequence[str]) -> Binding:
    records = [parse_record(text) for text in texts[:RECORDS_LIMIT]]
    usable = strongest([record for record in records if record and is_usable(record)])
    return Binding(base, tuple(texts[:RECORDS_LIMIT]), usable)


def parse_record(text: str) -> Tlsa | None:
    """The record in presentation form (RFC 6698 section 2.2), or None."""
    try:
        usage, selector, matching, *data = text.split()
        return Tlsa(int(usage), int(selector), int(matching), bytes.fromhex("".join(data)))
    except ValueError:
        return None


_DIGEST_SIZES: dict[int, int] = {Matching.SHA2_256: 32, Matching.SHA2_512: 64}


def is_usable(record: Tlsa) -> bool:
    """Whether the record can authenticate a mail host, and is well-formed."""
    if record.usage not in list(Usage) or record.selector not in list(Selector):
        return False
    if record.matching == Matching.FULL:
        return _is_whole(record)
    return len(record.data) == _DIGEST_SIZES.get(record.matching)


def _is_whole(record: Tlsa) -> bool:
    if record.selector == Selector.CERT:
        return certpath.load(record.data) is not None
    return certpath.load_key(record.data) is not None


def strongest(records: Sequence[Tlsa]) -> tuple[Tlsa, ...]:
    """The records without digests weaker than others of their kind (RFC 7671 section 9)."""
    best: dict[tuple[int, int], int] = {}
    for one in records:
        kind = (one.usage, one.selector)
        best[kind] = max(best.get(kind, 0), one.matching)
    return tuple(
        one for one in records if one.matching in (Matching.FULL, best[one.usage, one.selector])
    )


# ---------------------------------------------------------------------- the certificates


def check_chain(
    usable: Sequence[Tlsa], chain: Sequence[bytes], names: Sequence[str], now: datetime
) -> Result:
    """SUCCESS if one record matches, else what is wrong; `names` are the reference identifiers.

    DANE-EE(3) asks neither for names nor for dates (RFC 7672 section 3.1.1), DANE-TA(2) for both.
    """
    ends = [record for record in usable if record.usage == Usage.DANE_EE]
    if chain and any(matches(record, chain[0]) for record in ends):
        return Result.SUCCESS
    anchors = [record for record in usable if record.usage == Usage.DANE_TA]
    if not anchors or not chain:
        return Result.VALIDATION_FAILURE
    return _check_path(anchors, chain[:CHAIN_LIMIT], names, now)


def matches(record: Tlsa, der: bytes) -> bool:
    """Whether the record speaks of this certificate."""
    selected = der if record.selector == Selector.CERT else certpath.spki(der)
    if selected is None:
        return False
    match record.matching:
        case Matching.SHA2_256:
            selected = hashlib.sha256(selected).digest()
        case Matching.SHA2_512:
            selected = hashlib.sha512(selected).digest()
    return selected == record.data


def _check_path(
    records: Sequence[Tlsa], chain: Sequence[bytes], names: Sequence[str], now: datetime
) -> Result:
    """The peer's chain has to lead to a certificate or key that a record names."""
    certificates = [(der, found) for der in chain if (found := certpath.load(der))]
    if not certificates or certificates[0][0] != chain[0]:
        return Result.NOT_TRUSTED
    others: list[tuple[bytes, Certificate]] = []
    keys = []
    for record in records:  # what the DNS holds in full need not be sent (RFC 7671 section 5.2)
        if record.matching == Matching.FULL and record.selector == Selector.CERT:
            if found := certpath.load(record.data):
                others.append((record.data, found))
        elif record.matching == Matching.FULL and (key := certpath.load_key(record.data)):
            keys.append(key)
    issuers = certificates[1:] + others
    trusted = [one for der, one in issuers if any(matches(record, der) for record in records)]
    anchors = Anchors(tuple(trusted), tuple(keys))
    return certpath.check(certificates[0][1], [one for _, one in issuers], anchors, names, now)
