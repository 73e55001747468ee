"""Asking Rspamd over HTTP (checkv2). Its action counts as advice; its score is told, not added.

Not used: "greylist", which Rspamd means as a hint to who greylists; its milter changes other than
fields that are added.
"""

from typing import Any

import msgspec

from mailstead.model.reply import Reply
from mailstead.net.http import Post
from mailstead.net.https import Page
from mailstead.protocol.milter.responses import AddHeader
from mailstead.services.filters.letter import Advice, Changes, EngineFailed, Letter, Opinion

ANSWER_LIMIT = 1024 * 1024
FIELDS_LIMIT = 50
VALUE_LIMIT = 2000
SYMBOLS_TOLD = 8

_ADVICE = {
    "no action": Advice.NOTHING,
    "greylist": Advice.NOTHING,
    "add header": Advice.JUNK,
    "rewrite subject": Advice.JUNK,
    "soft reject": Advice.DEFER,
    "reject": Advice.REFUSE,
    "quarantine": Advice.QUARANTINE,
    "discard": Advice.QUARANTINE,
}
_REFUSED = Reply(550, "5.7.1", "The message looks like spam")
_DEFERRED = Reply(451, "4.7.1", "Try again later")


class _Milter(msgspec.Struct):
    add_headers: dict[str, Any] = {}


class _Symbol(msgspec.Struct):
    score: float = 0.0


class _Answer(msgspec.Struct):
    action: str
    score: float = 0.0
    required_score: float = 0.0
    symbols: dict[str, _Symbol] = {}
    messages: dict[str, Any] = {}
    milter: _Milter = msgspec.field(default_factory=_Milter)


def request(letter: Letter) -> Post:
    """What Rspamd is told beside the message."""
    fields = [
        ("Queue-Id", letter.trace),
        ("From", letter.reverse_path),
        *(("Rcpt", one) for one in letter.recipients),
        ("IP", letter.peer.address),
        ("Helo", letter.helo),
        ("Hostname", letter.name),
        ("User", letter.login),
        ("MTA-Name", letter.hostname),
        ("Flags", "milter"),
    ]
    if letter.tls:
        version, _, cipher = letter.tls.partition(" ")
        fields += [("TLS-Version", version), ("TLS-Cipher", cipher)]
    return Post(tuple(one for one in fields if one[1]), letter.size, ANSWER_LIMIT)


def read(page: Page, name: str) -> Opinion:
    """What Rspamd says; EngineFailed if it makes no sense."""
    if page.status != 200:
        raise EngineFailed(f"Rspamd answers {page.status}")
    try:
        said = msgspec.json.decode(page.body, type=_Answer)
    except msgspec.MsgspecError as error:
        raise EngineFailed(f"Rspamd's answer is none: {error}") from error
    if (advice := _ADVICE.get(said.action)) is None:
        raise EngineFailed(f"Rspamd wants {said.action[:50]!r}, which is unknown")
    return Opinion(
        engine=name,
        advice=advice,
        reason=_reason(said),
        reply=_reply(advice, said),
        changes=Changes(header=tuple(_fields(said.milter.add_headers))),
    )


def _reason(said: _Answer) -> str:
    weighty = sorted(said.symbols.items(), key=lambda pair: -abs(pair[1].score))[:SYMBOLS_TOLD]
    symbols = ", ".join(f"{symbol} {value.score:g}" for symbol, value in weighty)
    return f"{said.action}, {said.score:g} of {said.required_score:g}: {symbols}"


def _reply(advice: Advice, said: _Answer) -> Reply | None:
    usual = {Advice.REFUSE: _REFUSED, Advice.DEFER: _DEFERRED}.get(advice)
    text = said.messages.get("smtp_message")
    if usual is None or not isinstance(text, str) or not text.strip():
        return usual
    line = " ".join(text.encode("ascii", "replace").decode().split())[:400]
    return Reply(usual.code, usual.enhanced, line)


def _fields(added: dict[str, Any]) -> list[AddHeader]:
    """The fields to add, in the forms that Rspamd has for them."""
    found = []
    for name, value in list(added.items())[:FIELDS_LIMIT]:
        for one in value if isinstance(value, list) else [value]:
            text = one.get("value") if isinstance(one, dict) else one
            if isinstance(text, str) and name.isascii() and name.replace("-", "").isalnum():
                found.append(AddHeader(name, b" " + text[:VALUE_LIMIT].encode()))
    return found
