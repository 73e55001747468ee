"""The replies of the house, and how replies are written and read (RFC 5321 section 4.2, RFC 2034).

A text says what a person can do about it. Holds: what is formatted is ASCII, free of control
characters, and no line is longer than 512 octets (RFC 5321 section 4.5.3.1.5).
"""

import base64
import re

from mailstead.model.reply import Reply

REPLY_LINE_LIMIT = 512  # octets with CRLF (RFC 5321 section 4.5.3.1.5)
READ_LINES_LIMIT = 100  # lines of one reply that we are willing to read
READ_OCTETS_LIMIT = 64 * 1024  # octets of one reply that we are willing to read

OK = Reply(250, "2.0.0", "OK")
SENDER_OK = Reply(250, "2.1.0", "Sender OK")
RECIPIENT_OK = Reply(250, "2.1.5", "Recipient OK")
RESET_OK = Reply(250, "2.0.0", "OK, transaction forgotten")
START_DATA = Reply(354, "", "Send the message, end it with a line that holds only a dot")
START_TLS = Reply(220, "2.0.0", "Ready to start TLS")
AUTH_OK = Reply(235, "2.7.0", "Logged in")
GOODBYE = Reply(221, "2.0.0", "Goodbye")
HELP = Reply(
    214, "2.0.0", "This is a mail server (RFC 5321); its postmaster is at <postmaster> here"
)
CANNOT_VERIFY = Reply(252, "2.1.5", "Addresses are not verified here; send the message to find out")

UNKNOWN_COMMAND = Reply(500, "5.5.1", "Unknown command")
LINE_TOO_LONG = Reply(500, "5.5.2", "The command line is too long")
BARE_NEWLINE = Reply(500, "5.5.2", "End each command with CRLF, not with a bare LF or CR")
NOT_UTF8 = Reply(500, "5.5.2", "The command is neither ASCII nor UTF-8")
NOT_SMTP = Reply(521, "5.5.1", "This is a mail server and speaks SMTP only")
NO_ARGUMENT_ALLOWED = Reply(501, "5.5.4", "This command takes no argument")
ARGUMENT_NEEDED = Reply(501, "5.5.4", "This command needs an argument")
BAD_CLIENT_NAME = Reply(501, "5.5.4", "Give your host name after EHLO, HELO or LHLO")
BAD_BDAT = Reply(521, "5.5.4", "The syntax is: BDAT size [LAST]; the rest cannot be told apart")
NOT_OFFERED = Reply(502, "5.5.1", "This command is not offered here")

EHLO_FIRST = Reply(503, "5.5.1", "Say EHLO first")
MAIL_FIRST = Reply(503, "5.5.1", "Give the sender with MAIL FROM first")
NESTED_MAIL = Reply(503, "5.5.1", "The sender is given already; RSET starts anew")
BDAT_BEGUN = Reply(503, "5.5.1", "The message has begun with BDAT; end it with BDAT LAST or RSET")
IN_TRANSACTION = Reply(503, "5.5.1", "Not in the middle of a message; RSET first")
TLS_ACTIVE = Reply(503, "5.5.1", "TLS is active already")
LOGGED_IN_ALREADY = Reply(503, "5.5.1", "Logged in already")
NO_RECIPIENTS = Reply(554, "5.5.1", "No valid recipients")

UNKNOWN_MECHANISM = Reply(504, "5.5.4", "This mechanism is not offered; EHLO lists those that are")
BAD_BASE64 = Reply(501, "5.5.2", "That is not valid base64")
AUTH_CANCELLED = Reply(501, "5.7.0", "Log-in cancelled")
AUTH_FAILED = Reply(535, "5.7.8", "Login or password is wrong")
AUTH_TEMPORARY = Reply(454, "4.7.0", "Log-in is not possible at the moment, try again later")
AUTH_REQUIRED = Reply(530, "5.7.0", "Log in first: turn on authentication in your mail program")
MUST_STARTTLS = Reply(530, "5.7.0", "Say STARTTLS first: turn on STARTTLS in your mail program")
TLS_UNAVAILABLE = Reply(454, "4.7.0", "TLS is not available at the moment, try again later")

RELAY_DENIED = Reply(
    550, "5.7.1", "This server does not relay for you; log in on the submission port if you may"
)
NOT_LISTED = Reply(554, "5.7.1", "LMTP is for this machine and for the networks of relay_from")
RELAY_SENDER_DENIED = Reply(
    550, "5.7.1", "From your network mail leaves only with a sender whose domain is hosted here"
)
UNKNOWN_RECIPIENT = Reply(
    550, "5.1.1", "No such recipient here; check the address for typing errors"
)
SENDER_NOT_OWNED = Reply(
    553, "5.7.1", "You may not send as this sender; use an address of your own"
)
MAILBOX_FULL = Reply(452, "4.2.2", "The recipient's mailbox is full, try again later")
TOO_MANY_RECIPIENTS = Reply(
    452, "4.5.3", "Too many recipients; the others get the message, send the rest in another one"
)
TOO_MANY_MESSAGES = Reply(
    421, "4.7.0", "Enough messages for one connection; open another one to go on"
)
RELEASE_TOO_FAR = Reply(501, "5.5.4", "That is too far ahead; EHLO tells how far at most")
TOO_BIG = Reply(552, "5.3.4", "The message is too big; EHLO tells the limit after SIZE")
HEADER_TOO_BIG = Reply(552, "5.3.4", "The header of the message is too big")
BARE_NEWLINE_IN_CONTENT = Reply(
    550, "5.5.2", "The message holds a bare LF or CR; each line must end with CRLF"
)
LOOP = Reply(554, "5.4.6", "The message goes in circles: it has too many Received fields")
NON_ASCII_ADDRESS = Reply(
    553, "5.6.7", "A non-ASCII address needs the parameter SMTPUTF8 after MAIL FROM"
)

LOCAL_ERROR = Reply(451, "4.3.0", "Local error, not your fault; try again later")
SHUTTING_DOWN = Reply(421, "4.3.2", "This server is shutting down, try again soon")
TIMEOUT = Reply(421, "4.4.2", "Nothing heard for too long")
TOO_MANY_ERRORS = Reply(421, "4.7.0", "Too many errors")
TOO_MANY_CONNECTIONS = Reply(421, "4.7.0", "Too many connections from your address, try again soon")
SPOKE_EARLY = Reply(554, "5.5.1", "You spoke before our greeting, which no mail server does")
TOO_MANY_UNKNOWN = Reply(
    421, "4.7.0", "Too many recipients that do not exist; check the list, try again later"
)
CONNECTION_LOST = Reply(421, "4.4.2", "The connection broke before the answer came")
GARBLED = Reply(421, "4.5.0", "The other server's answer is no SMTP reply")


def greeting(hostname: str) -> Reply:
    """The first reply of a session (RFC 5321 section 4.2)."""
    return Reply(220, "", f"{hostname} ESMTP")


def helo_reply(hostname: str) -> Reply:
    """The reply to HELO; SmtpServer.ehlo_reply answers EHLO and LHLO."""
    return Reply(250, "", hostname)


def challenge(data: bytes) -> Reply:
    """A SASL challenge (RFC 4954 section 4)."""
    return Reply(334, "", base64.b64encode(data).decode("ascii"))


def chunk_taken(octets: int) -> Reply:
    """The reply to a BDAT chunk that is not the last (RFC 3030 section 4.2)."""
    return Reply(250, "2.0.0", f"{octets} octets received")


def syntax_error(enhanced: str, text: str) -> Reply:
    """A 501 for an argument that cannot be understood."""
    return Reply(501, enhanced, text)


def format_reply(reply: Reply) -> bytes:
    """The reply as it goes over the wire, the enhanced code on each line (RFC 2034 section 4)."""
    text = reply.text
    enhanced = f"{reply.enhanced} " if reply.enhanced else ""
    if len(text) < 400 and text.isascii() and text.isprintable():
        return f"{reply.code} {enhanced}{text}\r\n".encode("ascii")
    *first, last = [_clean(line) for line in text.split("\n")]
    lines = [f"{reply.code}-{enhanced}{line}" for line in first]
    lines.append(f"{reply.code} {enhanced}{last}")
    return "".join(f"{line[: REPLY_LINE_LIMIT - 2]}\r\n" for line in lines).encode("ascii")


def _clean(line: str) -> str:
    return "".join(c if " " <= c <= "~" else "?" for c in line)


_LINE = re.compile(rb"([2-5][0-9][0-9])(?:([ -])(.*))?\Z", re.DOTALL)
_ENHANCED = re.compile(r"([245])\.[0-9]{1,3}\.[0-9]{1,3}(?= |\Z)")


class ReplyReader:
    """Reads a peer's replies; what is no reply becomes one GARBLED, and nothing after it.

    Tolerates a bare LF, a missing text, and codes that differ between the lines of one reply (the
    last counts).
    """

    __slots__ = ("_buffer", "_garbled", "_lines", "_octets", "_scanned")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._scanned = 0
        self._lines: list[str] = []
        self._octets = 0
        self._garbled = False

    def receive(self, data: bytes) -> list[Reply]:
        """The replies completed by these bytes."""
        if self._garbled:
            return []
        self._buffer += data
        replies = []
        while (line := self._next_line()) is not None:
            if reply := self._read(line):
                replies.append(reply)
                self._lines, self._octets = [], 0
        if self._octets + len(self._buffer) > READ_OCTETS_LIMIT:
            self._garbled = True
        return [*replies, GARBLED] if self._garbled else replies

    def _next_line(self) -> bytes | None:
        end = self._buffer.find(b"\n", self._scanned)
        if end < 0 or self._garbled:
            self._scanned = len(self._buffer)
            return None
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        self._scanned = 0
        return line.removesuffix(b"\r")

    def _read(self, line: bytes) -> Reply | None:
        """The reply if this was its last line."""
        self._octets += len(line) + 1
        found = _LINE.match(line)
        too_much = len(self._lines) >= READ_LINES_LIMIT or self._octets > READ_OCTETS_LIMIT
        if found is None or too_much:
            self._garbled = True
            return None
        code, dash, text = found.groups()
        self._lines.append((text or b"").decode("utf-8", "replace"))
        return None if dash == b"-" else parse_reply(int(code), self._lines)


def parse_reply(code: int, lines: list[str]) -> Reply:
    """The reply of a code and the texts after it, with the enhanced code taken out of them.

    An enhanced code counts only if its class agrees with the reply code (RFC 2034 section 4).
    """
    found = _ENHANCED.match(lines[0])
    enhanced = found.group() if found and found.group(1) == str(code)[0] else ""
    if enhanced:
        lines = [line.removeprefix(enhanced).lstrip(" ") for line in lines]
    return Reply(code, enhanced, "\n".join(_printable(line) for line in lines))


def _printable(line: str) -> str:
    return line if line.isprintable() else "".join(c if c.isprintable() else "?" for c in line)
