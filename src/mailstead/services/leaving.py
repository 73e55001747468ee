"""May this mail leave? Suppressions, streams, and limits for accounts that were stolen.

Asked at RCPT, so that the sender hears at once which recipient is the matter; what only the header
tells (the stream) is asked again at the message's end. Functions of a transaction, no world.
"""

from collections.abc import Sequence

import msgspec

from mailstead.message import header as fields
from mailstead.model.address import Domain
from mailstead.model.numbers import AccountId, OrganisationId
from mailstead.model.reply import Reply
from mailstead.services.delivery.plan import InStream
from mailstead.services.delivery.recipients import Found
from mailstead.storage import senders, streams, suppression
from mailstead.storage.store import Tx
from mailstead.storage.suppression import Suppression

STREAM_FIELD = "Mailstead-Stream"  # names the stream of a message; taken away
RECIPIENTS = "recipients_account"  # names of limits
STRANGERS = "strangers_account"

_SUPPRESSED = "Your organisation does not write to this address any more"
_TOO_MANY = "Your account wrote to {limit} {whom} today, which is its limit; ask your postmaster"


class Leaving(msgspec.Struct, frozen=True):
    """A recipient elsewhere that may be written to; `stranger`: for the first time."""

    found: Found
    stranger: bool = False
    stream: str = ""  # of the account


class Refused(msgspec.Struct, frozen=True):
    """A recipient that may not be written to; `limit` names the limit that says so, if one does."""

    reply: Reply
    limit: str = ""


def may_leave(
    tx: Tx, found: Found, account: AccountId | None, leaving: Sequence[Leaving]
) -> Leaving | Refused:
    """Whether the recipient may be written to, beside those that the message goes to already."""
    if account is None:
        suppressed = suppression.find(tx, found.organisation, found.address)
        return Refused(refusal_of(suppressed)) if suppressed else Leaving(found)
    standing = senders.standing(tx, account, found.address)
    if standing.suppressed is not None:
        return Refused(refusal_of(standing.suppressed))
    if _over(standing.recipients, len(leaving), standing.recipients_limit):
        return _too_many(standing.recipients_limit, "recipients", RECIPIENTS)
    stranger = not standing.has_written
    strangers = sum(one.stranger for one in leaving)
    if stranger and _over(standing.strangers, strangers, standing.strangers_limit):
        return _too_many(standing.strangers_limit, "new recipients", STRANGERS)
    return Leaving(found, stranger, standing.stream)


def _over(before: int, now: int, limit: int | None) -> bool:
    return limit is not None and before + now >= limit


def _too_many(limit: int | None, whom: str, name: str) -> Refused:
    return Refused(Reply(451, "4.7.1", _TOO_MANY.format(limit=limit, whom=whom)), name)


def refusal_of(suppressed: Suppression) -> Reply:
    """What the sender is told of a suppressed recipient."""
    words = f"{suppressed.reason} {suppressed.evidence}".encode("ascii", "replace").decode()
    return Reply(550, "5.7.1", f"{_SUPPRESSED}: {' '.join(words.split())[:300]}")


def named_stream(header: bytes) -> str:
    """The stream that the header names; "" if it names none."""
    value = fields.get(header, STREAM_FIELD)
    return "" if value is None else value.decode("ascii", "replace").strip().lower()


def find_stream(
    tx: Tx, organisation: OrganisationId, name: str, author: Domain
) -> InStream | Reply:
    """Where the stream's mail stands in the queue, and where its return paths lead."""
    stream = streams.find(tx, organisation, name)
    if stream is None:
        return Reply(550, "5.7.1", f"There is no stream {name[:64]!a}; leave out {STREAM_FIELD}")
    return InStream(stream.name, stream.priority, author)


def suppressed_in(tx: Tx, leaving: Sequence[Found], stream: str) -> list[tuple[Found, Reply]]:
    """Those that the stream does not write to, and what is said about that."""
    found = [(one, suppression.find(tx, one.organisation, one.address, stream)) for one in leaving]
    return [(one, refusal_of(suppressed)) for one, suppressed in found if suppressed is not None]
