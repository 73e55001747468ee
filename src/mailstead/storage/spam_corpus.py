"""What was learnt of spam: how often each token came in messages of both kinds.

An organisation has a corpus, and each of its accounts one of its own; account 0 is all of the
organisation. `generation` changes with every lesson, so that whoever remembers counts can tell
whether they still hold. Holds: what a message was learnt as is known, and can be taken back.
"""

from collections.abc import Collection, Mapping, Sequence

import msgspec

from mailstead.model.numbers import AccountId, EmailId, OrganisationId, TraceId
from mailstead.spam.bayes import Totals
from mailstead.storage.store import Tx, to_micros

EVERYBODY = AccountId(0)  # all accounts of an organisation
TOKENS_LIMIT = 2_000_000  # of one corpus; then those that came once go

Counts = dict[int, tuple[int, int]]  # token -> messages of ham, messages of spam


class Corpus(msgspec.Struct, frozen=True):
    """One corpus as a whole."""

    account: AccountId
    totals: Totals
    generation: int


class Learnt(msgspec.Struct, frozen=True):
    """What an email counts as, and when that was learnt (microseconds)."""

    account: AccountId
    spam: bool
    learnt: int


def corpora(
    tx: Tx, organisation: OrganisationId, accounts: Collection[AccountId]
) -> dict[AccountId, Corpus]:
    """The corpora of the organisation and of these accounts, those that there are."""
    rows = tx.each(
        "SELECT account, ham, spam, generation FROM spam_corpus"
        " WHERE organisation = :organisation AND account = :id",
        {EVERYBODY, *accounts},
        organisation=organisation,
    )
    return {
        AccountId(account): Corpus(AccountId(account), Totals(ham, spam), generation)
        for account, ham, spam, generation in rows
    }


def counts(
    tx: Tx, organisation: OrganisationId, account: AccountId, tokens: Collection[int]
) -> Counts:
    """The counts of those of the tokens that were ever seen; in one statement."""
    rows = tx.each(
        "SELECT token, ham, spam FROM spam_token"
        " WHERE organisation = :organisation AND account = :account AND token = :id",
        tokens,
        organisation=organisation,
        account=account,
    )
    return {token: (ham, spam) for token, ham, spam in rows}


def count(
    tx: Tx,
    organisation: OrganisationId,
    account: AccountId,
    times: Mapping[int, int],
    messages: int,
    spam: bool,
) -> None:
    """Count so many messages of one kind, and how many of them have each token.

    Less than nothing takes them back. One message is one write, of a few thousand rows at most.
    """
    key = {"organisation": organisation, "account": account}
    ham_counts = 0 if spam else messages
    tx.run(
        "INSERT INTO spam_corpus (organisation, account, ham, spam, generation)"
        " VALUES (:organisation, :account, :ham, :spam, 1)"
        " ON CONFLICT (organisation, account) DO UPDATE SET ham = spam_corpus.ham + excluded.ham,"
        " spam = spam_corpus.spam + excluded.spam, generation = spam_corpus.generation + 1",
        **key,
        ham=ham_counts,
        spam=messages - ham_counts,
    )
    rows = [
        {**key, "token": token, "ham": 0 if spam else number, "spam": number if spam else 0}
        for token, number in sorted(times.items())
    ]
    tx.many(
        "INSERT INTO spam_token (organisation, account, token, ham, spam)"
        " VALUES (:organisation, :account, :token, :ham, :spam)"
        " ON CONFLICT (organisation, account, token) DO UPDATE SET"
        " ham = spam_token.ham + excluded.ham, spam = spam_token.spam + excluded.spam",
        rows,
    )
    if messages < 0:
        tx.many(
            "DELETE FROM spam_token WHERE organisation = :organisation AND account = :account"
            " AND token = :token AND ham <= 0 AND spam <= 0",
            [{**key, "token": token} for token in sorted(times)],
        )


def forget(tx: Tx, organisation: OrganisationId, account: AccountId, limit: int) -> int:
    """Forget up to so many tokens of a corpus, and the corpus with the last; how many went."""
    tokens = tx.rows(
        "SELECT token FROM spam_token WHERE organisation = :organisation AND account = :account"
        " LIMIT :limit",
        organisation=organisation,
        account=account,
        limit=limit,
    )
    _delete(tx, organisation, account, [row[0] for row in tokens])
    if len(tokens) < limit:
        tx.run(
            "UPDATE spam_corpus SET ham = 0, spam = 0, generation = generation + 1"
            " WHERE organisation = :organisation AND account = :account",
            organisation=organisation,
            account=account,
        )
    return len(tokens)


def prune(tx: Tx, organisation: OrganisationId, account: AccountId, limit: int) -> int:
    """Forget up to so many tokens that came only once, where there are too many; how many went."""
    size = tx.value(
        "SELECT count(*) FROM spam_token WHERE organisation = :organisation AND account = :account",
        organisation=organisation,
        account=account,
    )
    if size <= TOKENS_LIMIT:
        return 0
    rows = tx.rows(
        "SELECT token FROM spam_token WHERE organisation = :organisation AND account = :account"
        " AND ham + spam <= 1 LIMIT :limit",
        organisation=organisation,
        account=account,
        limit=limit,
    )
    _delete(tx, organisation, account, [row[0] for row in rows])
    return len(rows)


def _delete(
    tx: Tx, organisation: OrganisationId, account: AccountId, tokens: Sequence[int]
) -> None:
    tx.many(
        "DELETE FROM spam_token WHERE organisation = :organisation AND account = :account"
        " AND token = :token",
        [{"organisation": organisation, "account": account, "token": one} for one in tokens],
    )


def list_all(tx: Tx) -> list[tuple[OrganisationId, Corpus]]:
    """Every corpus, those of whole organisations first."""
    rows = tx.rows(
        "SELECT organisation, account, ham, spam, generation FROM spam_corpus"
        " ORDER BY account > 0, organisation, account"
    )
    return [
        (OrganisationId(organisation), Corpus(AccountId(account), Totals(ham, spam), generation))
        for organisation, account, ham, spam, generation in rows
    ]


# ---------------------------------------------------------------------- what an email counts as


def find_learnt(tx: Tx, email: EmailId) -> Learnt | None:
    """What the email counts as."""
    row = tx.row("SELECT account, spam, learnt FROM spam_learnt WHERE email = :email", email=email)
    return None if row is None else Learnt(AccountId(row[0]), bool(row[1]), row[2])


def set_learnt(tx: Tx, email: EmailId, account: AccountId, spam: bool) -> None:
    """The email counts as that from now on."""
    tx.run(
        "INSERT INTO spam_learnt (email, account, spam, learnt)"
        " VALUES (:email, :account, :spam, :learnt) ON CONFLICT (email) DO UPDATE SET"
        " spam = excluded.spam, learnt = excluded.learnt",
        email=email,
        account=account,
        spam=int(spam),
        learnt=to_micros(tx.now),
    )


def said_of_messages(tx: Tx) -> dict[TraceId, str]:
    """What people said of messages that lie here still: "ham" or "spam" by their traces."""
    rows = tx.rows("SELECT trace, spam FROM spam_learnt JOIN email ON email.id = spam_learnt.email")
    return {TraceId(trace): "spam" if spam else "ham" for trace, spam in rows}


def forget_learnt(tx: Tx, before: int, limit: int) -> int:
    """Forget what emails count as that were learnt before then; how many it were."""
    rows = tx.rows(
        "SELECT email FROM spam_learnt WHERE learnt < :before LIMIT :limit",
        before=before,
        limit=limit,
    )
    tx.many("DELETE FROM spam_learnt WHERE email = :email", [{"email": row[0]} for row in rows])
    return len(rows)
