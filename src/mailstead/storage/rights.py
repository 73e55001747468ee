"""Who may do what in whose mailboxes (RFC 4314), and what mailboxes of others are called.

Bob's `Projects` is `Other Users/bob@example.org/Projects` to the others of his organisation.
Holds: the owner of a mailbox has every right in it, another organisation none; what somebody may
not even look up does not exist for them. Rights of an account are its own and those of ANYONE.
"""

from typing import Any

import msgspec

from mailstead.model.errors import Refusal
from mailstead.model.mailbox import DELIMITER, INBOX, Mailbox, normalise_name
from mailstead.model.numbers import AccountId, MailboxId, OrganisationId
from mailstead.storage import mailboxes
from mailstead.storage.store import Tx

EVERY = "lrswipkxtea"  # RFC 4314 section 2.1, in the order in which they are kept
OTHER_USERS = "Other Users"  # the first level of the names (RFC 2342 section 5)
ANYONE = AccountId(0)  # everybody in the organisation
RIGHTS_LIMIT = 1000  # accounts with rights in one mailbox
SHARED_LIMIT = 10_000  # mailboxes of others that one account is shown
FEW = 200  # accounts of an organisation whose mailboxes are all looked at


Audience = tuple[set[AccountId], OrganisationId | None]  # some accounts, or all of an organisation


class Reached(msgspec.Struct, frozen=True):
    """A mailbox by the name that an account calls it, and what the account may do there."""

    mailbox: Mailbox
    rights: str


class Place(msgspec.Struct, frozen=True):
    """Where a mailbox is to be: whose, and by what name of theirs."""

    owner: AccountId
    name: str


class Granted(msgspec.Struct, frozen=True):
    """What one account, or with an empty login everybody, may do in a mailbox."""

    login: str
    rights: str


# ---------------------------------------------------------------------- what an account reaches


def find(tx: Tx, account: AccountId, name: str) -> Reached | None:
    """The mailbox of that name, if the account has any right in it."""
    own = mailboxes.find(tx, account, name)
    if own is not None:
        return Reached(own, EVERY)
    place = _place_elsewhere(tx, account, name)
    mailbox = None if place is None else mailboxes.find(tx, place.owner, place.name)
    rights = "" if mailbox is None else rights_in(tx, account, mailbox.id)
    if mailbox is None or not rights:
        return None
    return Reached(_seen_as(mailbox, _full_name(tx, mailbox)), rights)


def get(tx: Tx, account: AccountId, name: str, one_of: str) -> Reached:
    """The mailbox of that name; Refusal if the account has none of these rights in it.

    Who may not look it up is told what is told of a name that nobody has (RFC 4314 section 6).
    """
    reached = find(tx, account, name)
    if reached is not None and set(one_of) & set(reached.rights):
        return reached
    if reached is not None and "l" in reached.rights:
        raise Refusal("you have no right to do that in this mailbox", "NOPERM")
    raise Refusal("there is no such mailbox", "NONEXISTENT")


def rights_in(tx: Tx, account: AccountId, mailbox: MailboxId) -> str:
    """What the account may do in the mailbox now; nothing if that is gone."""
    rows = tx.rows(_RIGHTS_IN, account=account, mailbox=mailbox)
    if any(own for _, own in rows):
        return EVERY
    granted = set("".join(rights or "" for rights, _ in rows))
    return "".join(right for right in EVERY if right in granted)


_RIGHTS_IN = (
    "SELECT rights, CASE WHEN mailbox.account = :account THEN 1 ELSE 0 END FROM mailbox"
    " JOIN account AS owner ON owner.id = mailbox.account JOIN account AS asker"
    " ON asker.id = :account AND asker.organisation = owner.organisation LEFT JOIN mailbox_right"
    " ON mailbox_right.mailbox = mailbox.id AND mailbox_right.account IN (:account, 0)"
    " WHERE mailbox.id = :mailbox"
)


def list_shared(tx: Tx, account: AccountId) -> list[Reached]:
    """Mailboxes of others that the account may look up, by name, SHARED_LIMIT at most."""
    found: dict[int, Reached] = {}
    few = tx.value(_COLLEAGUES, account=account, limit=FEW + 1) <= FEW
    for who, sql in ((account, _GIVEN), (ANYONE, _IN_MAILBOXES if few else _GIVEN)):
        for login, rights, *row in tx.rows(sql, account=account, who=who, limit=SHARED_LIMIT):
            mailbox = mailboxes.from_row(tuple(row))
            before = found.get(mailbox.id)
            both = set(rights) | set("" if before is None else before.rights)
            name = _name_of(login, mailbox.name)
            together = "".join(right for right in EVERY if right in both)
            found[mailbox.id] = Reached(_seen_as(mailbox, name), together)
    visible = [reached for reached in found.values() if "l" in reached.rights]
    return sorted(visible, key=lambda reached: reached.mailbox.name)[:SHARED_LIMIT]


_COLLEAGUES = (
    "SELECT count(*) FROM (SELECT 1 FROM account AS asker JOIN account AS owner"
    " ON owner.organisation = asker.organisation WHERE asker.id = :account LIMIT :limit) AS found"
)
_MAILBOX = ", ".join("mailbox." + name for name in mailboxes.COLUMNS)
_SHOWN = f"SELECT owner.login, rights, {_MAILBOX} FROM "
_AMONG = (
    " WHERE asker.id = :account AND owner.organisation = asker.organisation"
    " AND mailbox.account = owner.id AND mailbox_right.mailbox = mailbox.id"
    " AND mailbox_right.account = :who AND owner.id != :account ORDER BY mailbox.id LIMIT :limit"
)
# The same rows, from either end: what is given to everybody is little in one organisation, but much
# in all together. SQLite joins in the order that CROSS JOIN says.
_GIVEN = f"{_SHOWN}mailbox_right, mailbox, account AS owner, account AS asker{_AMONG}"
_IN_MAILBOXES = (
    f"{_SHOWN}account AS asker CROSS JOIN account AS owner CROSS JOIN mailbox"
    f" CROSS JOIN mailbox_right{_AMONG}"
)


def place_new(tx: Tx, account: AccountId, name: str) -> Place:
    """Where CREATE and RENAME put a mailbox of that name.

    Among those of somebody else it takes `k` in the nearest mailbox above (RFC 4314 section 4).
    """
    if name.split(DELIMITER)[0] != OTHER_USERS:
        return Place(account, name)
    place = _place_elsewhere(tx, account, name)
    above = None if place is None else _nearest_above(tx, place)
    if place is None or above is None or "k" not in rights_in(tx, account, above):
        raise Refusal("you may not create mailboxes there", "NOPERM")
    return place


def place_of(tx: Tx, account: AccountId, name: str) -> Place:
    """Whose the mailbox is that the account may delete or rename, and what they call it."""
    mailbox = mailboxes.find_by_id(tx, get(tx, account, name, "x").mailbox.id)
    assert mailbox is not None
    return Place(mailbox.account, mailbox.name)


def audience(tx: Tx, owner: AccountId) -> Audience:
    """Who has to look again when a name of the owner's changes: some that see nothing, too."""
    granted = tx.rows(
        "SELECT DISTINCT mailbox_right.account FROM mailbox_right"
        " JOIN mailbox ON mailbox.id = mailbox_right.mailbox WHERE mailbox.account = :owner",
        owner=owner,
    )
    accounts = {AccountId(who) for (who,) in granted}
    return accounts - {ANYONE} | {owner}, _organisation(tx, owner) if ANYONE in accounts else None


def colleagues(tx: Tx, account: AccountId) -> Audience:
    """Everybody in the organisation of the account."""
    return {account}, _organisation(tx, account)


def _organisation(tx: Tx, account: AccountId) -> OrganisationId | None:
    found: OrganisationId | None = tx.value(
        "SELECT organisation FROM account WHERE id = :id", id=account
    )
    return found


def rename(tx: Tx, account: AccountId, old: str, new: str) -> AccountId:
    """Rename the mailbox, by names as the account says them; nobody's becomes another's.

    Whose it is.
    """
    before, after = place_of(tx, account, old), place_new(tx, account, new)
    if before.owner != after.owner or (before.owner != account and before.name == INBOX):
        raise Refusal("a mailbox stays with its owner, and an INBOX what it is", "CANNOT")
    mailboxes.rename(tx, before.owner, before.name, after.name)
    return before.owner


def _nearest_above(tx: Tx, place: Place) -> MailboxId | None:
    level = place.name
    while DELIMITER in level:
        level = level.rpartition(DELIMITER)[0]
        mailbox = mailboxes.find(tx, place.owner, level)
        if mailbox is not None:
            return mailbox.id
    return None


def _place_elsewhere(tx: Tx, account: AccountId, name: str) -> Place | None:
    """The place that a name of OTHER_USERS means, if there is such an account to the asker."""
    first, _, rest = name.partition(DELIMITER)
    login, _, theirs = rest.partition(DELIMITER)
    if first != OTHER_USERS or not theirs:
        return None
    owner = _colleague(tx, account, login)
    return None if owner in (None, account) else Place(AccountId(owner), normalise_name(theirs))


def _colleague(tx: Tx, account: AccountId, login: str) -> Any:
    return tx.value(
        "SELECT other.id FROM account JOIN account AS other"
        " ON other.organisation = account.organisation"
        " WHERE account.id = :account AND other.login = :login",
        account=account,
        login=login.casefold(),
    )


def _full_name(tx: Tx, mailbox: Mailbox) -> str:
    login = tx.value("SELECT login FROM account WHERE id = :id", id=mailbox.account)
    return _name_of(login, mailbox.name)


def _name_of(login: str, name: str) -> str:
    return DELIMITER.join((OTHER_USERS, login, name))


def _seen_as(mailbox: Mailbox, name: str) -> Mailbox:
    """Somebody else's Trash is no Trash of the one who looks (RFC 6154 section 2)."""
    return msgspec.structs.replace(mailbox, name=name, special_use=None)


# ---------------------------------------------------------------------- lists of rights


def list_granted(tx: Tx, mailbox: Mailbox) -> list[Granted]:
    """All that have rights in the mailbox: the owner, others by login, last everybody."""
    rows = tx.rows(
        "SELECT login, rights FROM mailbox_right JOIN account ON account.id ="
        " mailbox_right.account WHERE mailbox = :mailbox ORDER BY login",
        mailbox=mailbox.id,
    )
    owner = tx.value("SELECT login FROM account WHERE id = :id", id=mailbox.account)
    everybody = find_granted(tx, mailbox.id, ANYONE)
    last = [Granted("", everybody)] if everybody else []
    return [Granted(owner, EVERY), *(Granted(*row) for row in rows), *last]


def find_granted(tx: Tx, mailbox: MailboxId, who: AccountId) -> str:
    """What the list gives to this account, or to ANYONE."""
    rights = tx.value(
        "SELECT rights FROM mailbox_right WHERE mailbox = :mailbox AND account = :who",
        mailbox=mailbox,
        who=who,
    )
    return str(rights or "")


def grant(tx: Tx, mailbox: Mailbox, who: AccountId, rights: str) -> None:
    """From now on these are the rights of the account, or of ANYONE; none take it off the list."""
    mailboxes.hold(tx, mailbox.id)
    if who == mailbox.account:
        if rights != EVERY:
            raise Refusal("the owner of a mailbox has every right in it", "CANNOT")
        return
    if not rights:
        tx.run(
            "DELETE FROM mailbox_right WHERE mailbox = :mailbox AND account = :who",
            mailbox=mailbox.id,
            who=who,
        )
        return
    count = tx.value("SELECT count(*) FROM mailbox_right WHERE mailbox = :id", id=mailbox.id)
    if count >= RIGHTS_LIMIT and not find_granted(tx, mailbox.id, who):
        raise Refusal(f"at most {RIGHTS_LIMIT} accounts have rights in a mailbox", "LIMIT")
    _check_login(tx, mailbox.account)
    tx.run(
        "INSERT INTO mailbox_right (mailbox, account, rights) VALUES (:mailbox, :who, :rights)"
        " ON CONFLICT (mailbox, account) DO UPDATE SET rights = :rights",
        mailbox=mailbox.id,
        who=who,
        rights=rights,
    )


def _check_login(tx: Tx, owner: AccountId) -> None:
    """The login is one level of the names that others see."""
    if DELIMITER in tx.value("SELECT login FROM account WHERE id = :id", id=owner):
        raise Refusal(
            f"mailboxes of an account whose name has a {DELIMITER} cannot be shared", "CANNOT"
        )


def find_identifier(tx: Tx, mailbox: Mailbox, identifier: str) -> AccountId:
    """Who is meant: an account of the owner's organisation; Refusal for any other."""
    if identifier.casefold() == "anyone":
        return ANYONE
    if identifier.startswith("-"):  # RFC 4314 section 2
        raise Refusal("rights can be given and taken, but there are no negative ones", "CANNOT")
    found = _colleague(tx, mailbox.account, identifier)
    if found is None:
        raise Refusal(f"your organisation has no account {identifier}", "NONEXISTENT")
    return AccountId(found)
