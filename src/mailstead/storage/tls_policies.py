"""What others say about TLS for their mail, and how it went: MTA-STS policies, figures for reports.

RFC 8461 section 3.3 for the policies, RFC 8460 for the figures: one row for each day, domain,
policy, host and result. Days are counted in UTC since 1970.
"""

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import msgspec

from mailstead.msgauth.mtasts import Mode, Policy
from mailstead.msgauth.tlsrpt import Policy as ReportedPolicy
from mailstead.msgauth.tlsrpt import PolicyType, Result, Session
from mailstead.storage.store import Tx, from_micros, to_micros

FIGURES_KEPT = timedelta(days=30)
# All of it is part of a key, and PostgreSQL's keys end at 2.7 KB.
POLICY_TEXT_LIMIT = 1500

_EPOCH = date(1970, 1, 1)


class StoredPolicy(msgspec.Struct, frozen=True):
    """A domain's MTA-STS policy as it was fetched."""

    domain: str
    policy_id: str
    policy: Policy
    fetched: datetime

    @property
    def expires(self) -> datetime:
        """From when on it says nothing any more."""
        return self.fetched + self.policy.max_age


class Figure(msgspec.Struct, frozen=True):
    """So many sessions of one kind in one day."""

    day: date
    session: Session
    sessions: int


def find(tx: Tx, domain: str) -> StoredPolicy | None:
    """The domain's policy, if it has not run out."""
    row = tx.row(
        f"SELECT {_POLICY} FROM mta_sts WHERE domain = :domain AND expires > :now",
        domain=domain,
        now=to_micros(tx.now),
    )
    return None if row is None else _policy(row)


def keep(tx: Tx, stored: StoredPolicy) -> None:
    """Keep the policy instead of the one before, if there was one."""
    tx.run(
        f"INSERT INTO mta_sts ({_POLICY}) VALUES"
        " (:domain, :policy_id, :mode, :mx, :fetched, :expires) ON CONFLICT (domain) DO UPDATE SET"
        " policy_id = excluded.policy_id, mode = excluded.mode, mx = excluded.mx,"
        " fetched = excluded.fetched, expires = excluded.expires",
        domain=stored.domain,
        policy_id=stored.policy_id,
        mode=str(stored.policy.mode),
        mx="\n".join(stored.policy.mx),
        fetched=to_micros(stored.fetched),
        expires=to_micros(stored.expires),
    )


def fetched_before(tx: Tx, at: datetime, after: str, limit: int) -> list[StoredPolicy]:
    """Live policies fetched before that time, of the domains after that one."""
    rows = tx.rows(
        f"SELECT {_POLICY} FROM mta_sts WHERE domain > :after AND fetched < :at"
        " AND expires > :now ORDER BY domain LIMIT :limit",
        after=after,
        at=to_micros(at),
        now=to_micros(tx.now),
        limit=limit,
    )
    return [_policy(row) for row in rows]


_POLICY = "domain, policy_id, mode, mx, fetched, expires"


def _policy(row: tuple[Any, ...]) -> StoredPolicy:
    domain, policy_id, mode, mx, fetched, expires = row
    patterns = tuple(mx.split("\n")) if mx else ()
    max_age = from_micros(expires) - from_micros(fetched)
    policy = Policy(Mode(mode), patterns, max_age)
    return StoredPolicy(domain, policy_id, policy, from_micros(fetched))


# ---------------------------------------------------------------------- figures


def count(tx: Tx, figures: Iterable[Figure]) -> None:
    """Add to what was counted."""
    for figure in figures:
        session = figure.session
        tx.run(
            f"INSERT INTO tls_result ({_RESULT}) VALUES"
            " (:day, :domain, :policy_type, :policy, :mx_host, :result, :sessions)"
            " ON CONFLICT (day, domain, policy_type, policy, mx_host, result)"
            " DO UPDATE SET sessions = tls_result.sessions + excluded.sessions",
            day=day_number(figure.day),
            domain=session.domain,
            policy_type=str(session.policy.type),
            policy="\n".join(session.policy.strings)[:POLICY_TEXT_LIMIT],
            mx_host=session.mx_host,
            result=str(session.result),
            sessions=figure.sessions,
        )


def domains(tx: Tx, day: date, after: str, limit: int) -> list[str]:
    """The domains with figures of that day, from one on."""
    rows = tx.rows(
        "SELECT DISTINCT domain FROM tls_result WHERE day = :day AND domain > :after"
        " ORDER BY domain LIMIT :limit",
        day=day_number(day),
        after=after,
        limit=limit,
    )
    return [domain for (domain,) in rows]


def figures(tx: Tx, day: date, domain: str, limit: int) -> list[Figure]:
    """What was counted for a domain on that day."""
    rows = tx.rows(
        f"SELECT {_RESULT} FROM tls_result WHERE day = :day AND domain = :domain"
        " ORDER BY policy_type, policy, mx_host, result LIMIT :limit",
        day=day_number(day),
        domain=domain,
        limit=limit,
    )
    return [_figure(row) for row in rows]


_RESULT = "day, domain, policy_type, policy, mx_host, result, sessions"


def _figure(row: tuple[Any, ...]) -> Figure:
    day, domain, policy_type, policy, mx_host, result, sessions = row
    strings = tuple(policy.split("\n")) if policy else ()
    applied = ReportedPolicy(PolicyType(policy_type), strings)
    session = Session(domain, applied, mx_host, Result(result))
    return Figure(_EPOCH + timedelta(days=day), session, sessions)


def day_number(day: date) -> int:
    """The day as the table has it."""
    return (day - _EPOCH).days


# ---------------------------------------------------------------------- keeping house


def expire(tx: Tx, limit: int) -> int:
    """Forget policies that have run out and old figures, so many rows; how many went.

    For housekeeping: repeat while it gives `limit`.
    """
    gone = tx.rows(
        "SELECT domain FROM mta_sts WHERE expires <= :now ORDER BY domain LIMIT :limit",
        now=to_micros(tx.now),
        limit=limit,
    )
    tx.many(
        "DELETE FROM mta_sts WHERE domain = :domain AND expires <= :now",
        [{"domain": domain, "now": to_micros(tx.now)} for (domain,) in gone],
    )
    return len(gone) + _expire_figures(tx, limit - len(gone))


def _expire_figures(tx: Tx, limit: int) -> int:
    oldest = day_number((tx.now.astimezone(UTC) - FIGURES_KEPT).date())
    keys = tx.rows(
        "SELECT day, domain, policy_type, policy, mx_host, result FROM tls_result"
        " WHERE day < :oldest ORDER BY day, domain, policy_type, policy, mx_host, result"
        " LIMIT :limit",
        oldest=oldest,
        limit=limit,
    )
    names = ("day", "domain", "policy_type", "policy", "mx_host", "result")
    tx.many(
        "DELETE FROM tls_result WHERE day = :day AND domain = :domain"
        " AND policy_type = :policy_type AND policy = :policy AND mx_host = :mx_host"
        " AND result = :result",
        [dict(zip(names, key, strict=True)) for key in keys],
    )
    return len(keys)
