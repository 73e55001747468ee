"""The client's side of SMTP and LMTP: dialogues that read downwards, driven by who has the stream.

A dialogue yields what is to be sent and is sent the replies. The driver answers a Batch with one
Reply per command, and Content with no reply, once header and body went out through `Stuffer`.
If the connection breaks it fills in replies.CONNECTION_LOST: one for each reply that is missing,
or one for a Content that did not get out whole. So a loss shows at the stage it happened.
"""

import enum
import re
from collections.abc import Generator, Iterable, Iterator, Sequence
from typing import TypeVar

import msgspec

from mailstead.model.address import Address
from mailstead.model.envelope import NO_WISH, BodyType, Envelope, Wish, format_path
from mailstead.model.reply import Reply
from mailstead.protocol import sasl
from mailstead.protocol.lines import normalise_newlines
from mailstead.protocol.smtp import replies

KEYWORDS_LIMIT = 100  # lines of an EHLO reply that we look at
CHUNKS_AHEAD = 16  # chunks on their way to a peer that lets us send ahead

T = TypeVar("T")


class Batch(msgspec.Struct, frozen=True):
    """Commands to be sent together (RFC 2920); each brings one reply, in order, the last `more`."""

    commands: tuple[bytes, ...]
    more: int = 0


class Content(msgspec.Struct, frozen=True):
    """Now send header and body, dot-stuffed, but not yet the final dot."""


class Chunks(msgspec.Struct, frozen=True):
    """Now send header and body in chunks (RFC 3030), but for the last, which LAST_CHUNK sends.

    No reply if all of them were taken, else the one that was not; `ahead` may be unanswered.
    """

    ahead: int = 0


class Upgrade(msgspec.Struct, frozen=True):
    """Now do the TLS handshake; no reply. If it fails the driver ends the dialogue."""


LAST_CHUNK = b""  # the command that the driver has had ready since Chunks

Request = Batch | Content | Chunks | Upgrade
Dialogue = Generator[Request, list[Reply], T]


class Stage(enum.StrEnum):
    """How far a recipient came before the reply that decided."""

    LOCAL = "local"  # not even sent: the peer's EHLO says it would not do
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"  # the DATA command, or content that did not get out whole
    END = "end"  # after the final dot or chunk: with CONNECTION_LOST nobody knows what came of it


class RecipientOutcome(msgspec.Struct, frozen=True):
    """What came of one recipient; delivered if the stage is END and the reply positive."""

    stage: Stage
    reply: Reply

    @property
    def delivered(self) -> bool:
        """The peer has taken responsibility (RFC 5321 section 6.1)."""
        return self.stage is Stage.END and self.reply.ok

    @property
    def unknown(self) -> bool:
        """The connection broke after the final dot: the message may have been taken."""
        return self.stage is Stage.END and self.reply == replies.CONNECTION_LOST


Outcomes = dict[Address, RecipientOutcome]


class Capabilities(msgspec.Struct, frozen=True):
    """What the peer's EHLO reply offers; a limit of 0 is no limit known."""

    keywords: frozenset[str] = frozenset()  # in capitals
    size_limit: int = 0
    auth: tuple[str, ...] = ()
    recipients_limit: int = 0  # RFC 9422 RCPTMAX
    mail_limit: int = 0  # RFC 9422 MAILMAX
    lmtp: bool = False  # it speaks LMTP (RFC 2033)

    def offers(self, keyword: str) -> bool:
        """Whether the extension is offered."""
        return keyword in self.keywords


class MessageFacts(msgspec.Struct, frozen=True):
    """What the dialogue needs to know of the message; `size` with CRLF, without dot-stuffing."""

    size: int
    eight_bit: bool = False  # any octet above 127, in header or body
    utf8_header: bool = False  # any octet above 127 in the header (RFC 6532)


def hello(hostname: str) -> Dialogue[Capabilities | Reply]:
    """What the peer offers; the refusing reply if it wants neither EHLO nor HELO.

    HELO is tried where EHLO is not understood (RFC 5321 section 3.2).
    """
    (reply,) = yield Batch((_command("EHLO", hostname),))
    if reply.permanent:
        (reply,) = yield Batch((_command("HELO", hostname),))
        return Capabilities() if _positive(reply) else reply
    return parse_capabilities(reply) if _positive(reply) else reply


def local_hello(hostname: str) -> Dialogue[Capabilities | Reply]:
    """The same of an LMTP server, which knows neither EHLO nor HELO (RFC 2033 section 4.1)."""
    (reply,) = yield Batch((_command("LHLO", hostname),))
    if not _positive(reply):
        return reply
    return msgspec.structs.replace(parse_capabilities(reply), lmtp=True)


def start_tls() -> Dialogue[Reply]:
    """The reply to STARTTLS; if it is 220, TLS is on and `hello` is due again (RFC 3207)."""
    (reply,) = yield Batch((_command("STARTTLS"),))
    if reply.code == 220:
        yield Upgrade()
    return reply


def authenticate(offered: tuple[str, ...], login: str, password: str) -> Dialogue[Reply]:
    """The last reply of the log-in: 235 if it worked (RFC 4954). PLAIN goes before LOGIN."""
    if "PLAIN" in offered:
        initial = sasl.encode(sasl.plain_initial(login, password)).decode("ascii")
        (reply,) = yield Batch((_command("AUTH PLAIN", initial),))
        return reply
    if "LOGIN" not in offered:
        return Reply(504, "5.5.4", "The other server offers neither AUTH PLAIN nor AUTH LOGIN")
    (reply,) = yield Batch((_command("AUTH LOGIN"),))
    for response in sasl.login_responses(login, password):
        if reply.code != 334:
            break
        (reply,) = yield Batch((sasl.encode(response) + b"\r\n",))
    return reply


def deliver(
    envelope: Envelope, message: MessageFacts, capabilities: Capabilities
) -> Dialogue[Outcomes]:
    """One mail transaction: what came of each recipient.

    Afterwards the session is ready for the next one, unless a reply was 421.
    """
    outcomes = _refused_here(envelope, message, capabilities)
    recipients = tuple(r for r in envelope.recipients if r not in outcomes)
    if not recipients:
        return outcomes
    commands = _envelope_commands(envelope, recipients, message, capabilities)
    if capabilities.offers("CHUNKING") and not capabilities.lmtp:
        chunked = yield from _with_chunks(commands, recipients, capabilities)
        if not any(map(_knows_no_chunks, chunked.values())):
            return outcomes | chunked
    return outcomes | (yield from _with_data(commands, recipients, capabilities))


def _with_data(
    commands: list[bytes], recipients: tuple[Address, ...], capabilities: Capabilities
) -> Dialogue[Outcomes]:
    """The transaction with DATA (RFC 5321 section 4.1.1.4)."""
    talk = _lockstep
    if capabilities.offers("PIPELINING"):
        talk = _half_pipelined if capabilities.lmtp else _pipelined
    mail, rcpts, data = yield from talk(commands)
    if not _positive(mail):
        yield from _end_unwanted(data)
        return _all(recipients, Stage.MAIL, mail)
    accepted, outcomes = _taken(recipients, rcpts)
    if not accepted or data.code != 354:
        yield from _end_unwanted(data)
        yield from _reset_unless_closed([*rcpts, data])
        return outcomes | _all(accepted, Stage.DATA, data)
    return outcomes | (yield from _send_content(accepted, capabilities.lmtp))


def _with_chunks(
    commands: list[bytes], recipients: tuple[Address, ...], capabilities: Capabilities
) -> Dialogue[Outcomes]:
    """The transaction with BDAT (RFC 3030 section 2): nothing is stuffed, nothing sent in vain."""
    ahead = capabilities.offers("PIPELINING")
    mail, rcpts = yield from (_together if ahead else _one_by_one)(commands)
    if not _positive(mail):
        return _all(recipients, Stage.MAIL, mail)
    accepted, outcomes = _taken(recipients, rcpts)
    if not accepted:
        yield from _reset_unless_closed(rcpts)
        return outcomes
    refused = yield Chunks(CHUNKS_AHEAD if ahead else 0)
    if refused:
        yield from _reset_unless_closed(refused)
        return outcomes | _all(accepted, Stage.DATA, refused[0])
    (end,) = yield Batch((LAST_CHUNK,))
    if end.permanent:  # it may have been the command that was not understood
        yield from _reset_unless_closed([end])
    settled = RecipientOutcome(Stage.END, _settled(end))
    return outcomes | dict.fromkeys(accepted, settled)


def _knows_no_chunks(outcome: RecipientOutcome) -> bool:
    """BDAT itself is unknown, whatever EHLO said (RFC 5321 section 4.2.4)."""
    return outcome.stage in (Stage.DATA, Stage.END) and outcome.reply.code in (500, 502)


def ask_about(
    recipients: Sequence[Address], capabilities: Capabilities
) -> Dialogue[tuple[Reply, list[Reply]]]:
    """The replies to a bounce that is never sent: to its sender, and to each recipient in turn.

    It goes no further than the first that is refused.
    """
    utf8 = capabilities.offers("SMTPUTF8") and not all(one.is_ascii for one in recipients)
    (mail,) = yield Batch((_command("MAIL FROM:<>", *["SMTPUTF8"] * utf8),))
    heard: list[Reply] = []
    for recipient in recipients if _positive(mail) else ():
        (reply,) = yield Batch((_rcpt(recipient, NO_WISH, utf8),))
        heard.append(_settled(reply))
        if not _positive(reply):
            break
    return mail, heard


def quit_session() -> Dialogue[Reply]:
    """The goodbye (RFC 5321 section 4.1.1.10)."""
    (reply,) = yield Batch((_command("QUIT"),))
    return reply


# --- parts of the transaction


def _send_content(accepted: list[Address], lmtp: bool) -> Dialogue[Outcomes]:
    """One reply for all, or in LMTP one for each, in the order of RCPT (RFC 2033 section 4.2)."""
    lost = yield Content()
    if lost:
        return _all(accepted, Stage.DATA, lost[0])
    ends = yield Batch((b".\r\n",), len(accepted) - 1 if lmtp else 0)
    heard = zip(accepted, ends if lmtp else ends * len(accepted), strict=True)
    return {one: RecipientOutcome(Stage.END, _settled(end)) for one, end in heard}


def _settled(reply: Reply) -> Reply:
    return reply if _positive(reply) else _negative(reply)


def _taken(recipients: tuple[Address, ...], rcpts: list[Reply]) -> tuple[list[Address], Outcomes]:
    """Who was accepted, and what came of the others."""
    replied = list(zip(recipients, rcpts, strict=True))
    refused = {
        one: RecipientOutcome(Stage.RCPT, _negative(reply))
        for one, reply in replied
        if not _positive(reply)
    }
    return [one for one, _ in replied if one not in refused], refused


Talked = tuple[Reply, list[Reply], Reply]


def _pipelined(commands: list[bytes]) -> Dialogue[Talked]:
    mail, *rcpts, data = yield Batch((*commands, _command("DATA")))
    return mail, rcpts, data


def _half_pipelined(commands: list[bytes]) -> Dialogue[Talked]:
    """DATA apart: an LMTP server that took it without recipients would owe no reply to the dot."""
    return (yield from _then_data(*(yield from _together(commands))))


def _lockstep(commands: list[bytes]) -> Dialogue[Talked]:
    """As _pipelined, one by one; a command that was not sent has the reply that was in its way."""
    return (yield from _then_data(*(yield from _one_by_one(commands))))


def _then_data(mail: Reply, rcpts: list[Reply]) -> Dialogue[Talked]:
    if not _positive(mail) or not any(map(_positive, rcpts)):
        return mail, rcpts, rcpts[-1] if rcpts else mail
    (data,) = yield Batch((_command("DATA"),))
    return mail, rcpts, data


def _together(commands: list[bytes]) -> Dialogue[tuple[Reply, list[Reply]]]:
    mail, *rcpts = yield Batch(tuple(commands))
    return mail, rcpts


def _one_by_one(commands: list[bytes]) -> Dialogue[tuple[Reply, list[Reply]]]:
    rcpts: list[Reply] = []
    (mail,) = yield Batch((commands[0],))
    for command in commands[1:] if _positive(mail) else ():
        (reply,) = yield Batch((command,))
        rcpts.append(reply)
    return mail, rcpts


def _end_unwanted(data: Reply) -> Dialogue[None]:
    """End a DATA that the peer took though it took no recipient (RFC 2920 section 3.1)."""
    if data.code == 354:
        yield Batch((b".\r\n",))


def _reset_unless_closed(heard: list[Reply]) -> Dialogue[None]:
    """Leave the session ready for the next transaction, though this one failed."""
    if all(reply.code != 421 for reply in heard):
        yield Batch((_command("RSET"),))


def _refused_here(envelope: Envelope, message: MessageFacts, offered: Capabilities) -> Outcomes:
    """What the peer would refuse for sure, by what it says of itself."""
    if 0 < offered.size_limit < message.size:
        return _all(envelope.recipients, Stage.LOCAL, _too_big(offered.size_limit))
    outcomes: Outcomes = {}
    if not offered.offers("SMTPUTF8"):
        sender = envelope.reverse_path
        everybody = message.utf8_header or (sender is not None and not sender.is_ascii)
        affected = [r for r in envelope.recipients if everybody or not r.is_ascii]
        outcomes = _all(affected, Stage.LOCAL, _NO_SMTPUTF8)
    left = [recipient for recipient in envelope.recipients if recipient not in outcomes]
    if offered.recipients_limit:
        over = left[offered.recipients_limit :]
        outcomes |= _all(over, Stage.LOCAL, replies.TOO_MANY_RECIPIENTS)
    return outcomes


_NO_SMTPUTF8 = Reply(  # RFC 6531 section 3.2
    550, "5.6.7", "The message needs SMTPUTF8, which the other server does not offer"
)


def _too_big(limit: int) -> Reply:
    return Reply(552, "5.3.4", f"The message is too big: the other server takes {limit} octets")


def _envelope_commands(
    envelope: Envelope,
    recipients: tuple[Address, ...],
    message: MessageFacts,
    offered: Capabilities,
) -> list[bytes]:
    sender = envelope.reverse_path
    parameters = [f"SIZE={message.size}"] if offered.offers("SIZE") else []
    # Where 8BITMIME is not offered, 8-bit content goes out as it is: nearly every server takes it,
    # and re-coding would break signatures (RFC 6152 section 3 would have it bounced).
    if message.eight_bit and offered.offers("8BITMIME"):
        parameters.append(f"BODY={BodyType.EIGHT_BIT_MIME}")
    addresses = recipients if sender is None else (sender, *recipients)
    utf8 = message.utf8_header or not all(address.is_ascii for address in addresses)
    if offered.offers("SMTPUTF8") and utf8:
        parameters.append("SMTPUTF8")
    parameters += ["REQUIRETLS"] * (envelope.require_tls and offered.offers("REQUIRETLS"))
    wishes: dict[Address, Wish] = {}
    if offered.offers("DSN"):
        parameters += [f"RET={envelope.ret}"] * bool(envelope.ret)
        parameters += [f"ENVID={envelope.envid}"] * bool(envelope.envid)
        wishes = dict(zip(envelope.recipients, envelope.wishes, strict=False))
    mail = _command(f"MAIL FROM:{format_path(sender)}", *parameters)
    return [mail, *(_rcpt(one, wishes.get(one, NO_WISH), utf8) for one in recipients)]


def _rcpt(recipient: Address, wish: Wish, utf8: bool) -> bytes:
    """RCPT TO, with what the sender wants to hear of it (RFC 3461 section 5.2.1)."""
    parameters = [f"NOTIFY={wish.notify}"] * bool(wish.notify)
    if wish.orcpt and (utf8 or wish.orcpt.isascii()):
        parameters.append(f"ORCPT={wish.orcpt}")
    return _command(f"RCPT TO:{format_path(recipient)}", *parameters)


def _command(*words: str) -> bytes:
    line = " ".join(words)
    if "\r" in line or "\n" in line or "\0" in line:
        raise ValueError("a command must not hold CR, LF or NUL")
    return line.encode("utf-8") + b"\r\n"


def _all(recipients: Iterable[Address], stage: Stage, reply: Reply) -> Outcomes:
    return {recipient: RecipientOutcome(stage, _negative(reply)) for recipient in recipients}


def _positive(reply: Reply) -> bool:
    return 200 <= reply.code < 300


def _negative(reply: Reply) -> Reply:
    """A reply that makes no sense at its place must not count as success."""
    if not reply.ok:
        return reply
    return Reply(451, "4.5.0", f"The other server answered out of place: {reply}")


# --- what the peer offers


_RCPTMAX = re.compile(r"(?<!\S)RCPTMAX=([1-9][0-9]{0,5})(?!\S)", re.IGNORECASE)
_MAILMAX = re.compile(r"(?<!\S)MAILMAX=([1-9][0-9]{0,5})(?!\S)", re.IGNORECASE)
_NUMBER = re.compile(r"[0-9]{1,20}\Z")


def parse_capabilities(reply: Reply) -> Capabilities:
    """The keywords of an EHLO reply (RFC 5321 section 4.1.1.1); ill-formed ones are passed over."""
    keywords: dict[str, str] = {}
    for line in reply.text.split("\n")[1 : KEYWORDS_LIMIT + 1]:
        # "AUTH=PLAIN LOGIN" is an old spelling that some servers still add to the right one.
        keyword, _, arguments = line.strip().partition(" ")
        keywords.setdefault(keyword.upper(), arguments.strip())
    size, limits = keywords.get("SIZE", ""), keywords.get("LIMITS", "")
    return Capabilities(
        keywords=frozenset(keywords),
        size_limit=int(size) if _NUMBER.match(size) else 0,
        auth=tuple(keywords.get("AUTH", "").upper().split()),
        recipients_limit=_limit(_RCPTMAX, limits),
        mail_limit=_limit(_MAILMAX, limits),
    )


def _limit(pattern: re.Pattern[str], limits: str) -> int:
    found = pattern.search(limits)
    return int(found.group(1)) if found else 0


# --- content


def chunk(data: bytes, last: bool = False) -> bytes:
    """A chunk with its command (RFC 3030 section 2)."""
    return b"BDAT %d%b\r\n%b" % (len(data), b" LAST" if last else b"", data)


_DOT = re.compile(rb"\r\n\.")


class Stuffer:
    """Doubles the dots at the start of lines (RFC 5321 section 4.5.2), piece by piece.

    In chunks (`dots` false) they stay as they are (RFC 3030 section 2). A bare LF or CR becomes
    CRLF, so that no peer, however lenient, can find an end of data that is none.
    """

    __slots__ = ("_dots", "_held", "_tail")

    def __init__(self, dots: bool = True) -> None:
        self._dots = dots
        self._tail = b"\r\n"  # the last two octets sent: the content begins a line
        self._held = b""  # a CR whose LF may come with the next piece

    def take(self, piece: bytes) -> bytes:
        """The piece as it goes over the wire."""
        if self._held:
            piece, self._held = self._held + piece, b""
        if piece.endswith(b"\r"):
            piece, self._held = piece[:-1], b"\r"
        # Two octets of the tail stand in front, so a dot at the border is seen with its CRLF.
        joined = self._tail + normalise_newlines(piece)
        self._tail = joined[-2:]
        if self._dots and _DOT.search(joined):
            joined = joined.replace(b"\r\n.", b"\r\n..")
        return joined[2:]

    def end(self) -> bytes:
        """What is missing before the final dot can be sent: CRLF, or nothing."""
        return b"" if self._tail == b"\r\n" and not self._held else b"\r\n"


def stuff(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The content as it goes over the wire, without the final dot."""
    stuffer = Stuffer()
    for piece in pieces:
        if stuffed := stuffer.take(piece):
            yield stuffed
    if ending := stuffer.end():
        yield ending
