"""ENVELOPE, BODYSTRUCTURE, sizes and SEARCH beside Dovecot's, on the same messages.

Equal, but for what is said here: `normal` makes alike what differs in form only, `OTHER` are
messages so broken that each server makes something of its own of them.
"""

import random
import re
import socket
import tarfile
from collections.abc import Callable, Iterator
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest

from mailstead.message.header import decode

from .dovecot import Dovecot, need_dovecot
from .test_mbsync import message as varied

FOLDER = Path("/tmp/mailstead-dovecot-imap")  # others than root have to get there
GENERATED = 150
WORDS = 200
ITEMS = b"FETCH 1:* (RFC822.SIZE ENVELOPE BODYSTRUCTURE)"
Lines = list[list[bytes]]


class Imap:
    """One connection; answers are lists of what is outside and inside of literals, in turn."""

    def __init__(self, port: int, login: str) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), 60)
        self._file = self._socket.makefile("rb")
        self._line()
        self.command(b"LOGIN %s secret" % login.encode())

    def command(self, command: bytes, literal: bytes | None = None) -> Lines:
        """Its untagged answers; the last one is tagged and OK."""
        self._socket.sendall(b"t " + command)
        if literal is not None:
            self._socket.sendall(b" {%d}\r\n" % len(literal))
            assert self._line()[0].startswith(b"+")
            self._socket.sendall(literal)
        self._socket.sendall(b"\r\n")
        lines = [self._line()]
        while not lines[-1][0].startswith(b"t "):
            lines.append(self._line())
        assert lines[-1][0].startswith(b"t OK"), (command, lines[-1])
        return lines[:-1]

    def _line(self) -> list[bytes]:
        parts = []
        while True:
            parts.append(self._file.readline())
            found = re.search(rb"\{(\d+)\}\r\n$", parts[-1])
            if not found:
                return parts
            parts.append(self._file.read(int(found[1])))

    def search(self, program: bytes, literal: bytes | None = None) -> set[int]:
        """What is found."""
        (line,) = (one for one in self.command(program, literal) if one[0].startswith(b"* SEARCH"))
        return {int(number) for number in line[0].split()[2:]}

    def close(self) -> None:
        """Hang up."""
        self._file.close()
        self._socket.close()


_TOKEN = re.compile(rb'"((?:[^"\\]|\\.)*)"|([^ ()\r\n"]+)', re.S)


def parse(line: list[bytes]) -> list[Any]:
    """The line as nested lists of bytes; NIL is None."""
    stack: list[list[Any]] = [[]]
    for number, text in enumerate(line):
        if number % 2:  # a literal
            stack[-1].append(text)
            continue
        at, outside = 0, re.sub(rb"\{\d+\}\r\n$", b"", text)
        while at < len(outside):
            match outside[at : at + 1]:
                case b"(":
                    stack[-1].append([])
                    stack.append(stack[-1][-1])
                case b")":
                    stack.pop()
                case b" " | b"\r" | b"\n":
                    pass
                case _:
                    found = _TOKEN.match(outside, at)
                    assert found is not None, outside[at:]
                    quoted, atom = found.groups()
                    stack[-1].append(_value(quoted, atom))
                    at = found.end() - 1
            at += 1
    return stack[0]


def _value(quoted: bytes | None, atom: bytes | None) -> bytes | None:
    if quoted is not None:
        return re.sub(rb"\\(.)", rb"\1", quoted)
    return None if atom == b"NIL" else atom


@pytest.fixture
def dovecot(need: Callable[..., None], missing: Callable[[str], None]) -> Iterator[int]:
    """The port of Dovecot's IMAP server."""
    need_dovecot("imap", need, missing)
    more = "service imap-login {\n  inet_listener imaps {\n    port = 0\n  }\n}\n"
    one = Dovecot(FOLDER, "imap", "alice:{PLAIN}secret::::::\n", more)
    yield one.port
    one.stop()


@pytest.fixture
def both(start: Callable[..., Any], dovecot: int) -> Iterator[tuple[Imap, Imap]]:
    """A connection to Dovecot and one to us."""
    pair = Imap(dovecot, "alice"), Imap(start().imap, "alice@example.test")
    yield pair
    for one in pair:
        one.close()


# ---------------------------------------------------------------------- messages


def generated() -> dict[str, bytes]:
    """Varied MIME, and headers as people write them."""
    made = {f"varied-{number}": varied(number) for number in range(GENERATED)}
    for number, line in enumerate(ADDRESS_LINES):
        message = EmailMessage()
        message["Date"] = "Sat, 21 Nov 2026 12:00:00 +0100"
        message["Subject"] = f"Addresses {number}"
        message.set_content("text\n")
        text = message.as_bytes().replace(b"\n", b"\r\n")
        made[f"addresses-{number}"] = b"From: %b\r\nTo: %b\r\n%b" % (line, line, text)
    return made


ADDRESS_LINES = (
    b"alice@example.org",
    b'"Alice A." <alice@example.org>, bob@example.net',
    b"=?utf-8?q?J=C3=B6rg?= <joerg@example.org>",
    b'Friends: carol@example.org, "D, D" <dora@example.org>;',
    b"undisclosed-recipients:;",
    b"alice@example.org (Alice)",
    b"<@relay.example,@other.example:alice@example.org>",
    b'"quoted local"@example.org',
    b'"back\\\\slash \\"and quote\\"" <eve@example.org>',
)


def samples(shared: Path) -> dict[str, bytes]:
    """Real and broken messages that others collected, with CRLF; Dovecot takes no NUL."""
    with tarfile.open(shared / "corpora/mime-samples.tar.xz") as tar:
        files = {one.name: tar.extractfile(one) for one in tar.getmembers() if one.isfile()}
        texts = {name: file.read() for name, file in files.items() if file is not None}
    found = {name: re.sub(rb"\r?\n", b"\r\n", text) for name, text in sorted(texts.items())}
    return {name: text for name, text in found.items() if text and b"\0" not in text}


def fill(both: tuple[Imap, Imap], messages: dict[str, bytes]) -> None:
    for client in both:
        for text in messages.values():
            client.command(b"APPEND INBOX", text)
        client.command(b"SELECT INBOX")


# ---------------------------------------------------------------------- what is shown of them


def fetched(client: Imap) -> list[dict[bytes, Any]]:
    """What each message looks like, in order."""
    lines = [parse(line) for line in client.command(ITEMS)]
    found = {int(one[1]): one[3] for one in lines if one[2] == b"FETCH"}
    return [dict(zip(found[n][::2], found[n][1::2], strict=True)) for n in sorted(found)]


def same(theirs: Any, ours: Any, place: str = "") -> list[str]:
    """Where they differ."""
    if isinstance(theirs, list) and isinstance(ours, list):
        if len(theirs) != len(ours):
            return [f"{place}: {theirs!r} {ours!r}"]
        pairs = enumerate(zip(theirs, ours, strict=True))
        return [one for n, (a, b) in pairs for one in same(a, b, f"{place}/{n}")]
    return [] if normal(theirs) == normal(ours) else [f"{place}: {theirs!r} {ours!r}"]


def normal(value: Any) -> Any:
    """What says the same: names in any case; octets of UTF-8, and the encoded-words that RFC 6858
    has for them; nothing, an empty string, and the words that Dovecot puts for what is missing."""
    if value in (None, b"", b"MISSING_DOMAIN", b"MISSING_MAILBOX", b"SYNTAX_ERROR"):
        return None
    return decode(value).strip().casefold() if isinstance(value, bytes) else value


def without_lines(structure: list[Any]) -> list[Any]:
    """The structure without numbers of lines: we count a last one that no CRLF ends.

    RFC 2045 section 2.10: lines are what stands between CRLFs.
    """
    if isinstance(structure[0], list):
        return [without_lines(one) if _is_part(one) else one for one in structure]
    kind = structure[0].lower()
    if kind == b"text":
        return [*structure[:7], None, *structure[8:]]
    if kind == b"message" and len(structure) > 9 and isinstance(structure[8], list):
        return [*structure[:8], without_lines(structure[8]), None, *structure[10:]]
    return structure


def _is_part(one: Any) -> bool:
    if not isinstance(one, list) or len(one) < 3:
        return False
    return isinstance(one[0], list) or (isinstance(one[1], bytes) and len(one) >= 7)


def differences(both: tuple[Imap, Imap], names: list[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, theirs, ours in zip(names, fetched(both[0]), fetched(both[1]), strict=True):
        for one in (theirs, ours):
            one[b"BODYSTRUCTURE"] = without_lines(one[b"BODYSTRUCTURE"])
        if told := [line for key in theirs for line in same(theirs[key], ours[key], key.decode())]:
            found[name] = told
    return found


@pytest.mark.rfc("3501 section 7.4.2")
def test_generated_messages_look_the_same(both: tuple[Imap, Imap]) -> None:
    messages = generated()
    fill(both, messages)
    assert differences(both, list(messages)) == {}


OTHER = frozenset(
    (
        # A line that is cut off in the middle of its CRLF.
        "mail-parser/legacy/049.eml",
        # Delimiters that are broken, one the beginning of another, or not there: a multipart
        # without parts is one text here, as RFC 9051 section 9 has no form for it.
        "mail-parser/malformed/000.eml",
        "mail-parser/malformed/001.eml",
        "mail-parser/malformed/002.eml",
        "mail-parser/malformed/003.eml",
        "mail-parser/malformed/004.eml",
        "mail-parser/malformed/005.eml",
        "mail-parser/malformed/007.eml",
        "mail-parser/malformed/013.eml",
        "mail-parser/malformed/016.eml",
        "mail-parser/malformed/017.eml",
        "mail-parser/malformed/019.eml",
        "mikel-mail/emails/error_emails/bad_date_header2.eml",
        "mikel-mail/emails/error_emails/empty_in_reply_to.eml",
        "mikel-mail/emails/error_emails/missing_body.eml",
        "mikel-mail/emails/error_emails/must_supply_encoding.eml",
        "mikel-mail/emails/mime_emails/raw_email4.eml",
        "mikel-mail/emails/mime_emails/raw_email_with_binary_encoded.eml",
        "mikel-mail/emails/mime_emails/raw_email_with_illegal_boundary.eml",
        "mikel-mail/emails/plain_emails/raw_email_bad_time.eml",
        # A message inside whose header never ends, or that is encoded as a whole.
        "mail-parser/malformed/022.eml",
        "mail-parser/rfc/008.eml",
        "mail-parser/thirdparty/007.eml",
        "mail-parser/thirdparty/015.eml",
        "mikel-mail/emails/attachment_emails/attachment_message_rfc822_inline_image.eml",
        # Addresses that are none: what stands there is shown.
        "mail-parser/rfc/009.eml",
        "mikel-mail/emails/error_emails/weird_to_header.eml",
        "mikel-mail/emails/plain_emails/mix_caps_content_type.eml",
        "mikel-mail/emails/plain_emails/raw_email_multiple_from.eml",
        "mikel-mail/emails/plain_emails/raw_email_with_at_display_name.eml",
        "mikel-mail/emails/rfc2822/example11.eml",
        "mikel-mail/emails/rfc2822/example13.eml",
        # Parameters, encodings and dispositions that are none.
        "mail-parser/rfc/001.eml",
        "mail-parser/thirdparty/004.eml",
        "mikel-mail/emails/attachment_emails/attachment_with_unquoted_name.eml",
        "mikel-mail/emails/error_emails/content_transfer_encoding_qp_with_space.eml",
        "mikel-mail/emails/error_emails/content_transfer_encoding_text-html.eml",
        "mikel-mail/emails/error_emails/content_transfer_encoding_with_semi_colon.eml",
        "mikel-mail/emails/error_emails/missing_content_disposition.eml",
        "mikel-mail/emails/error_emails/multiple_invalid_content_dispositions.eml",
        # A field that is there twice, of which we take the first; spaces between encoded-words.
        "mikel-mail/emails/mime_emails/raw_email_with_multipart_mixed_quoted_boundary.eml",
        "mikel-mail/emails/rfc2822/example14.eml",
    )
)


def test_samples_look_the_same(both: tuple[Imap, Imap], shared: Path) -> None:
    messages = samples(shared)
    fill(both, messages)
    found = differences(both, list(messages))
    assert {name: told for name, told in found.items() if name not in OTHER} == {}
    assert set(found) == OTHER  # none is there for nothing


# ---------------------------------------------------------------------- what is found in them


def programs(messages: dict[str, bytes]) -> list[tuple[bytes, bytes | None]]:
    """Searches for words that are there somewhere, in any case, and others."""
    chance, words = random.Random(1), set()
    for text in messages.values():
        words |= set(re.findall(rb"[A-Za-z]{3,12}", text))
    chosen = chance.sample(sorted(words), min(WORDS, len(words)))
    keys = [b"SUBJECT", b"FROM", b"TO", b"BODY", b"TEXT"]
    made: list[tuple[bytes, bytes | None]] = [
        (b"SEARCH " + chance.choice(keys), chance.choice([word, word.lower(), word[1:]]))
        for word in chosen
    ]
    made += [(b"SEARCH CHARSET UTF-8 SUBJECT", word.encode()) for word in ("grüße", "日本", "ü")]
    made += [(b"SEARCH TEXT", word) for word in (b"octet-stream", b"text/HTML", b"base64")]
    made += [(b"SEARCH LARGER %d" % size, None) for size in (500, 2000, 20_000)]
    made += [(b"SEARCH NOT SMALLER %d" % size, None) for size in (700, 3000)]
    made += [(b"SEARCH SENT%b 21-Nov-2026" % key, None) for key in (b"ON", b"BEFORE", b"SINCE")]
    made += [(b'SEARCH HEADER %b ""' % name, None) for name in (b"Cc", b"From", b"Content-Type")]
    return [*made, (b"SEARCH OR SUBJECT plain NOT LARGER 900", None), (b"SEARCH 2:9 UNSEEN", None)]


def test_the_same_is_found(both: tuple[Imap, Imap]) -> None:
    messages = {name: text for name, text in generated().items() if b"\r\nDate: " in text}
    messages |= {
        name: b"Date: Fri, 20 Nov 2026 10:00:00 +0000\r\n" + text
        for name, text in generated().items()
        if name not in messages
    }
    fill(both, messages)
    told = []
    for program, literal in programs(messages):
        theirs, ours = (client.search(program, literal) for client in both)
        if theirs != ours:
            told.append((program, literal, sorted(theirs ^ ours)[:5]))
    assert told == []
