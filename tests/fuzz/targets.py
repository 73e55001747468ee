"""What is fuzzed: each target takes octets and raises if something is wrong with what came of them.

Used by `script/fuzz` (atheris, for as long as one likes) and by test_targets (a short run in CI).
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import date

from mailstead.message.surrogate import surrogate
from mailstead.model.errors import Refusal
from mailstead.protocol import sasl, sasl_mechanisms, sasl_scram
from mailstead.protocol.imap import acl, events, filters, metadata, utf7
from mailstead.protocol.imap import commands as imap_commands
from mailstead.protocol.imap.lexer import Enabled
from mailstead.protocol.imap.match import SearchMessage, bind, matches, needs
from mailstead.protocol.imap.numset import SAVED, NumSet, select_seqnums, select_uids
from mailstead.protocol.imap.search import All, Key, Numbers, Within
from mailstead.protocol.imap.server import COMMAND_LIMIT, LINE_LIMIT, ImapServer
from mailstead.protocol.pop3 import commands
from mailstead.protocol.pop3.content import Lines, Stuffing, stuff
from mailstead.protocol.pop3.server import COMMAND_LINE_LIMIT, SASL_LINE_LIMIT, Pop3Server

LIMIT = max(COMMAND_LINE_LIMIT, SASL_LINE_LIMIT)
READ = 64 * 1024  # octets that a session gets at once
EVENTS = 1000  # a session hangs up after fewer bad commands
NAMES = ("PLAIN", "LOGIN", "SCRAM-SHA-256", "OAUTHBEARER", "XOAUTH2", "EXTERNAL")
# What inputs are made of.
WORDS = [
    *(b"USER ", b"PASS ", b"AUTH ", b"PLAIN ", b"RETR 1", b"TOP 1 2", b"LIST", b"UIDL ", b"LANG *"),
    *(
        b"\r\n",
        b"\r",
        b"\n",
        b".",
        b"*",
        b"=",
        b"n,,n=user,r=abc",
        b"c=biws,r=abc",
        b",p=",
        b"\x01",
    ),
    *(b"a SEARCH ", b"a UID FETCH 1:* ", b"a STORE 2 +FLAGS (\\Seen)", b"a APPEND x {3}\r\n"),
    *(b"{2+}\r\n", b"~{2}\r\n", b'"x\\"y"', b"(", b")", b"NOT ", b"OR ", b"BODY.PEEK[1.HEADER]"),
    *(b"CHARSET UTF-8 ", b"RETURN (ALL) ", b"SUBJECT ", b"SINCE 1-Feb-1994", b"a IDLE\r\nDONE\r\n"),
    *(b"a NOTIFY SET STATUS (selected (MessageNew (UID) ", b"MessageExpunge", b"(subtree x NONE)"),
    *(
        b"a ESEARCH IN (mailboxes (x y) selected) ",
        b"RETURN (UPDATE (UID)) ",
        b'a CANCELUPDATE "b"',
    ),
    *(b"a UID REPLACE 1 x ", b"UTF8 (~{2+}\r\n", b"PARTIAL 1:-1"),
    *(b"a SETACL x bob +lrc", b"a LISTRIGHTS x ", b"a GETMETADATA (DEPTH 1) x (/private/y)"),
    *(b'a SETMETADATA "" (/private/filters/values/x "', b"FILTER x ", b"/shared/y NIL"),
    *(b"auth=Bearer abc\x01\x01", b"\xff\x00", b"\0", "ü".encode()),
]
KEYS = sasl.Keys(b"salt", 1, (sasl_scram.derive("secret", b"salt", 1),))


def pop3(data: bytes) -> None:
    """The engine: no exception, bounded memory, the same events in pieces as in one."""
    size, data = (data[0] % 16 + 1, data[1:]) if data else (1, data)
    pieces = [data[start : start + size] for start in range(0, len(data), size)]
    if _feed(pieces) != _feed([data]):
        raise AssertionError("in pieces it is something else")
    for line in data.split(b"\r\n"):
        repr(commands.parse(line))


def _feed(pieces: list[bytes]) -> list[commands.Event]:
    engine, found = Pop3Server(), []
    for piece in pieces:
        rest = piece
        while events := engine.receive(rest):
            rest = b""
            found += events
            for event in events:
                if isinstance(event, commands.Auth) and event.mechanism:
                    engine.begin_authentication()
                elif isinstance(event, commands.SaslResponse):
                    engine.end_authentication()
        if engine.buffered > LIMIT + len(piece):
            raise AssertionError(f"{engine.buffered} octets are kept")
    return found


def imap(data: bytes) -> None:
    """The engine, as for POP3; and what the commands say is looked at as a session would."""
    how, data = (data[0], data[1:]) if data else (0, data)
    found = _feed_imap(data, how % 16 + 1, how)
    if found != _feed_imap(data, READ, how):
        raise AssertionError("in pieces it is something else")
    for event in found:
        repr(event)
        match event:
            case (
                imap_commands.Search(program=program)
                | imap_commands.Sort(program=program)
                | imap_commands.MultiSearch(program=program)
            ):
                _search(_expanded(program))
            case metadata.SetMetadata(values=values):
                _keep(values)
            case acl.SetAcl(change=change, rights=rights):
                acl.format_rights(acl.changed("lr", change, rights))
            case imap_commands.Fetch(numset=numset) | imap_commands.Store(numset=numset):
                _select(numset)
    if utf7.decode(utf7.encode(name := data.decode("utf-8", "replace"))) != name:
        raise AssertionError("a name is another one when it comes back")


def _feed_imap(data: bytes, size: int, how: int) -> list[events.Event]:
    engine, found = ImapServer(append_limit=1000), list[events.Event]()
    if how & 16:
        engine.authenticated()
    if how & 32:
        engine.enable(Enabled(utf8=True, charset=False))
    for start in range(0, len(data), size):
        piece = rest = data[start : start + size]
        while some := engine.receive(rest):
            rest = b""
            for event in some:
                _react(engine, event)
                _note(found, event)
            if len(found) > EVENTS:
                return found[:EVENTS]
        if engine.buffered > COMMAND_LIMIT + LINE_LIMIT + len(piece):
            raise AssertionError(f"{engine.buffered} octets are kept")
    return found


def _react(engine: ImapServer, event: events.Event) -> None:
    match event:
        case imap_commands.Authenticate():
            engine.begin_authentication()
        case events.SaslResponse():
            engine.end_authentication()
        case imap_commands.Idle():
            engine.begin_idle()
        case imap_commands.Login():
            engine.authenticated()
        case imap_commands.Unauthenticate():
            engine.unauthenticated()
        case imap_commands.Append(mailbox="refused"):
            engine.refuse_append()


def _note(found: list[events.Event], event: events.Event) -> None:
    """Chunks of a message put together: only they depend on how the octets came."""
    if isinstance(event, events.AppendChunk) and found:
        before = found[-1]
        if isinstance(before, events.AppendChunk):
            found[-1] = events.AppendChunk(before.data + event.data)
            return
    found.append(event)


def _expanded(program: Key) -> Key:
    """With filters that are there, lead to others or in a circle, or are none."""
    expansion = filters.expand(program)
    try:
        name = next(expansion)
        while True:
            name = expansion.send([b"UNSEEN", b"OR FILTER x FILTER y", b"(", None][len(name) % 4])
    except StopIteration as end:
        key: Key = end.value
        return key
    except Refusal:
        return All()


def _keep(values: Sequence[tuple[str, bytes | None]]) -> None:
    for entry, value in values:
        if metadata.parse_entry(entry) != entry:
            raise AssertionError("a name is another one when it comes back")
        with suppress(ValueError):
            _search(_expanded(filters.parse_filter(value or b"")))


def _search(program: Key) -> None:
    def text() -> str:
        return "a text of a message"

    message = SearchMessage(
        3, 30, 1, "$work", False, 7,
        {"internal_date": 5, "saved": 5, "content": 5},
        5, date(1994, 2, 1), None, lambda name: ("value",), text, text,
    )  # fmt: skip
    needs(program)
    with suppress(ValueError):  # no message has that number; the time is put in by the session
        matches(bind(_timeless(program), 5, 50), message)


def _timeless(key: Key) -> Key:
    """Without what only a session can know."""
    if isinstance(key, Within) or (isinstance(key, Numbers) and key.numset.saved):
        raise ValueError
    for inner in (
        *getattr(key, "keys", ()),
        *(getattr(key, n, None) for n in ("key", "left", "right")),
    ):
        if inner is not None:
            _timeless(inner)
    return key


def _select(numset: NumSet) -> None:
    if numset is SAVED or numset.saved:
        return
    select_uids([2, 3, 5, 70], numset)
    with suppress(ValueError):
        select_seqnums(4, numset)


def pop3_content(data: bytes) -> None:
    """A message on its way out: one end, and the same octets when the dots are gone."""
    sent = stuff(data)
    stuffing = Stuffing()
    if sent != b"".join(stuffing.take(data[n : n + 3]) for n in range(0, len(data), 3)) + (
        stuffing.end()
    ):
        raise AssertionError("in pieces it is something else")
    if (b"\r\n" + sent).find(b"\r\n.\r\n") != len(sent) - 3:
        raise AssertionError("it ends twice")
    lines = Lines(2)
    if lines.take(data).count(b"\n") > 2:
        raise AssertionError("TOP went wrong")
    text = data.decode("utf-8", "ignore").encode()  # what is no UTF-8 stays as it is
    if not surrogate(text).isascii():
        raise AssertionError("UTF8 went wrong")
    surrogate(data)


def sasl_exchange(data: bytes) -> None:
    """Every mechanism, with responses that a NUL octet of the input begins."""
    name = NAMES[data[0] % len(NAMES)] if data else "PLAIN"
    initial, *responses = data[1:].split(b"\xff\x00")
    exchange = sasl_mechanisms.begin(name, initial or None, b"random")
    found = sasl.advance(exchange, None)
    while isinstance(found, bytes | sasl.FindKeys | sasl.CheckToken):
        repr(found)
        if isinstance(found, sasl.FindKeys):
            found = sasl.advance(exchange, KEYS)
        elif isinstance(found, sasl.CheckToken):
            found = sasl.advance(exchange, sasl.TokenRefused("no"))
        elif not responses:
            return
        else:
            found = sasl.advance(exchange, responses.pop(0))
    if isinstance(found, sasl.Proven):
        raise AssertionError("somebody guessed a proof")


TARGETS: dict[str, Callable[[bytes], None]] = {
    "imap": imap,
    "pop3": pop3,
    "pop3-content": pop3_content,
    "sasl": sasl_exchange,
}
