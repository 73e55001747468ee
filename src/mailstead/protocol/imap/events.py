"""What the engine of a connection tells its session: commands, and what is none of them."""

import msgspec

from mailstead.protocol.imap.commands import Command, NewMessage, Tag


class BadCommand(msgspec.Struct, frozen=True):
    """Answer BAD, without a tag if it is empty; ends an APPEND, AUTHENTICATE or IDLE under way."""

    tag: Tag
    text: str
    code: str = ""


class RefusedCommand(msgspec.Struct, frozen=True):
    """Answer NO with the response code."""

    tag: Tag
    code: str
    text: str


class Continue(msgspec.Struct, frozen=True):
    """Send a continuation: the client waits for it before its literal."""


class AppendChunk(msgspec.Struct, frozen=True):
    """Octets of the message being appended."""

    data: bytes


class AppendNext(msgspec.Struct, frozen=True):
    """A message is complete and another one follows in the same command (RFC 3502)."""

    tag: Tag
    message: NewMessage


class AppendEnd(msgspec.Struct, frozen=True):
    """The last message and its command are complete."""

    tag: Tag


class SaslResponse(msgspec.Struct, frozen=True):
    """What the client answered to a challenge, decoded; None if it gave up."""

    data: bytes | None


class IdleDone(msgspec.Struct, frozen=True):
    """The client ended IDLE; answer OK to this tag."""

    tag: Tag


Event = (
    Command
    | BadCommand
    | RefusedCommand
    | Continue
    | AppendChunk
    | AppendNext
    | AppendEnd
    | SaslResponse
    | IdleDone
)
