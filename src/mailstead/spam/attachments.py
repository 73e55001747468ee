"""What is odd about the files of a message: programs, disguises, archives with programs in them.

Files are told by their names and by their first octets; nothing is unpacked, so no archive can
be too big. What is in a ZIP file is read from the names that stand before its members.
Holds: never raises; at most ARCHIVE_LIMIT octets of an archive are looked at.
"""

import re
import struct
from collections.abc import Iterator

import msgspec

from mailstead.message.mime import Buffer, Part, decode_body
from mailstead.spam.names import Names
from mailstead.spam.sight import Sight, file_name

MAGIC_LIMIT = 64  # encoded octets at the start of a file
ARCHIVE_LIMIT = 256 * 1024  # encoded octets of an archive
MEMBERS_LIMIT = 200  # of one archive
BOMB_RATIO = 200  # times that a member may say it grows
BOMB_SIZE = 256 * 1024 * 1024  # octets that members may say to have in all
NAME_LIMIT = 255

_MEMBER = struct.Struct("<4sHHHHHIIIHH")  # APPNOTE.TXT section 4.3.7
_ENCRYPTED = 1
Found = Iterator[tuple[str, str]]


class Member(msgspec.Struct, frozen=True):
    """A file in an archive, as its header says."""

    name: str
    packed: int
    size: int
    encrypted: bool


def of_attachments(sight: Sight, names: Names) -> Found:
    """What was found, by the parts in their order."""
    for part in sight.parts:
        if part.is_multipart or part.is_message:
            continue
        name = file_name(part)
        if part.type == "text" and not name:
            continue
        yield from _of_name(name, names)
        if part.type != "text":
            yield from _of_content(part, name, sight.body, names)
    if len(sight.parts) > 1 and sight.parts[0].subtype == "mixed":
        yield "files", str(len(sight.parts[0].children))


_TURNED = re.compile("[\u202a-\u202e\u2066-\u2069]")
_ENDING = re.compile(r"\.([A-Za-z0-9]{1,8})\s*\Z")


def ending_of(name: str) -> str:
    """What stands behind the last dot, in small letters."""
    match = _ENDING.search(name[-NAME_LIMIT:])
    return match[1].lower() if match else ""


def _of_name(name: str, names: Names) -> Found:
    if not name:
        return
    ending = ending_of(name)
    if _TURNED.search(name):
        yield "file-name-turned", ending
    if "     " in name:
        yield "file-name-gap", ending
    if ending in names.programs:
        yield "file-program", ending
        before = ending_of(name[: name.rstrip().rfind(".")])
        if before in names.documents:
            yield "file-two-endings", f"{before}.{ending}"
    elif ending in names.wrappings:
        yield "file-wrapping", ending
    elif ending in names.macros:
        yield "file-macros", ending
    elif ending in names.web_pages:
        yield "file-web-page", ending


def _of_content(part: Part, name: str, body: Buffer, names: Names) -> Found:
    start = decode_body(part, body, MAGIC_LIMIT)
    if start.startswith(b"MZ") and ending_of(name) not in names.programs:
        yield "file-disguised-program", ending_of(name)
    elif start.startswith(b"PK\x03\x04"):
        yield from _of_archive(decode_body(part, body, ARCHIVE_LIMIT), names)
    elif start.startswith((b"Rar!", b"7z\xbc\xaf")) and part.body_size < ARCHIVE_LIMIT:
        yield "file-closed-archive", ending_of(name)


def _of_archive(data: bytes, names: Names) -> Found:
    found = list(members(data))
    if any(one.encrypted for one in found):
        yield "archive-encrypted", f"{len(found)} files"
    for one in found:
        if ending_of(one.name) in names.programs or ending_of(one.name) in names.wrappings:
            yield "archive-program", ending_of(one.name)
        if one.size > one.packed * BOMB_RATIO and one.size > BOMB_SIZE // BOMB_RATIO:
            yield "archive-bomb", f"{one.size} octets from {one.packed}"
    if sum(one.size for one in found) > BOMB_SIZE:
        yield "archive-bomb", f"{len(found)} files"


def members(data: bytes) -> Iterator[Member]:
    """The files in a ZIP archive, as far as its members say how long they are."""
    at = count = 0
    while 0 <= at <= len(data) - _MEMBER.size and count < MEMBERS_LIMIT:
        magic, _, flags, _, _, _, _, packed, size, name_size, extra = _MEMBER.unpack_from(data, at)
        if magic != b"PK\x03\x04":
            return
        start = at + _MEMBER.size
        name = data[start : start + min(name_size, NAME_LIMIT)].decode("utf-8", "replace")
        yield Member(name, packed, size, bool(flags & _ENCRYPTED))
        count += 1
        at = start + name_size + extra + packed
        if flags & 8 and not packed:  # the length stands behind what is packed
            at = data.find(b"PK\x03\x04", at)
