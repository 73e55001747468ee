"""Annotations of mailboxes and of the server (RFC 5464): private ones, and shared ones.

What is shared of the server is so inside one organisation. A private annotation counts to the
account that sees it, a shared one to the owner of the mailbox or to the organisation.
Holds: the limits below; the special use of a mailbox is its entry USE (RFC 6154 section 4).
"""

from collections.abc import Collection, Sequence

import msgspec

from mailstead.model.errors import Refusal
from mailstead.model.mailbox import INBOX, Mailbox, SpecialUse
from mailstead.model.numbers import AccountId, MailboxId
from mailstead.storage import mailboxes
from mailstead.storage.store import Tx

VALUE_LIMIT = 64 * 1024  # octets of one value
ENTRIES_LIMIT = 100  # of a mailbox, private to one account, or shared
SERVER_ENTRIES_LIMIT = 1000  # of the server, likewise
TOTAL_LIMIT = 1024 * 1024  # octets of values that count to one account, or to an organisation
USE = "/private/specialuse"

Values = dict[str, bytes]


class Scope(msgspec.Struct, frozen=True):
    """Where annotations are looked for: in a mailbox, or in 0 for those of the server.

    `private` is the owner of private ones, `shared` that of shared ones, as the table has them.
    """

    mailbox: MailboxId
    private: int
    shared: int

    def owner_of(self, entry: str) -> int:
        """Under whose number the entry is kept."""
        return self.private if entry.startswith("/private/") else self.shared


SERVER = MailboxId(0)


def of_mailbox(account: AccountId, mailbox: MailboxId) -> Scope:
    """What the account sees in a mailbox."""
    return Scope(mailbox, account, 0)


def of_server(tx: Tx, account: AccountId) -> Scope:
    """What the account sees of the server."""
    organisation = tx.value("SELECT organisation FROM account WHERE id = :id", id=account)
    return Scope(SERVER, account, -int(organisation or 0))


def find(tx: Tx, scope: Scope, roots: Sequence[str], below: bool) -> Values:
    """The annotations of these names; with `below` also all under them."""
    found: Values = {}
    for root in roots:
        condition = (
            "entry = :entry OR entry LIKE :pattern ESCAPE '!'" if below else "entry = :entry"
        )
        pattern = {"pattern": _escape(root) + "/%"} if below else {}
        owners = {scope.private, scope.shared}
        for owner in sorted(owners):
            rows = tx.rows(
                f"SELECT entry, value FROM annotation WHERE mailbox = :mailbox AND owner = :owner"
                f" AND ({condition})",
                mailbox=scope.mailbox,
                owner=owner,
                entry=root,
                **pattern,
            )
            found.update((entry, bytes(value)) for entry, value in rows)
    return dict(sorted(found.items()))


def find_in(
    tx: Tx, account: AccountId, ids: Collection[int], entries: Sequence[str]
) -> dict[MailboxId, Values]:
    """The annotations of these names in several mailboxes."""
    found: dict[MailboxId, Values] = {}
    for entry in entries:
        rows = tx.each(
            "SELECT mailbox, value FROM annotation WHERE mailbox = :id AND owner = :owner"
            " AND entry = :entry",
            ids,
            owner=of_mailbox(account, SERVER).owner_of(entry),
            entry=entry,
        )
        for mailbox, value in rows:
            found.setdefault(MailboxId(mailbox), {})[entry] = bytes(value)
    return found


def put(tx: Tx, scope: Scope, values: Sequence[tuple[str, bytes | None]]) -> None:
    """Set them all, or with None take them away; Refusal if one of them is too much."""
    if scope.mailbox:
        mailboxes.hold(tx, scope.mailbox)
    for entry, value in values:
        owner = scope.owner_of(entry)
        if value is None:
            tx.run(
                "DELETE FROM annotation WHERE mailbox = :mailbox AND owner = :owner"
                " AND entry = :entry",
                mailbox=scope.mailbox,
                owner=owner,
                entry=entry,
            )
            continue
        if len(value) > VALUE_LIMIT:
            raise Refusal("the value is too long", f"METADATA MAXSIZE {VALUE_LIMIT}")
        tx.run(_PUT, mailbox=scope.mailbox, owner=owner, entry=entry, value=value)
    for owner in {scope.owner_of(entry) for entry, value in values if value is not None}:
        _check_number(tx, scope.mailbox, owner)
        _check_total(tx, scope.mailbox, owner)


_PUT = (
    "INSERT INTO annotation (mailbox, owner, entry, value)"
    " VALUES (:mailbox, :owner, :entry, :value)"
    " ON CONFLICT (mailbox, owner, entry) DO UPDATE SET value = :value"
)


def _check_number(tx: Tx, mailbox: MailboxId, owner: int) -> None:
    count = tx.value(
        "SELECT count(*) FROM annotation WHERE mailbox = :mailbox AND owner = :owner",
        mailbox=mailbox,
        owner=owner,
    )
    if count > (ENTRIES_LIMIT if mailbox else SERVER_ENTRIES_LIMIT):
        raise Refusal("there are too many annotations", "METADATA TOOMANY")


def _check_total(tx: Tx, mailbox: MailboxId, owner: int) -> None:
    """What is private, or of the server, is counted by its owner, what is shared by mailboxes."""
    where = "owner = :owner"
    if owner == 0:
        where = (
            "owner = 0 AND mailbox IN (SELECT id FROM mailbox WHERE account ="
            " (SELECT account FROM mailbox WHERE id = :mailbox))"
        )
    values = {"owner": owner} if owner else {"mailbox": mailbox}
    total = tx.value(f"SELECT sum(length(value)) FROM annotation WHERE {where}", **values)
    if int(total or 0) > TOTAL_LIMIT:
        raise Refusal("the annotations are too long, all together", "METADATA TOOMANY")


def copy(tx: Tx, source: MailboxId, target: MailboxId) -> None:
    """The same for another mailbox: an INBOX keeps its own when it is renamed (section 4.1)."""
    tx.run(
        "INSERT INTO annotation (mailbox, owner, entry, value)"
        " SELECT :target, owner, entry, value FROM annotation WHERE mailbox = :source",
        source=source,
        target=target,
    )


def set_use(tx: Tx, mailbox: Mailbox, value: bytes | None) -> None:
    """Give the mailbox a special use, or take it away; what CREATE would refuse is refused."""
    words = [] if value is None else value.decode("ascii", "replace").split()
    known = {use.value.lower(): use for use in SpecialUse}
    uses = {known.get(word.lower()) for word in words}
    if None in uses or len(uses) > 1:
        raise Refusal("a mailbox has one special use, of those that LIST shows", "USEATTR")
    use = next(iter(uses), None)
    if use is not None and mailboxes.find_special(tx, mailbox.account, use) not in (
        None,
        mailbox.id,
    ):
        raise Refusal("another mailbox has this special use", "USEATTR")
    if use in (SpecialUse.JUNK, SpecialUse.TRASH) and mailbox.messages:
        raise Refusal("it would empty itself, so it has to be empty before", "USEATTR")
    if use is not None and mailbox.name == INBOX:
        raise Refusal("INBOX has no special use", "USEATTR")
    tx.run(
        "UPDATE mailbox SET special_use = :use WHERE id = :id",
        id=mailbox.id,
        use=None if use is None else use.value,
    )


def _escape(text: str) -> str:
    """For LIKE; names have no "%"."""
    return text.replace("!", "!!").replace("_", "!_")
