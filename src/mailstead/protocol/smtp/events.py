"""What a peer says to an SMTP or LMTP server, one frozen value per command or piece of content.

Every event wants exactly one reply through SmtpServer.send, but for these:
HeaderEnd and Chunk want none; MessageEnd and MessageRefused want one per accepted recipient in
LMTP (RFC 2033 section 4.2), one in SMTP. Malformed, Declined, ChunkTaken and MessageRefused bring
the reply along: the session sends it, and counts the malformed ones.
"""

import msgspec

from mailstead.model.address import Address
from mailstead.model.envelope import NO_WISH, BodyType, Release, Wish
from mailstead.model.reply import Reply


class Helo(msgspec.Struct, frozen=True):
    """HELO, or with `extended` EHLO or LHLO; `name` is what the client calls itself, unchecked."""

    name: str
    extended: bool


class Mail(msgspec.Struct, frozen=True):
    """MAIL FROM, in order and well-formed; `size` is what the client declared (RFC 1870)."""

    reverse_path: Address | None
    size: int | None = None
    body_type: BodyType = BodyType.SEVEN_BIT
    smtputf8: bool = False
    envid: str = ""  # in xtext (RFC 3461 section 4.4)
    ret: str = ""  # "FULL", "HDRS" (RFC 3461 section 4.3)
    require_tls: bool = False  # RFC 8689
    release: Release | None = None  # RFC 4865


class Rcpt(msgspec.Struct, frozen=True):
    """RCPT TO; the domain is empty for a bare `<postmaster>` (RFC 5321 section 4.5.1)."""

    recipient: Address
    wish: Wish = NO_WISH


class Data(msgspec.Struct, frozen=True):
    """DATA with at least one accepted recipient: 354 lets the content come."""


class HeaderEnd(msgspec.Struct, frozen=True):
    """The whole header, with the empty line that ends it if there was one. Once per message."""

    header: bytes


class Chunk(msgspec.Struct, frozen=True):
    """A piece of the body, never empty."""

    data: bytes


class MessageEnd(msgspec.Struct, frozen=True):
    """The content is complete; a 2yz reply takes over responsibility (RFC 5321 section 6.1)."""


class MessageRefused(msgspec.Struct, frozen=True):
    """The content came to its end but cannot be taken; pieces given before are void."""

    reply: Reply


class ChunkTaken(msgspec.Struct, frozen=True):
    """One BDAT chunk that is not the last is in (RFC 3030 section 2)."""

    reply: Reply


class StartTls(msgspec.Struct, frozen=True):
    """STARTTLS: after 220 do the handshake, then call SmtpServer.start_tls (RFC 3207)."""


class Auth(msgspec.Struct, frozen=True):
    """AUTH with an offered mechanism, in capitals; `initial` is decoded (RFC 4954 section 4)."""

    mechanism: str
    initial: bytes | None


class AuthResponse(msgspec.Struct, frozen=True):
    """The decoded answer to a 334 challenge; None if the client gave up with `*`."""

    data: bytes | None


class Xclient(msgspec.Struct, frozen=True):
    """XCLIENT, from a host that may say whom it speaks for; what it does not say is empty or 0.

    After 220 the session begins anew, with a greeting that is already given (SmtpServer.adopt).
    """

    address: str = ""
    port: int = 0
    helo: str = ""
    login: str = ""


class Rset(msgspec.Struct, frozen=True):
    """RSET: the transaction is forgotten."""


class Noop(msgspec.Struct, frozen=True):
    """NOOP."""


class Vrfy(msgspec.Struct, frozen=True):
    """VRFY."""

    text: str


class Expn(msgspec.Struct, frozen=True):
    """EXPN."""

    text: str


class Etrn(msgspec.Struct, frozen=True):
    """ETRN: whoever speaks for the node wants its mail now (RFC 1985)."""

    node: str


class Help(msgspec.Struct, frozen=True):
    """HELP."""

    text: str


class Quit(msgspec.Struct, frozen=True):
    """QUIT: send the reply and close."""


class Malformed(msgspec.Struct, frozen=True):
    """A command unknown, ill-formed or out of order: an error of the peer."""

    reply: Reply


class Declined(msgspec.Struct, frozen=True):
    """A well-formed command beyond a limit that was announced: no error, but no either."""

    reply: Reply


Event = (
    Helo
    | Mail
    | Rcpt
    | Data
    | HeaderEnd
    | Chunk
    | MessageEnd
    | MessageRefused
    | ChunkTaken
    | StartTls
    | Auth
    | AuthResponse
    | Xclient
    | Rset
    | Noop
    | Vrfy
    | Expn
    | Etrn
    | Help
    | Quit
    | Malformed
    | Declined
)
