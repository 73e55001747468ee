"""What an account may send: as whom beyond its own addresses, to how many a day, in which stream.

Limits keep the harm small that somebody with a stolen password can do. Days are UTC's.
Holds: recipients are counted in the transaction that takes their message.
"""

from datetime import datetime, timedelta

import msgspec

from mailstead.model.address import Address, Domain, parse_address, parse_domain
from mailstead.model.errors import Refusal
from mailstead.model.numbers import AccountId
from mailstead.storage import accounts, suppression
from mailstead.storage.store import Tx, to_micros
from mailstead.storage.suppression import Suppression

RECIPIENTS_A_DAY = 1000
STRANGERS_A_DAY = 200  # recipients that the account never wrote to before
DAYS_KEPT = timedelta(days=31)
CORRESPONDENTS_KEPT = timedelta(days=800)  # who writes once a year writes to no stranger
SEND_AS_LIMIT = 1000  # addresses of an account

COUNT_DAY = (
    "INSERT INTO account_day (account, day, recipients, strangers)"
    " VALUES (:account, :day, :recipients, :strangers) ON CONFLICT (account, day) DO UPDATE SET"
    " recipients = account_day.recipients + excluded.recipients,"
    " strangers = account_day.strangers + excluded.strangers"
)
COUNT_CORRESPONDENT = (
    "INSERT INTO correspondent (account, address, last) VALUES (:account, :address, :last)"
    " ON CONFLICT (account, address) DO UPDATE SET last = excluded.last"
)


class Standing(msgspec.Struct, frozen=True):
    """Limits of an account and what it sent today, and what it has with one recipient.

    A limit of None is none.
    """

    stream: str = ""
    recipients_limit: int | None = None
    strangers_limit: int | None = None
    recipients: int = 0
    strangers: int = 0
    has_written: bool = False  # to the recipient, before
    suppressed: Suppression | None = None


def day_of(moment: datetime) -> int:
    """The day since 1970, UTC."""
    return to_micros(moment) // 86_400_000_000


def standing(tx: Tx, account: AccountId, address: Address) -> Standing:
    """What the account may send today, and whether to this recipient; in one statement."""
    row = tx.row(
        "SELECT account.stream, recipients_a_day, strangers_a_day, account_day.recipients,"
        f" account_day.strangers, correspondent.last, {suppression.JOINED} FROM account"
        " LEFT JOIN account_day ON account_day.account = account.id AND day = :day"
        " LEFT JOIN correspondent ON correspondent.account = account.id"
        " AND correspondent.address = :address"
        f" LEFT JOIN suppression ON {suppression.COUNTS_FOR_ACCOUNT}"
        " WHERE account.id = :account ORDER BY suppression.stream LIMIT 1",
        account=account,
        day=day_of(tx.now),
        address=suppression.fold(str(address)),
        now=to_micros(tx.now),
        suspect=suppression.SUSPECT,
    )
    if row is None:
        return Standing(recipients_limit=0)
    stream, recipients_limit, strangers_limit, recipients, strangers, last, *suppressed = row
    return Standing(
        stream,
        _limit(recipients_limit, RECIPIENTS_A_DAY),
        _limit(strangers_limit, STRANGERS_A_DAY),
        recipients or 0,
        strangers or 0,
        last is not None,
        suppression.joined(suppressed),
    )


def find_standing(tx: Tx, account: AccountId) -> Standing:
    """The same without a recipient."""
    return standing(tx, account, Address("", Domain("")))


def correspondents(tx: Tx, account: AccountId, limit: int) -> list[str]:
    """The addresses that the account wrote to last."""
    rows = tx.rows(
        "SELECT address FROM correspondent WHERE account = :account ORDER BY last DESC, address"
        " LIMIT :limit",
        account=account,
        limit=limit,
    )
    return [row[0] for row in rows]


def has_written(tx: Tx, account: AccountId, address: Address) -> bool:
    """Whether the account ever wrote to the address."""
    found = tx.value(
        "SELECT last FROM correspondent WHERE account = :account AND address = :address",
        account=account,
        address=suppression.fold(str(address)),
    )
    return found is not None


def _limit(stored: int | None, usual: int) -> int | None:
    if stored is None:
        return usual
    return stored if stored >= 0 else None


def set_limits(tx: Tx, account: AccountId, recipients: int | None, strangers: int | None) -> None:
    """Other limits for the account: None is the usual one, -1 none at all."""
    tx.run(
        "UPDATE account SET recipients_a_day = :recipients, strangers_a_day = :strangers"
        " WHERE id = :account",
        account=account,
        recipients=recipients,
        strangers=strangers,
    )


def get_limits(tx: Tx, account: AccountId) -> tuple[int | None, int | None]:
    """The limits as `set_limits` was told."""
    row = tx.row(
        "SELECT recipients_a_day, strangers_a_day FROM account WHERE id = :account", account=account
    )
    return (row[0], row[1]) if row else (None, None)


def set_stream(tx: Tx, account: AccountId, stream: str) -> None:
    """The stream of all that the account sends without naming another."""
    tx.run(
        "UPDATE account SET stream = :stream WHERE id = :account", account=account, stream=stream
    )


def expire(tx: Tx, limit: int) -> int:
    """Forget old days, and those nobody wrote to for long; how many rows went."""
    gone = tx.run(
        "DELETE FROM account_day WHERE (account, day) IN"
        " (SELECT account, day FROM account_day WHERE day < :day LIMIT :limit)",
        day=day_of(tx.now - DAYS_KEPT),
        limit=limit,
    )
    gone += tx.run(
        "DELETE FROM correspondent WHERE (account, address) IN"
        " (SELECT account, address FROM correspondent WHERE last < :day LIMIT :limit)",
        day=day_of(tx.now - CORRESPONDENTS_KEPT),
        limit=limit - min(gone, limit),
    )
    return gone


# ---------------------------------------------------------------------- send as


def allow_send_as(tx: Tx, login: str, wanted: str) -> str:
    """Let the account write as an address, or with "@domain" as any of it; how it is stored.

    Refusal unless its organisation hosts the domain.
    """
    account = accounts.get_account(tx, login)
    address = _normal(wanted)
    domain = accounts.find_domain(tx, parse_domain(address.rpartition("@")[2]))
    if domain is None or domain.organisation != account.organisation:
        raise Refusal(
            f"{address.rpartition('@')[2]} is no domain of the account's organisation:"
            " mailstead domain list"
        )
    if len(list_send_as(tx, account.id)) >= SEND_AS_LIMIT:
        raise Refusal(f"an account may send as {SEND_AS_LIMIT} addresses at most; use @domain")
    tx.run(
        "INSERT INTO send_as (account, address) VALUES (:account, :address) ON CONFLICT DO NOTHING",
        account=account.id,
        address=address,
    )
    return address


def forbid_send_as(tx: Tx, login: str, wanted: str) -> bool:
    """Take that back; False if it was not allowed."""
    account = accounts.get_account(tx, login)
    gone = tx.run(
        "DELETE FROM send_as WHERE account = :account AND address = :address",
        account=account.id,
        address=_normal(wanted),
    )
    return gone > 0


def list_send_as(tx: Tx, account: AccountId) -> list[str]:
    """What the account may write as beyond its own addresses."""
    rows = tx.rows(
        "SELECT address FROM send_as WHERE account = :account ORDER BY address", account=account
    )
    return [address for (address,) in rows]


def may_send_as(tx: Tx, account: AccountId, address: Address) -> bool:
    """Whether the address is the account's own, or it was allowed to write as it.

    A domain that went to another organisation since then is nothing to write as.
    """
    if accounts.owns_address(tx, account, address):
        return True
    names = tx.value(
        "SELECT 1 FROM send_as JOIN account ON account.id = send_as.account"
        " JOIN domain ON domain.name = :domain AND domain.organisation = account.organisation"
        " WHERE send_as.account = :account AND send_as.address IN (:address, :everybody)",
        account=account,
        domain=address.domain,
        address=suppression.fold(str(address)),
        everybody=f"@{address.domain}",
    )
    return names is not None


def _normal(wanted: str) -> str:
    try:
        if wanted.startswith("@"):
            return f"@{parse_domain(wanted[1:])}"
        return suppression.fold(str(parse_address(wanted)))
    except ValueError as error:
        raise Refusal(f"{error}: give an address, or @domain for all of it") from error
