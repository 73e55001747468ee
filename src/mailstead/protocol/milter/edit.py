"""A filter's changes to a header, done as Sendmail and Postfix do them.

A change sees what those before it have done. Lines that are no field stay, and are not counted.
Holds: whatever a filter says, a change makes one field at most, and the header ends where it did.
"""

import re
from collections.abc import Iterable, Sequence
from typing import assert_never

import msgspec

from mailstead.protocol.milter.responses import (
    AddHeader,
    ChangeHeader,
    HeaderChange,
    InsertHeader,
)

# A field or another line, with its folds; the empty line is one too.
_BLOCK = re.compile(rb"(?:([!-9;-~]+)[ \t]*:)?[^\n]*(?:\n[ \t][^\n]*)*(?:\n|\Z)")
_END = b"\r\n"


class _Block(msgspec.Struct, frozen=True):
    name: bytes  # in lower case; empty, if this is no field
    raw: bytes


def change_header(header: bytes, changes: Iterable[HeaderChange]) -> bytes:
    """The header with the changes made, one after the other."""
    blocks = [
        _Block((block[1] or b"").lower(), block[0]) for block in _BLOCK.finditer(header) if block[0]
    ]
    end = [blocks.pop()] if blocks and blocks[-1].raw == _END else []
    if blocks and not blocks[-1].raw.endswith(b"\n"):
        blocks[-1] = _Block(blocks[-1].name, blocks[-1].raw + _END)
    for change in changes:
        _change(blocks, change)
    return b"".join(block.raw for block in [*blocks, *end])


def _change(blocks: list[_Block], change: HeaderChange) -> None:
    made = _make(change.name, change.value)
    match change:
        case AddHeader():
            blocks.append(made)
        case InsertHeader(index):
            places = _places(blocks, None)
            blocks.insert(places[index] if index < len(places) else len(blocks), made)
        case ChangeHeader(index, _, value):
            places = _places(blocks, made.name)
            at = max(index, 1) - 1  # filters say 0 for the first too
            if at < len(places):
                blocks[places[at] : places[at] + 1] = [made] if value else []
            elif value:
                blocks.append(made)
        case _:
            assert_never(change)


def _places(blocks: Sequence[_Block], name: bytes | None) -> list[int]:
    """Where the fields are, or those of a name."""
    return [at for at, block in enumerate(blocks) if block.name and name in (None, block.name)]


def _make(name: str, value: bytes) -> _Block:
    """One field: what would begin another, or end the header, becomes a fold or goes."""
    lines = value.replace(b"\r", b"").replace(b"\0", b"").split(b"\n")
    first, *folds = [lines[0], *(line for line in lines[1:] if line.strip())]
    folds = [line if line[:1] in (b" ", b"\t") else b"\t" + line for line in folds]
    field = name.encode("ascii")
    return _Block(field.lower(), _END.join([field + b":" + first, *folds]) + _END)
