"""Who there is, as operators change it: what takes more than one transaction or one table.

Single changes are storage.accounts; here are those that belong together (a domain with its
organisation), those that hash passwords, and the erasure of an account.
Holds: an erasure that was cut short can be repeated; the account goes in the last transaction.
"""

from collections.abc import Callable
from datetime import timedelta

import msgspec

from mailstead.model.address import Address, Domain
from mailstead.model.errors import Refusal
from mailstead.model.mailbox import Mailbox
from mailstead.model.numbers import AccountId, MailboxId, OrganisationId
from mailstead.model.world import Offload, World
from mailstead.msgauth.dkim.key import SigningKey
from mailstead.protocol import sasl_scram
from mailstead.services import passwords, signing
from mailstead.services.passwords import PASSWORD_LIMIT, Stored
from mailstead.storage import accounts, app_passwords, mailboxes, messages
from mailstead.storage.app_passwords import NewAppPassword
from mailstead.storage.store import WRITE_LIMIT, Store, Tx

PASSWORD_LEAST = 8  # characters; NIST SP 800-63B section 3.1.1.2 asks for no less


class NewAccount(msgspec.Struct, frozen=True):
    """An account to be made; `quota` in octets, 0 for none. `hash` instead of a password."""

    address: Address
    password: str
    name: str = ""
    quota: int = 0
    hash: str = ""


async def host_domain(
    store: Store, offload: Offload, name: Domain, organisation: str = ""
) -> SigningKey:
    """Take the mail of a domain, and sign what it sends with the key that is given back."""
    pem = await signing.make_key(offload)

    def work(tx: Tx) -> SigningKey:
        add_domain(tx, name, organisation)
        return signing.keep_key(tx, name, pem)

    return await store.write(work)


def add_domain(tx: Tx, name: Domain, organisation: str = "") -> OrganisationId:
    """A domain in the organisation of that name, which is made if it is not there.

    Without a name: the first organisation there is, or one named after the domain.
    """
    owner = (
        accounts.find_organisation(tx, organisation)
        if organisation
        else accounts.first_organisation(tx)
    )
    if owner is None:
        owner = accounts.create_organisation(tx, organisation or name)
    accounts.create_domain(tx, owner, name)
    return owner


def check_password(password: str) -> None:
    """Refusal if the password cannot be one."""
    if len(password) < PASSWORD_LEAST:
        raise Refusal(f"the password is too short: it needs {PASSWORD_LEAST} characters or more")
    try:
        octets = password.encode()
    except UnicodeEncodeError as error:
        raise Refusal("the password is no text in UTF-8") from error
    if len(octets) > PASSWORD_LIMIT:
        raise Refusal(f"the password is longer than {PASSWORD_LIMIT} octets")
    if any(ord(character) < 32 or ord(character) == 127 for character in password):
        raise Refusal("a password has no control characters (RFC 4616 section 2)")


async def add_account(store: Store, world: World, new: NewAccount) -> AccountId:
    """The account, with its default mailboxes; the password is hashed on a thread."""
    if not new.hash:
        check_password(new.password)
    # Asked before the hash, so that a wrong line of a long file costs no 60 ms of CPU.
    await store.read(lambda tx: accounts.get_domain(tx, new.address.domain))
    stored = await _store_password(store, world, str(new.address), new.password, new.hash)
    return await store.write(
        lambda tx: accounts.create_account(
            tx, new.address, stored.password, new.name, new.quota, stored.scram
        )
    )


async def set_password(store: Store, world: World, login: str, password: str) -> None:
    """Another password for the account."""
    check_password(password)
    await store.read(lambda tx: accounts.get_account(tx, login))
    stored = await _store_password(store, world, login, password)
    await store.write(lambda tx: accounts.set_password(tx, login, stored.password, stored.scram))


async def set_hash(store: Store, login: str, hashed: str) -> None:
    """The hash of a password that another server had; Refusal if it cannot be checked here."""
    stored = parse_hash(hashed)
    await store.write(lambda tx: accounts.set_password(tx, login, stored))


def parse_hash(text: str) -> str:
    """The hash as it is stored; Refusal if it is of no kind that can be checked here."""
    stored = passwords.parse_import(text)
    if stored is None:
        raise Refusal(
            "that is no hash that can be taken over: SHA512-CRYPT ($6$), PBKDF2 and argon2 are,"
            " bcrypt is not. Give the account a new password instead: mailstead account password"
        )
    return stored


class AppPasswordWish(msgspec.Struct, frozen=True):
    """A password for one program: for which protocols (none: all), and for how long."""

    login: str
    name: str
    scopes: tuple[str, ...] = ()
    lifetime: timedelta | None = None


async def add_app_password(store: Store, world: World, wish: AppPasswordWish) -> str:
    """A password for one program, of our making; it is kept nowhere."""
    if not 0 < len(wish.name) <= app_passwords.NAME_LIMIT or not wish.name.isprintable():
        raise Refusal(f"a name has 1 to {app_passwords.NAME_LIMIT} printable characters")
    account = await store.read(lambda tx: accounts.get_account(tx, wish.login))
    key = await passwords.find_key(store, world.random)
    word = passwords.make_app_password(world.random)
    # All passwords of an account have one salt, so that SCRAM can tell them apart by the proof.
    known = sasl_scram.parse_keys(account.scram, 0)
    salt = known.salt if known else passwords.salt_of(key, account.login)
    scram = await world.offload.run(lambda: passwords.scram_keys(word, salt))
    expires = None if wish.lifetime is None else world.clock.now() + wish.lifetime
    secret = passwords.keyed_hash(key, word)
    new = NewAppPassword(wish.name, secret, scram, wish.scopes, expires)
    await store.write(lambda tx: app_passwords.add(tx, wish.login, new))
    return word


async def _store_password(
    store: Store, world: World, login: str, password: str, hashed: str = ""
) -> Stored:
    if hashed:
        return Stored(parse_hash(hashed), "")
    salt = passwords.salt_of(await passwords.find_key(store, world.random), login)
    return await world.offload.run(lambda: passwords.store_password(password, salt))


# ---------------------------------------------------------------------- erasure


async def erase_account(store: Store, login: str, progress: Callable[[int], None]) -> int:
    """Delete the account, its addresses and all its mail; how many messages those were.

    In slices of WRITE_LIMIT; `progress` is told after each how many messages are gone. First the
    account is switched off, so that nothing new comes in; the account itself goes last.
    """
    await store.write(lambda tx: accounts.set_active(tx, login, False))
    account = (await store.read(lambda tx: accounts.get_account(tx, login))).id
    gone = 0
    while mailbox := await store.read(lambda tx: _next_filled(tx, account)):
        gone += await store.write(_clearing(account, mailbox.id))
        progress(gone)
    for statement in _SLICED:
        while await store.write(_slice(statement, account)):
            pass
    if not await store.write(lambda tx: _finish(tx, login, account)):
        gone += await erase_account(store, login, lambda more: progress(gone + more))
    return gone


def _next_filled(tx: Tx, account: AccountId) -> Mailbox | None:
    filled = (one for one in mailboxes.list_all(tx, account) if one.messages)
    return next(filled, None)


def _clearing(account: AccountId, mailbox: MailboxId) -> Callable[[Tx], int]:
    return lambda tx: messages.clear(tx, account, mailbox, WRITE_LIMIT)


def _slice(statement: str, account: AccountId) -> Callable[[Tx], int]:
    return lambda tx: tx.run(statement, account=account, limit=WRITE_LIMIT)


def _finish(tx: Tx, login: str, account: AccountId) -> bool:
    """Take away the account and its mailboxes; False if a session filed something meanwhile."""
    if _next_filled(tx, account):
        return False
    for statement in _AT_ONCE:
        tx.run(statement, account=account)
    accounts.forget_account(tx, login)
    return True


# What can be long goes in slices, what has limits of its own at once with the account.
_SLICED = (
    "DELETE FROM expunged WHERE (mailbox, modseq, uid) IN (SELECT mailbox, modseq, uid"
    " FROM expunged WHERE mailbox IN (SELECT id FROM mailbox WHERE account = :account)"
    " LIMIT :limit)",
    "DELETE FROM email_gone WHERE (account, modseq, email) IN (SELECT account, modseq, email"
    " FROM email_gone WHERE account = :account LIMIT :limit)",
    "DELETE FROM mailbox_gone WHERE (account, modseq, mailbox) IN (SELECT account, modseq, mailbox"
    " FROM mailbox_gone WHERE account = :account LIMIT :limit)",
    "DELETE FROM keyword WHERE (mailbox, name) IN (SELECT mailbox, name FROM keyword"
    " WHERE mailbox IN (SELECT id FROM mailbox WHERE account = :account) LIMIT :limit)",
    "DELETE FROM subscription WHERE (account, name) IN (SELECT account, name FROM subscription"
    " WHERE account = :account LIMIT :limit)",
    "DELETE FROM annotation WHERE (mailbox, owner, entry) IN (SELECT mailbox, owner, entry"
    " FROM annotation WHERE owner = :account OR mailbox IN"
    " (SELECT id FROM mailbox WHERE account = :account) LIMIT :limit)",
    "DELETE FROM mailbox_right WHERE (mailbox, account) IN (SELECT mailbox, account"
    " FROM mailbox_right WHERE account = :account OR mailbox IN"
    " (SELECT id FROM mailbox WHERE account = :account) LIMIT :limit)",
    "DELETE FROM retrieved WHERE (mailbox, uid) IN (SELECT mailbox, uid FROM retrieved"
    " WHERE mailbox IN (SELECT id FROM mailbox WHERE account = :account) LIMIT :limit)",
    "DELETE FROM correspondent WHERE (account, address) IN (SELECT account, address"
    " FROM correspondent WHERE account = :account LIMIT :limit)",
    "DELETE FROM spam_learnt WHERE email IN"
    " (SELECT email FROM spam_learnt WHERE account = :account LIMIT :limit)",
    "DELETE FROM spam_lesson WHERE id IN"
    " (SELECT id FROM spam_lesson WHERE account = :account LIMIT :limit)",
    "DELETE FROM spam_token WHERE (organisation, account, token) IN"
    " (SELECT organisation, account, token FROM spam_token WHERE organisation ="
    " (SELECT organisation FROM account WHERE id = :account) AND account = :account LIMIT :limit)",
)
_AT_ONCE = (
    "DELETE FROM expunged WHERE mailbox IN (SELECT id FROM mailbox WHERE account = :account)",
    "DELETE FROM keyword WHERE mailbox IN (SELECT id FROM mailbox WHERE account = :account)",
    "DELETE FROM email_gone WHERE account = :account",
    "DELETE FROM mailbox_gone WHERE account = :account",
    "DELETE FROM subscription WHERE account = :account",
    "DELETE FROM correspondent WHERE account = :account",
    "DELETE FROM account_day WHERE account = :account",
    "DELETE FROM send_as WHERE account = :account",
    "DELETE FROM app_password WHERE account = :account",
    "DELETE FROM annotation WHERE owner = :account",
    "DELETE FROM annotation WHERE mailbox IN (SELECT id FROM mailbox WHERE account = :account)",
    "DELETE FROM mailbox_right WHERE account = :account",
    "DELETE FROM mailbox_right WHERE mailbox IN (SELECT id FROM mailbox WHERE account = :account)",
    "DELETE FROM login_certificate WHERE account = :account",
    "DELETE FROM maildrop_lock WHERE account = :account",
    "DELETE FROM spam_lesson WHERE account = :account",
    "DELETE FROM spam_learnt WHERE account = :account",
    "DELETE FROM spam_token WHERE organisation ="
    " (SELECT organisation FROM account WHERE id = :account) AND account = :account",
    "DELETE FROM spam_corpus WHERE account = :account",
    "DELETE FROM filter_setting WHERE account = :account",
    "DELETE FROM filter_list WHERE account = :account",
    "DELETE FROM mailbox WHERE account = :account",
)
