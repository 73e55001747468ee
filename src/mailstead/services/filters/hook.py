"""A generic hook over HTTP: JSON there, JSON back; docs/receiving.md has both. Version 1."""

import base64
from collections.abc import Iterator

import msgspec

from mailstead.message import header as fields
from mailstead.model.reply import Reply
from mailstead.net.http import Post
from mailstead.net.https import Page
from mailstead.protocol.milter.responses import InsertHeader
from mailstead.services.filters.letter import Advice, Changes, EngineFailed, Letter, Opinion

VERSION = 1
CONTENT_LIMIT = 4 * 1024 * 1024  # octets of the message that are shown
ANSWER_LIMIT = 64 * 1024
FIELDS_LIMIT = 50
REASON_LIMIT = 500


class Client(msgspec.Struct, frozen=True):
    """Who brought it."""

    address: str
    name: str
    helo: str
    tls: str
    login: str


class Question(msgspec.Struct, frozen=True):
    """What is sent."""

    version: int
    id: str
    direction: str
    client: Client
    sender: str
    recipients: tuple[str, ...]
    size: int
    header: tuple[tuple[str, str], ...]
    message: str  # base64
    truncated: bool


class NewField(msgspec.Struct, frozen=True):
    """A field for the top of the header."""

    name: str
    value: str


class Answer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is expected; all but the action may be left out."""

    action: str  # "accept", "junk", "quarantine", "defer", "refuse"
    reason: str = ""
    reply: str = ""  # the text that the peer gets
    score: float = 0.0
    headers: tuple[NewField, ...] = ()


def request(letter: Letter, direction: str) -> tuple[Post, bytes]:
    """What is sent, and its octets."""
    octets = _first(letter)
    question = Question(
        version=VERSION,
        id=letter.trace,
        direction=direction,
        client=Client(letter.peer.address, letter.name, letter.helo, letter.tls, letter.login),
        sender=letter.reverse_path,
        recipients=letter.recipients,
        size=letter.size,
        header=tuple((one.name, fields.decode(one.value)) for one in fields.fields(letter.header)),
        message=base64.b64encode(octets).decode(),
        truncated=len(octets) < letter.size,
    )
    data = msgspec.json.encode(question)
    return Post((("Content-Type", "application/json"),), len(data), ANSWER_LIMIT), data


def _first(letter: Letter) -> bytes:
    """The message, as far as it is shown."""

    def pieces() -> Iterator[bytes]:
        room = CONTENT_LIMIT
        for piece in (letter.header, *letter.body.parts()):
            yield piece[:room]
            room -= len(piece)
            if room <= 0:
                return

    return b"".join(pieces())


_ADVICE = {
    "accept": Advice.NOTHING,
    "junk": Advice.JUNK,
    "quarantine": Advice.QUARANTINE,
    "defer": Advice.DEFER,
    "refuse": Advice.REFUSE,
}


def read(page: Page, name: str) -> Opinion:
    """What the hook says; EngineFailed if it makes no sense."""
    if page.status != 200:
        raise EngineFailed(f"the hook answers {page.status}")
    try:
        said = msgspec.json.decode(page.body, type=Answer)
    except msgspec.MsgspecError as error:
        raise EngineFailed(f"the hook's answer is none: {error}") from error
    if (advice := _ADVICE.get(said.action)) is None:
        raise EngineFailed(f"the hook wants {said.action[:50]!r}, which is unknown")
    return Opinion(
        engine=name,
        advice=advice,
        reason=said.reason[:REASON_LIMIT],
        reply=_reply(advice, said.reply or said.reason),
        weight=max(-100.0, min(100.0, said.score)),
        changes=Changes(header=tuple(_field(one) for one in said.headers[:FIELDS_LIMIT])),
    )


def _reply(advice: Advice, text: str) -> Reply | None:
    line = " ".join(text.encode("ascii", "replace").decode().split())[:400]
    if advice is Advice.REFUSE:
        return Reply(550, "5.7.1", line or "We do not take this message")
    if advice is Advice.DEFER:
        return Reply(451, "4.7.1", line or "We do not take this message now")
    return None


def _field(one: NewField) -> InsertHeader:
    if not one.name.isascii() or not one.name.replace("-", "").isalnum():
        raise EngineFailed(f"{one.name[:50]!r} is no name of a field")
    return InsertHeader(0, one.name, b" " + one.value.encode("utf-8", "replace"))
