"""Passwords for one program each: random, so a keyed hash of them is enough to know them again.

`scopes` names the protocols that one is good for, none for all of them.
"""

from datetime import datetime

import msgspec

from mailstead.model.errors import Refusal
from mailstead.model.numbers import AccountId
from mailstead.storage import accounts
from mailstead.storage.store import Tx, from_micros, to_micros

SCOPES = ("imap", "pop3", "submission")
NAME_LIMIT = 100  # characters
APP_PASSWORDS_LIMIT = 50  # of an account


class AppPassword(msgspec.Struct, frozen=True):
    """One of them; `secret` is the keyed hash, `scram` what SCRAM proves it with."""

    id: int
    account: AccountId
    name: str
    secret: str
    scram: str
    scopes: tuple[str, ...]
    created: datetime
    expires: datetime | None
    last_used: datetime | None

    def is_good_for(self, protocol: str, now: datetime) -> bool:
        """Whether one may log in with it there, then."""
        fresh = self.expires is None or now < self.expires
        return fresh and (not self.scopes or protocol in self.scopes)


class NewAppPassword(msgspec.Struct, frozen=True):
    """One that is to be kept."""

    name: str
    secret: str
    scram: str
    scopes: tuple[str, ...] = ()
    expires: datetime | None = None


def add(tx: Tx, login: str, new: NewAppPassword) -> int:
    """Keep it; Refusal if the account has one of that name, or too many."""
    account = accounts.get_account(tx, login)
    have = list_all(tx, account.id)
    if any(one.name == new.name for one in have):
        raise Refusal(f"{login} has an app password {new.name} already", "ALREADYEXISTS")
    if len(have) >= APP_PASSWORDS_LIMIT:
        raise Refusal(f"an account has at most {APP_PASSWORDS_LIMIT} app passwords", "LIMIT")
    id_ = tx.allocate("app_password")
    tx.run(
        "INSERT INTO app_password (id, account, name, secret, scram, scopes, created, expires)"
        " VALUES (:id, :account, :name, :secret, :scram, :scopes, :now, :expires)",
        id=id_,
        account=account.id,
        name=new.name,
        secret=new.secret,
        scram=new.scram,
        scopes=" ".join(new.scopes),
        now=to_micros(tx.now),
        expires=None if new.expires is None else to_micros(new.expires),
    )
    return id_


def list_all(tx: Tx, account: AccountId) -> list[AppPassword]:
    """All of an account, by name."""
    rows = tx.rows(
        "SELECT id, account, name, secret, scram, scopes, created, expires, last_used"
        " FROM app_password WHERE account = :account ORDER BY name",
        account=account,
    )
    return [
        AppPassword(
            id_,
            owner,
            name,
            secret,
            scram,
            tuple(scopes.split()),
            from_micros(created),
            None if expires is None else from_micros(expires),
            None if last_used is None else from_micros(last_used),
        )
        for id_, owner, name, secret, scram, scopes, created, expires, last_used in rows
    ]


def remove(tx: Tx, login: str, name: str) -> None:
    """Take it away; Refusal if there is none of that name."""
    account = accounts.get_account(tx, login)
    gone = tx.run(
        "DELETE FROM app_password WHERE account = :account AND name = :name",
        account=account.id,
        name=name,
    )
    if not gone:
        raise Refusal(f"{login} has no app password {name}", "NONEXISTENT")


def note_use(tx: Tx, id_: int) -> None:
    """It has let somebody in now."""
    tx.run("UPDATE app_password SET last_used = :now WHERE id = :id", id=id_, now=to_micros(tx.now))
