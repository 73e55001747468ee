"""Responses of the server as bytes (RFC 3501 section 7 and the extensions' own).

What has been rendered already goes in as bytes and is only joined: FETCH is called for every
message of a mailbox. Texts and codes are ours; line ends that got into one become spaces.
"""

import re
from collections.abc import Iterable, Sequence
from datetime import datetime

from mailstead.message.surrogate import surrogate
from mailstead.message.thread import Node
from mailstead.protocol.imap import utf7
from mailstead.protocol.imap.numset import format_ranges

UNTAGGED = b"*"
QUOTED_LIMIT = 1024  # octets; what is longer goes as a literal

_ATOM = re.compile(rb'[^\x00-\x20\x7f-\xff(){%*"\\\]]+\Z')
_QUOTABLE = re.compile(rb"[^\x00\r\n\x80-\xff]{0,%d}\Z" % QUOTED_LIMIT)
_LITERAL = re.compile(rb"\{([0-9]+)\}\r\n")  # a quoted string has no line end
_SPECIALS = re.compile(rb'(["\\])')
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def ok(tag: bytes, text: str, code: str = "") -> bytes:
    """`tag OK [code] text`; the tag may be UNTAGGED."""
    return _condition(tag, b"OK", text, code)


def no(tag: bytes, text: str, code: str = "") -> bytes:
    """`tag NO [code] text`."""
    return _condition(tag, b"NO", text, code)


def bad(tag: bytes, text: str, code: str = "") -> bytes:
    """`tag BAD [code] text`; an empty tag, for a line without one, gives `* BAD`."""
    return _condition(tag or UNTAGGED, b"BAD", text, code)


def bye(text: str, code: str = "") -> bytes:
    """`* BYE [code] text`; the connection is closed after it."""
    return _condition(UNTAGGED, b"BYE", text, code)


def continuation(text: bytes = b"OK") -> bytes:
    """`+ text`, for a literal, a SASL challenge in base64, or IDLE."""
    return b"+ " + text + b"\r\n"


def in_progress(tag: bytes, done: int, goal: int) -> bytes:
    """`* OK [INPROGRESS ("A001" 454 1000)] ...` (RFC 9585 section 4)."""
    named = "NIL" if b"]" in tag else f'"{tag.decode("ascii")}"'
    text = f"Processed {done * 100 // goal}% of the messages"
    return ok(UNTAGGED, text, f"INPROGRESS ({named} {done} {goal})")


def capability(names: Iterable[str]) -> bytes:
    """`* CAPABILITY IMAP4rev1 ...`."""
    return b"* CAPABILITY " + " ".join(names).encode("ascii") + b"\r\n"


def exists(count: int) -> bytes:
    """How many messages the mailbox has (RFC 3501 section 7.3.1)."""
    return b"* %d EXISTS\r\n" % count


def recent(count: int) -> bytes:
    """How many of them this session saw first (RFC 3501 section 7.3.2)."""
    return b"* %d RECENT\r\n" % count


def expunge(seqnum: int) -> bytes:
    """The message is gone and those behind it move up (RFC 3501 section 7.4.1)."""
    return b"* %d EXPUNGE\r\n" % seqnum


def flags(names: Iterable[str]) -> bytes:
    """The flags that the mailbox knows (RFC 3501 section 7.2.6)."""
    return b"* FLAGS (" + " ".join(names).encode("ascii") + b")\r\n"


def list_response(
    attributes: Iterable[str],
    delimiter: str | None,
    name: str,
    child_info: bool = False,
    utf8: bool = False,
) -> bytes:
    """`* LIST (attributes) "/" name`, with CHILDINFO if a child matched (RFC 5258 section 3.5)."""
    extended = b' ("CHILDINFO" ("SUBSCRIBED"))' if child_info else b""
    return _listing(b"LIST", attributes, delimiter, name, utf8) + extended + b"\r\n"


def with_old_name(listed: bytes, old: str, utf8: bool = False) -> bytes:
    """The LIST response with the name that the mailbox had before (RFC 9051 section 6.3.9.7)."""
    name = mailbox_name(old, utf8)
    return b'%b ("OLDNAME" (%b))\r\n' % (listed.removesuffix(b"\r\n"), name)


def lsub_response(
    attributes: Iterable[str], delimiter: str | None, name: str, utf8: bool = False
) -> bytes:
    """`* LSUB (attributes) "/" name`."""
    return _listing(b"LSUB", attributes, delimiter, name, utf8) + b"\r\n"


def quota(used: int, limit: int) -> bytes:
    """`* QUOTA "" (STORAGE 10 512)`, in units of 1024 octets; without a limit `()` (RFC 9208)."""
    said = b"STORAGE %d %d" % (-(-used // 1024), limit // 1024) if limit else b""
    return b'* QUOTA "" (' + said + b")\r\n"


def quota_root(name: str, own: bool, utf8: bool = False) -> bytes:
    """`* QUOTAROOT "INBOX" ""`: all mailboxes of an account share its quota (RFC 9208).

    Other people's quotas have no name here, and what is theirs counts to no quota of one's own.
    """
    return b"* QUOTAROOT " + mailbox_name(name, utf8) + (b' ""' if own else b"") + b"\r\n"


def acl(name: str, entries: Iterable[tuple[str, str]], utf8: bool = False) -> bytes:
    """`* ACL "INBOX" bob@example.org lrs` (RFC 4314 section 3.6)."""
    words = [astring(word.encode()) for entry in entries for word in entry]
    return b" ".join([b"* ACL", mailbox_name(name, utf8), *words]) + b"\r\n"


def list_rights(
    name: str, said: bytes, required: str, others: Iterable[str], utf8: bool = False
) -> bytes:
    """`* LISTRIGHTS "INBOX" bob@example.org "" l r s` (RFC 4314 section 3.7)."""
    words = [astring(said), *(astring(word.encode()) for word in (required, *others))]
    return b" ".join([b"* LISTRIGHTS", mailbox_name(name, utf8), *words]) + b"\r\n"


def my_rights(name: str, rights: str, utf8: bool = False) -> bytes:
    """`* MYRIGHTS "INBOX" lrs` (RFC 4314 section 3.8)."""
    return b"* MYRIGHTS %b %b\r\n" % (mailbox_name(name, utf8), astring(rights.encode()))


def metadata(name: str, values: Iterable[tuple[str, bytes | None]], utf8: bool = False) -> bytes:
    """`* METADATA "INBOX" (/private/comment "Mine")` (RFC 5464 section 4.4.1)."""
    words = [astring(entry.encode()) + b" " + _value(value) for entry, value in values]
    return b"* METADATA %b (%b)\r\n" % (mailbox_name(name, utf8), b" ".join(words))


def metadata_changed(name: str, entries: Iterable[str], utf8: bool = False) -> bytes:
    """`* METADATA "INBOX" /shared/comment`: they are others now (RFC 5464 section 4.4.2)."""
    words = [astring(entry.encode()) for entry in entries]
    return b"* METADATA %b %b\r\n" % (mailbox_name(name, utf8), b" ".join(words))


def _value(value: bytes | None) -> bytes:
    if value is not None and b"\x00" in value:
        return b"~" + literal(value)
    return nstring(value)


def status_response(name: str, items: Iterable[tuple[str, int | str]], utf8: bool = False) -> bytes:
    """`* STATUS name (MESSAGES 231 ...)`."""
    listed = " ".join(f"{item} {value}" for item, value in items).encode("ascii")
    return b"* STATUS " + mailbox_name(name, utf8) + b" (" + listed + b")\r\n"


def search_response(numbers: Iterable[int], modseq: int = 0) -> bytes:
    """`* SEARCH 2 84 882`; the bare word if nothing was found (RFC 7162 section 3.1.6)."""
    words = ["* SEARCH", *map(str, numbers)] + [f"(MODSEQ {modseq})"] * bool(modseq)
    return " ".join(words).encode("ascii") + b"\r\n"


def sort_response(numbers: Iterable[int], modseq: int = 0) -> bytes:
    """`* SORT 2 84 882`, in the order asked for (RFC 5256 section 4)."""
    return b"* SORT" + search_response(numbers, modseq).removeprefix(b"* SEARCH")


def thread_outline(root: Node) -> tuple[bytes, list[int]]:
    """`(%d %d (%d %d)(%d))` and the messages that go into the gaps.

    Nothing recurses: what is still to be said lies on a list, in reverse (RFC 5256 section 4).
    """
    said, numbers = [b"("], list[int]()
    waiting: list[Node | bytes] = [b")", root]
    while waiting:
        one = waiting.pop()
        if isinstance(one, bytes):
            said.append(one)
            continue
        if one.message is not None:
            said.append(b"%d" if said[-1] == b"(" else b" %d")
            numbers.append(one.message.number)
        if len(one.children) == 1 and one.message is not None:
            waiting.append(one.children[0])
            continue
        if one.children and one.message is not None:
            said.append(b" ")
        for child in reversed(one.children):
            waiting += [b")", child, b"("]
    return b"".join(said), numbers


def thread_response(outlines: Iterable[bytes], numbers: Iterable[int]) -> bytes:
    """`* THREAD (2)(3 6 (4 23)(44 7 96))`, the outlines with these numbers (RFC 5256 section 4)."""
    said = b"".join(outlines) % tuple(numbers)
    return b"* THREAD" + b" " * bool(said) + said + b"\r\n"


def esearch_response(
    tag: bytes, uid: bool, items: Iterable[tuple[str, str]], elsewhere: bytes = b""
) -> bytes:
    """`* ESEARCH (TAG "a1") UID COUNT 5 ALL 4:19` (RFC 4731 section 3.1).

    `elsewhere` is what located() says of a mailbox that need not be the selected one.
    """
    words = ["UID"] * uid + [f"{name} {value}" for name, value in items]
    begin = b"* ESEARCH (TAG %b%b)" % (string(tag), elsewhere)
    return b" ".join([begin, *(word.encode() for word in words)]) + b"\r\n"


def located(name: str, uidvalidity: int, utf8: bool = False) -> bytes:
    """` MAILBOX "folder1" UIDVALIDITY 1`, in which mailbox it was found (RFC 7377 section 2.1)."""
    return b" MAILBOX %b UIDVALIDITY %d" % (mailbox_name(name, utf8), uidvalidity)


def enabled(names: Iterable[str]) -> bytes:
    """`* ENABLED CONDSTORE` (RFC 5161 section 3.2)."""
    return " ".join(["* ENABLED", *names]).encode("ascii") + b"\r\n"


def vanished(uids: Iterable[int], earlier: bool = False) -> bytes:
    """`* VANISHED 41,43:116`, or with (EARLIER); nothing for no UIDs (RFC 7162 section 3.2.10)."""
    known = format_ranges(uids)
    return b"* VANISHED %b%b\r\n" % (b"(EARLIER) " if earlier else b"", known) if known else b""


def modified(numbers: Iterable[int]) -> str:
    """The response code of a STORE that left messages alone (RFC 7162 section 3.1.3)."""
    return f"MODIFIED {format_ranges(numbers).decode('ascii')}"


def fetch(seqnum: int, items: Sequence[bytes]) -> bytes:
    """`* 12 FETCH (...)` of items that are rendered already."""
    return b"* %d FETCH (%b)\r\n" % (seqnum, b" ".join(items))


def internal_date(moment: datetime) -> bytes:
    """`"17-Jul-1996 02:44:25 -0700"`, as the aware moment says it (RFC 3501 section 9)."""
    return (
        f'"{moment.day:2d}-{_MONTHS[moment.month - 1]}-{moment.year:04d} {moment:%H:%M:%S %z}"'
    ).encode("ascii")


def namespace(delimiter: str, others: str) -> bytes:
    """A personal namespace without prefix, and that of other people (RFC 2342 section 5)."""
    between = string(delimiter.encode("ascii"))
    prefix = mailbox_name(others + delimiter)
    return b'* NAMESPACE (("" %b)) ((%b %b)) NIL\r\n' % (between, prefix, between)


def id(parameters: Iterable[tuple[str, str]]) -> bytes:
    """`* ID ("name" "Mailstead")`, or NIL without any (RFC 2971 section 3.2)."""
    words = [string(word.encode("utf-8")) for pair in parameters for word in pair]
    return b"* ID " + (b"(" + b" ".join(words) + b")" if words else b"NIL") + b"\r\n"


def appenduid(uidvalidity: int, uids: Iterable[int]) -> str:
    """The response code of APPEND (RFC 4315 section 3, RFC 3502)."""
    return f"APPENDUID {uidvalidity} {format_ranges(uids).decode('ascii')}"


def copyuid(uidvalidity: int, sources: Iterable[int], destinations: Iterable[int]) -> str:
    """The response code of COPY and MOVE; both in the order of copying (RFC 4315 section 3)."""
    from_set = format_ranges(sources).decode("ascii")
    return f"COPYUID {uidvalidity} {from_set} {format_ranges(destinations).decode('ascii')}"


def in_ascii(rendered: bytes) -> bytes:
    """What was rendered of strings and literals, with encoded-words for other octets (RFC 6858)."""
    if rendered.isascii():
        return rendered
    pieces: list[bytes] = []
    at = 0
    while found := _LITERAL.search(rendered, at):
        start, end = found.end(), found.end() + int(found[1])
        pieces += [rendered[at : found.start()], string(surrogate(rendered[start:end]))]
        at = end
    return b"".join([*pieces, rendered[at:]])


def literal(data: bytes) -> bytes:
    """The data as a literal."""
    return b"{%d}\r\n%b" % (len(data), data)


def quoted(data: bytes) -> bytes:
    """The data in quotes; it must have no NUL, CR or LF, and be ASCII for who enabled no UTF-8."""
    return b'"' + _SPECIALS.sub(rb"\\\1", data) + b'"'


def string(data: bytes) -> bytes:
    """The data in quotes if that can be, else as a literal."""
    return quoted(data) if _QUOTABLE.match(data) else literal(data)


def nstring(data: bytes | None) -> bytes:
    """The data as a string, NIL for None."""
    return b"NIL" if data is None else string(data)


def astring(data: bytes) -> bytes:
    """The data as it stands if it is an atom, else as a string."""
    # NIL where a string is meant would be read as none by lenient clients.
    return data if _ATOM.match(data) and data.upper() != b"NIL" else string(data)


def mailbox_name(name: str, utf8: bool = False) -> bytes:
    """The mailbox name in quotes, in modified UTF-7, or in UTF-8 for who has enabled that.

    RFC 3501 section 5.1.3, RFC 6855 section 3.
    """
    return quoted(name.encode("utf-8") if utf8 else utf7.encode(name))


def _condition(tag: bytes, condition: bytes, text: str, code: str) -> bytes:
    said = f"[{code}] {text}" if code else text
    line = said.replace("\r", " ").replace("\n", " ").replace("\x00", " ")
    return b"%b %b %b\r\n" % (tag, condition, line.encode("ascii", "replace"))


def _listing(
    word: bytes, attributes: Iterable[str], delimiter: str | None, name: str, utf8: bool
) -> bytes:
    separator = nstring(delimiter.encode("ascii") if delimiter else None)
    names = " ".join(attributes).encode("ascii")
    return b"* %b (%b) %b %b" % (word, names, separator, mailbox_name(name, utf8))
