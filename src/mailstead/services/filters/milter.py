"""Showing a whole message to a milter, all stages in one go, when its end is there.

A recipient that the filter refuses is told as refused; what else it refuses is the whole message.
A message to be discarded is kept back instead: nothing that was taken vanishes.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import TypeVar

from mailstead.message import header as fields
from mailstead.model.reply import Reply
from mailstead.model.world import Stream
from mailstead.protocol.milter import responses as said
from mailstead.protocol.milter.client import (
    Dialogue,
    Failed,
    Filter,
    Heard,
    Judged,
    Keep,
    Lost,
    Request,
    Verdict,
    negotiate,
)
from mailstead.protocol.milter.options import Macros
from mailstead.protocol.milter.responses import ResponseReader
from mailstead.services.filters.letter import Advice, Changes, EngineFailed, Letter, Opinion
from mailstead.storage.blobs import Gathering

T = TypeVar("T")

_REFUSED = Reply(550, "5.7.1", "A filter of ours refuses the message")
_DEFERRED = Reply(451, "4.7.1", "A filter of ours wants the message later")

NewBody = Callable[[], Gathering]


class _Talk:
    """A driver of dialogues over one connection."""

    def __init__(self, stream: Stream, body: Gathering) -> None:
        self._stream, self.body = stream, body
        self._reader = ResponseReader()
        self._heard: list[said.Response] = []

    async def __call__(self, dialogue: Dialogue[T]) -> T:
        try:
            request = next(dialogue)
            while True:
                request = dialogue.send(await self._do(request))
        except StopIteration as end:
            result: T = end.value
            return result

    async def _do(self, request: Request) -> Heard:
        if isinstance(request, Keep):
            self.body.add(request.piece)
            return None
        self._stream.send(request.data)
        if self._stream.congested:
            await self._stream.flush()
        if not request.answered:
            return None
        while not self._heard:
            data = await self._stream.receive()
            if data == b"":
                return Lost("the filter closed the connection")
            self._heard += self._reader.receive(data or b"")
        return self._heard.pop(0)


async def ask(stream: Stream, letter: Letter, name: str, new_body: NewBody) -> Opinion:
    """What the filter says; the caller sets the time limit and closes the stream."""
    talk = _Talk(stream, new_body())
    found = await talk(negotiate())
    if isinstance(found, Failed):
        raise EngineFailed(found.problem)
    refused: list[str] = []
    judged = await _show(talk, found, letter, refused)
    with contextlib.suppress(ConnectionError):
        await talk(found.quit())
    return _opinion(judged, name, tuple(refused), talk.body)


async def _show(talk: _Talk, filter_: Filter, letter: Letter, refused: list[str]) -> Judged:
    """All stages, until one of them decides."""
    client = letter.name or f"[{letter.peer.address}]"
    for stage in (
        filter_.connect(client, letter.peer, _connected(letter)),
        filter_.helo(letter.helo, _greeted(letter)),
        filter_.mail(f"<{letter.reverse_path}>", (f"SIZE={letter.size}",), _sent(letter)),
    ):
        verdict = await talk(stage)
        if _decides(verdict):
            return Judged(verdict)
    for one in letter.recipients:
        path = f"<{one}>"
        verdict = await talk(filter_.rcpt(path, macros=Macros({"{rcpt_addr}": one})))
        if isinstance(verdict, said.Reject | said.TempFail | said.Refuse):
            refused.append(one)
        elif _decides(verdict):
            return Judged(verdict)
    if len(refused) == len(letter.recipients):
        return Judged(verdict)
    return await _show_content(talk, filter_, letter)


async def _show_content(talk: _Talk, filter_: Filter, letter: Letter) -> Judged:
    for stage in (
        filter_.data(Macros({"i": letter.trace})),
        filter_.header(_fields(letter.header)),
        filter_.end_of_header(),
    ):
        verdict = await talk(stage)
        if _decides(verdict):
            return Judged(verdict)
    for piece in letter.body.parts():
        verdict = await talk(filter_.body(piece))
        if _decides(verdict):
            return Judged(verdict)
    return await talk(filter_.end_of_message(Macros({"i": letter.trace})))


def _decides(verdict: Verdict) -> bool:
    return not isinstance(verdict, said.Continue)


def _fields(header: bytes) -> Iterator[tuple[str, bytes]]:
    for one in fields.fields(header):
        yield one.name, one.raw.partition(b":")[2]


def _connected(letter: Letter) -> Macros:
    name, address = letter.name or f"[{letter.peer.address}]", letter.peer.address
    return Macros(
        {
            "j": letter.hostname,
            "_": f"{name} [{address}]",
            "{daemon_name}": letter.hostname,
            "{client_name}": name,
            "{client_addr}": address,
            "{client_port}": str(letter.peer.port),
            "{client_ptr}": letter.name or "unknown",
            "v": "Mailstead",
        }
    )


def _greeted(letter: Letter) -> Macros:
    version, _, cipher = letter.tls.partition(" ")
    return Macros({"{tls_version}": version, "{cipher}": cipher} if letter.tls else {})


def _sent(letter: Letter) -> Macros:
    values = {"i": letter.trace, "{mail_addr}": letter.reverse_path}
    if letter.login:
        values |= {"{auth_authen}": letter.login, "{auth_type}": "PLAIN"}
    return Macros(values)


def _opinion(judged: Judged, name: str, refused: tuple[str, ...], body: Gathering) -> Opinion:
    match judged.verdict:
        case Failed(problem):
            raise EngineFailed(problem)
        case said.Refuse(reply):
            advice = Advice.REFUSE if reply.permanent else Advice.DEFER
            return Opinion(name, advice, f"it says: {reply}", _with_code(reply), refused=refused)
        case said.Reject():
            return Opinion(name, Advice.REFUSE, "it refuses the message", _REFUSED, refused=refused)
        case said.TempFail() | said.ShutDown() | said.ConnectionFailure():
            return Opinion(name, Advice.DEFER, "it wants it later", _DEFERRED, refused=refused)
        case said.Discard():
            return Opinion(name, Advice.QUARANTINE, "it would throw the message away")
        case _:
            return _changed(judged, name, refused, body)


def _with_code(reply: Reply) -> Reply:
    """The reply with an enhanced code, and none that ends the session."""
    enhanced = reply.enhanced or ("5.7.1" if reply.permanent else "4.7.1")
    code = 451 if reply.code == 421 else reply.code
    text = reply.text.encode("ascii", "replace").decode()
    return Reply(code, enhanced, text or "A filter of ours says so")


def _changed(judged: Judged, name: str, refused: tuple[str, ...], body: Gathering) -> Opinion:
    edits, added, removed, path, quarantine = [], [], [], None, ""
    for change in judged.changes:
        match change:
            case said.AddRecipient(one, _):
                added.append(one.strip("<>"))
            case said.DeleteRecipient(one):
                removed.append(one.strip("<>"))
            case said.ChangeFrom(one, _):
                path = one.strip("<>")
            case said.Quarantine(reason):
                quarantine = reason or "it wants it to be kept back"
            case _:
                edits.append(change)
    changes = Changes(
        header=tuple(edits),
        body=body.finish() if judged.new_body else None,
        added=tuple(added),
        removed=tuple(removed),
        reverse_path=path,
    )
    advice = Advice.QUARANTINE if quarantine else Advice.NOTHING
    return Opinion(name, advice, quarantine, changes=changes, refused=refused)
