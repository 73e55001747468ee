"""Who there is: organisations, their domains and accounts, the addresses that lead to them.

Local-parts are compared folded (case-insensitive), as everybody expects of a mailbox; RFC 5321
section 2.4 leaves that to the receiving host.
"""

from typing import Any

import msgspec

from mailstead.model.address import Address, Domain, parse_address
from mailstead.model.errors import Refusal
from mailstead.model.mailbox import DEFAULT_MAILBOXES, INBOX
from mailstead.model.numbers import AccountId, DomainId, MailboxId, OrganisationId
from mailstead.storage import dkim, mailboxes
from mailstead.storage.store import Tx, to_micros

SEPARATOR = "+"  # between the name of an account and its tag (RFC 5233 section 4)
JOURNAL_DAYS = 30
TRASH_DAYS = 30  # that messages stay in Trash and Junk; 0 for ever
TARGETS_LIMIT = 1000  # of one alias
NO_END = 2**63 - 1  # of the room in an account without quota
ROLES = ("postmaster", "abuse")  # always exist (RFC 5321 section 4.5.1, RFC 2142)


class Account(msgspec.Struct, frozen=True):
    """One person or program with mailboxes. `quota` in octets, 0 for none."""

    id: AccountId
    organisation: OrganisationId
    login: str
    name: str
    password: str  # the hash
    active: bool
    quota: int
    used: int
    emails: int
    scram: str = ""  # what SCRAM proves the password with; empty where it is not known


class HostedDomain(msgspec.Struct, frozen=True):
    """A domain whose mail is ours."""

    id: DomainId
    organisation: OrganisationId
    name: Domain
    catch_all: str | None


class Alias(msgspec.Struct, frozen=True):
    """An address that leads to others."""

    address: Address
    targets: tuple[str, ...]


class ToAccount(msgspec.Struct, frozen=True):
    """The address is an account's; `rule` says how it was found."""

    account: AccountId
    organisation: OrganisationId
    login: str
    inbox: MailboxId
    rule: str  # "account", "subaddress", "catch-all", "role"
    room: int  # octets that the quota leaves

    @property
    def full(self) -> bool:
        """The quota is used up."""
        return self.room <= 0


class ToTargets(msgspec.Struct, frozen=True):
    """The address is an alias."""

    organisation: OrganisationId
    targets: tuple[Address, ...]


class ToNobody(msgspec.Struct, frozen=True):
    """The domain is ours, the address is nobody's."""


class Elsewhere(msgspec.Struct, frozen=True):
    """The domain is not ours."""


Destination = ToAccount | ToTargets | ToNobody | Elsewhere


def fold(local_part: str) -> str:
    """The local-part as it is compared."""
    return local_part.casefold()


# ---------------------------------------------------------------------- look-ups


def find_destination(tx: Tx, address: Address) -> Destination:
    """Where mail for the address goes: its own row, its name without tag, a role, the catch-all."""
    local_part = fold(address.local_part)
    row = tx.row(_EXACT, name=address.domain, local_part=local_part, inbox=INBOX)
    if row is None:
        return Elsewhere()
    domain = HostedDomain(*row[:4])
    name, separator, _ = local_part.partition(SEPARATOR)
    exact = row[4] is not None
    found = _destination(tx, domain, local_part, row[5:], "account") if exact else None
    if found is None and separator and name:
        found = _lead(tx, domain, name, "subaddress")
    if found is None and local_part in ROLES:
        found = _role(tx, domain)
    if found is None and domain.catch_all:
        found = _catch_all(tx, domain)
    if isinstance(found, ToAccount) and found.full and local_part in ROLES:
        return msgspec.structs.replace(found, room=NO_END)  # a role is never refused
    return found or ToNobody()


def find_postmaster(tx: Tx) -> ToAccount | None:
    """Who reads mail to `<postmaster>` without a domain: the first account of this server."""
    login = tx.value("SELECT login FROM account WHERE active = 1 ORDER BY id LIMIT 1")
    found = None if login is None else _follow(tx, login, "role")
    if not isinstance(found, ToAccount):
        return None
    return msgspec.structs.replace(found, room=NO_END)


def find_domain(tx: Tx, name: str) -> HostedDomain | None:
    """The domain, if it is hosted here."""
    row = tx.row(
        "SELECT id, organisation, name, catch_all FROM domain WHERE name = :name", name=name
    )
    return None if row is None else HostedDomain(*row)


def find_account(tx: Tx, login: str) -> Account | None:
    """The account with this log-in name (its main address, in any case)."""
    row = tx.row(f"SELECT {_ACCOUNT} FROM account WHERE login = :login", login=login.casefold())
    return None if row is None else _account(row)


def get_quota(tx: Tx, account: AccountId) -> tuple[int, int]:
    """Octets used, and the quota; 0 for none."""
    row = tx.row("SELECT used, quota FROM account WHERE id = :id", id=account)
    return (row[0], row[1]) if row else (0, 0)


def get_account(tx: Tx, login: str) -> Account:
    """The account with this log-in name; Refusal if there is none."""
    account = find_account(tx, login)
    if account is None:
        raise Refusal(f"there is no account {login}", "NONEXISTENT")
    return account


def owns_address(tx: Tx, account: AccountId, address: Address) -> bool:
    """Whether mail may be sent as this address: it, or its name without tag, leads here."""
    found = find_destination(tx, address)
    match found:
        case ToAccount(owner, rule=rule):
            return owner == account and rule in ("account", "subaddress")
        case ToTargets(targets=targets):
            return any(
                isinstance(one := find_destination(tx, target), ToAccount)
                and one.account == account
                and one.rule != "catch-all"
                for target in targets
            )
        case _:
            return False


def _lead(tx: Tx, domain: HostedDomain, local_part: str, rule: str) -> Destination | None:
    row = tx.row(_EXACT, name=domain.name, local_part=local_part, inbox=INBOX)
    if row is None or row[4] is None:
        return None
    return _destination(tx, domain, local_part, row[5:], rule)


# The domain, and if the address exists, where it leads: one look-up for nearly every recipient.
_EXACT = (
    "SELECT domain.id, domain.organisation, domain.name, domain.catch_all, address.local_part,"
    " address.account, account.login, mailbox.id, account.quota, account.used, account.active,"
    " account.organisation FROM domain"
    " LEFT JOIN address ON address.domain = domain.id AND address.local_part = :local_part"
    " LEFT JOIN account ON account.id = address.account"
    " LEFT JOIN mailbox ON mailbox.account = account.id AND mailbox.name = :inbox"
    " WHERE domain.name = :name"
)


def _destination(
    tx: Tx, domain: HostedDomain, local_part: str, row: tuple[Any, ...], rule: str
) -> Destination:
    account, login, inbox, quota, used, active, organisation = row
    if account is None:
        return ToTargets(domain.organisation, _targets(tx, domain.id, local_part))
    if not active:
        return ToNobody()
    return ToAccount(account, organisation, login, inbox, rule, quota - used if quota else NO_END)


def _targets(tx: Tx, domain: DomainId, local_part: str) -> tuple[Address, ...]:
    rows = tx.rows(
        "SELECT target FROM alias_target WHERE domain = :domain AND local_part = :local_part",
        domain=domain,
        local_part=local_part,
    )
    return tuple(parse_address(row[0]) for row in rows)


def _role(tx: Tx, domain: HostedDomain) -> Destination | None:
    """Role addresses that nobody set up go to the organisation's first account."""
    login = tx.value(
        "SELECT login FROM account WHERE organisation = :id AND active = 1 ORDER BY id LIMIT 1",
        id=domain.organisation,
    )
    return None if login is None else _follow(tx, login, "role")


def _catch_all(tx: Tx, domain: HostedDomain) -> Destination | None:
    return _follow(tx, domain.catch_all or "", "catch-all")


def _follow(tx: Tx, target: str, rule: str) -> Destination | None:
    address = parse_address(target)
    domain = find_domain(tx, address.domain)
    if domain is None:
        return None
    return _lead(tx, domain, fold(address.local_part), rule)


# ---------------------------------------------------------------------- changes


def create_organisation(tx: Tx, name: str) -> OrganisationId:
    """A new organisation; Refusal if the name is taken."""
    if tx.value("SELECT 1 FROM organisation WHERE name = :name", name=name):
        raise Refusal(f"there is an organisation {name} already", "ALREADYEXISTS")
    id_ = tx.allocate("organisation")
    tx.run(
        "INSERT INTO organisation (id, name, journal_days, trash_days, created)"
        " VALUES (:id, :name, :days, :trash_days, :now)",
        id=id_,
        name=name,
        days=JOURNAL_DAYS,
        trash_days=TRASH_DAYS,
        now=to_micros(tx.now),
    )
    return OrganisationId(id_)


def find_organisation(tx: Tx, name: str) -> OrganisationId | None:
    """The organisation of that name."""
    id_: OrganisationId | None = tx.value(
        "SELECT id FROM organisation WHERE name = :name", name=name
    )
    return id_


def first_organisation(tx: Tx) -> OrganisationId | None:
    """The one that was there first, if there is any."""
    id_: OrganisationId | None = tx.value("SELECT min(id) FROM organisation")
    return id_


def organisation_name(tx: Tx, organisation: OrganisationId) -> str:
    """What it is called; "" if there is no such organisation."""
    name = tx.value("SELECT name FROM organisation WHERE id = :id", id=organisation)
    return str(name or "")


def create_domain(tx: Tx, organisation: OrganisationId, name: Domain) -> DomainId:
    """A domain whose mail is ours from now on; Refusal if it is hosted already."""
    if find_domain(tx, name):
        raise Refusal(f"the domain {name} is hosted here already", "ALREADYEXISTS")
    id_ = tx.allocate("domain")
    tx.run(
        "INSERT INTO domain (id, organisation, name, created) VALUES (:id, :org, :name, :now)",
        id=id_,
        org=organisation,
        name=name,
        now=to_micros(tx.now),
    )
    return DomainId(id_)


def delete_domain(tx: Tx, name: Domain) -> None:
    """Host the domain no longer; Refusal while addresses are left in it."""
    domain = get_domain(tx, name)
    left = tx.value("SELECT count(*) FROM address WHERE domain = :id", id=domain.id)
    if left:
        raise Refusal(
            f"{name} still has {left} addresses; delete its accounts and aliases first", "INUSE"
        )
    dkim.delete_all(tx, domain.id)
    tx.run("DELETE FROM domain WHERE id = :id", id=domain.id)


def get_domain(tx: Tx, name: str) -> HostedDomain:
    """The hosted domain; Refusal, with what to do, if it is not."""
    domain = find_domain(tx, name)
    if domain is None:
        raise Refusal(
            f"the domain {name} is not hosted here: mailstead domain add {name}", "NONEXISTENT"
        )
    return domain


def set_catch_all(tx: Tx, name: Domain, target: Address | None) -> None:
    """Where mail for unknown addresses of the domain goes; None refuses it."""
    domain = get_domain(tx, name)
    if target is not None:
        get_account(tx, str(target))
        _check_not_split(tx, name)
    tx.run(
        "UPDATE domain SET catch_all = :target WHERE id = :id",
        target=None if target is None else str(target).casefold(),
        id=domain.id,
    )


def _check_not_split(tx: Tx, name: Domain) -> None:
    """A catch-all would take what the domain's other server is to get (storage.relays)."""
    if tx.value("SELECT 1 FROM relay_domain WHERE name = :name", name=name):
        raise Refusal(
            f"addresses of {name} that do not exist here go on to another server, so it cannot"
            f" have a catch-all: mailstead relay show {name}",
            "INUSE",
        )


def list_domains(tx: Tx) -> list[HostedDomain]:
    """All domains, by name."""
    rows = tx.rows("SELECT id, organisation, name, catch_all FROM domain ORDER BY name")
    return [HostedDomain(*row) for row in rows]


def create_account(
    tx: Tx, address: Address, password: str, name: str = "", quota: int = 0, scram: str = ""
) -> AccountId:
    """A new account with its default mailboxes. `password` is the hash, `quota` octets."""
    domain = get_domain(tx, address.domain)
    if SEPARATOR in address.local_part:
        raise Refusal(f"{SEPARATOR} parts an account's name from a tag: leave it out", "CANNOT")
    account = AccountId(tx.allocate("account"))
    _take_address(tx, domain, address, account)
    tx.run(
        "INSERT INTO account (id, organisation, login, name, password, scram, active, quota, used,"
        " emails, modseq, created) VALUES (:id, :org, :login, :name, :password, :scram, 1, :quota,"
        " 0, 0, 1, :now)",
        id=account,
        org=domain.organisation,
        login=str(address).casefold(),
        name=name,
        password=password,
        scram=scram,
        quota=quota,
        now=to_micros(tx.now),
    )
    for mailbox, special_use in DEFAULT_MAILBOXES.items():
        mailboxes.create(tx, account, mailbox, special_use)
        mailboxes.subscribe(tx, account, mailbox)
    return account


def _take_address(
    tx: Tx, domain: HostedDomain, address: Address, account: AccountId | None
) -> None:
    local_part = fold(address.local_part)
    if tx.value(
        "SELECT 1 FROM address WHERE domain = :domain AND local_part = :local_part",
        domain=domain.id,
        local_part=local_part,
    ):
        raise Refusal(f"the address {address} is taken", "ALREADYEXISTS")
    tx.run(
        "INSERT INTO address (domain, local_part, account) VALUES (:domain, :local_part, :account)",
        domain=domain.id,
        local_part=local_part,
        account=account,
    )


def set_password(tx: Tx, login: str, password: str, scram: str = "") -> None:
    """Store another hash, and what SCRAM proves the password with, if it is known."""
    account = get_account(tx, login)
    tx.run(
        "UPDATE account SET password = :hash, scram = :scram WHERE id = :id",
        hash=password,
        scram=scram,
        id=account.id,
    )


def renew_password(tx: Tx, id_: AccountId, old: str, password: str, scram: str) -> None:
    """Store another hash of the same password, unless it was changed meanwhile."""
    tx.run(
        "UPDATE account SET password = :hash, scram = :scram WHERE id = :id AND password = :old",
        hash=password,
        scram=scram,
        id=id_,
        old=old,
    )


def any_without_scram(tx: Tx) -> bool:
    """Whether there is somebody who cannot log in by SCRAM."""
    found = tx.value("SELECT 1 FROM account WHERE active = 1 AND scram = '' LIMIT 1")
    return found is not None


def set_quota(tx: Tx, login: str, quota: int) -> None:
    """Octets that the account may use; 0 for no limit."""
    account = get_account(tx, login)
    tx.run("UPDATE account SET quota = :quota WHERE id = :id", quota=quota, id=account.id)


def set_active(tx: Tx, login: str, active: bool) -> None:
    """Whether the account may log in and gets mail."""
    account = get_account(tx, login)
    tx.run("UPDATE account SET active = :on WHERE id = :id", on=int(active), id=account.id)


def forget_account(tx: Tx, login: str) -> AccountId:
    """Take away the account and its addresses; its mail is deleted by services.directory."""
    account = get_account(tx, login)
    tx.run("DELETE FROM address WHERE account = :id", id=account.id)
    tx.run("DELETE FROM account WHERE id = :id", id=account.id)
    tx.run("UPDATE domain SET catch_all = NULL WHERE catch_all = :login", login=account.login)
    return account.id


def list_accounts(tx: Tx, domain: str = "", after: str = "", limit: int = 1000) -> list[Account]:
    """A page of accounts by log-in name, of one domain if it is given."""
    rows = tx.rows(
        f"SELECT {_ACCOUNT} FROM account WHERE login > :after AND login LIKE :pattern"
        " ORDER BY login LIMIT :limit",
        after=after,
        pattern=f"%@{domain}" if domain else "%",
        limit=limit,
    )
    return [_account(row) for row in rows]


def create_alias(tx: Tx, address: Address, targets: list[Address]) -> None:
    """A new address that leads to others."""
    if not 0 < len(targets) <= TARGETS_LIMIT:
        raise Refusal(f"an alias has 1 to {TARGETS_LIMIT} targets", "LIMIT")
    domain = get_domain(tx, address.domain)
    _take_address(tx, domain, address, None)
    tx.many(
        "INSERT INTO alias_target (domain, local_part, target)"
        " VALUES (:domain, :local_part, :target) ON CONFLICT DO NOTHING",
        [
            {"domain": domain.id, "local_part": fold(address.local_part), "target": str(target)}
            for target in targets
        ],
    )


def delete_alias(tx: Tx, address: Address) -> None:
    """Take the alias away; Refusal if the address is none."""
    domain = get_domain(tx, address.domain)
    key: dict[str, Any] = {"domain": domain.id, "local_part": fold(address.local_part)}
    gone = tx.run(
        "DELETE FROM address WHERE domain = :domain AND local_part = :local_part"
        " AND account IS NULL",
        **key,
    )
    if not gone:
        raise Refusal(f"there is no alias {address}", "NONEXISTENT")
    tx.run("DELETE FROM alias_target WHERE domain = :domain AND local_part = :local_part", **key)


def list_aliases(tx: Tx, domain: str = "") -> list[Alias]:
    """All aliases with their targets, of one domain if it is given."""
    rows = tx.rows(
        "SELECT name, local_part, target FROM alias_target JOIN domain ON domain.id = domain"
        " WHERE (:domain = '' OR name = :domain) ORDER BY name, local_part, target",
        domain=domain,
    )
    targets: dict[Address, list[str]] = {}
    for name, local_part, target in rows:
        targets.setdefault(Address(local_part, name), []).append(target)
    return [Alias(address, tuple(found)) for address, found in targets.items()]


_ACCOUNT = "id, organisation, login, name, password, active, quota, used, emails, scram"


def _account(row: tuple[Any, ...]) -> Account:
    id_, organisation, login, name, password, active, quota, used, emails, scram = row
    on = bool(active)
    return Account(id_, organisation, login, name, password, on, quota, used, emails, scram)
