"""What FETCH asks for (RFC 3501 section 6.4.5), as values.

A Section is every item that gives octets of the message: BODY[...] and the three RFC822 ones, which
differ from it in their label only.
"""

import enum

import msgspec

from mailstead.protocol.imap.lexer import BadSyntax, Lexer
from mailstead.protocol.imap.responses import astring

ITEMS_LIMIT = 200  # items of one FETCH
FIELDS_LIMIT = 200  # field names in one section
PART_DEPTH_LIMIT = 50  # numbers in 1.2.3


class Attribute(enum.StrEnum):
    """The items without arguments."""

    FLAGS = "FLAGS"
    UID = "UID"
    INTERNALDATE = "INTERNALDATE"
    RFC822_SIZE = "RFC822.SIZE"
    ENVELOPE = "ENVELOPE"
    BODY = "BODY"
    BODYSTRUCTURE = "BODYSTRUCTURE"
    MODSEQ = "MODSEQ"  # RFC 7162 section 3.1.4.2
    SAVEDATE = "SAVEDATE"  # RFC 8514 section 4.3
    EMAILID = "EMAILID"  # RFC 8474 section 5
    THREADID = "THREADID"


class Text(enum.StrEnum):
    """Which text of the part is asked for; WHOLE is the part's content itself."""

    WHOLE = ""
    HEADER = "HEADER"
    HEADER_FIELDS = "HEADER.FIELDS"
    HEADER_FIELDS_NOT = "HEADER.FIELDS.NOT"
    TEXT = "TEXT"
    MIME = "MIME"


class Section(msgspec.Struct, frozen=True):
    """Octets of a message, and the name under which the response gives them.

    `fields` are in lower case. `partial` is (offset, count). `peek` leaves \\Seen alone.
    """

    part: tuple[int, ...]
    text: Text
    label: bytes
    fields: tuple[bytes, ...] = ()
    peek: bool = False
    partial: tuple[int, int] | None = None


class Binary(msgspec.Struct, frozen=True):
    """Octets of a part without its transfer encoding, or only how many (RFC 3516 section 4.2)."""

    part: tuple[int, ...]
    label: bytes
    peek: bool = False
    partial: tuple[int, int] | None = None  # of the decoded octets
    size: bool = False


class Preview(msgspec.Struct, frozen=True):
    """A few words of the text; `lazy`: if they are at hand (RFC 8970)."""

    lazy: bool = False


Item = Attribute | Section | Binary | Preview

_FAST = (Attribute.FLAGS, Attribute.INTERNALDATE, Attribute.RFC822_SIZE)
_MACROS: dict[bytes, tuple[Attribute, ...]] = {
    b"FAST": _FAST,
    b"ALL": (*_FAST, Attribute.ENVELOPE),
    b"FULL": (*_FAST, Attribute.ENVELOPE, Attribute.BODY),
}
_WORDS: dict[bytes, Item] = {
    **{attribute.value.encode("ascii"): attribute for attribute in Attribute},
    b"RFC822": Section((), Text.WHOLE, b"RFC822"),
    b"RFC822.HEADER": Section((), Text.HEADER, b"RFC822.HEADER", peek=True),
    b"RFC822.TEXT": Section((), Text.TEXT, b"RFC822.TEXT"),
}
_TEXTS = {text.value.encode("ascii"): text for text in Text if text}
_WITH_FIELDS = (Text.HEADER_FIELDS, Text.HEADER_FIELDS_NOT)


def parse_items(lexer: Lexer) -> tuple[Item, ...]:
    """One item, a list of them or a macro; what is asked for twice is given once."""
    if not lexer.accept(b"("):
        word = lexer.keyword()
        return _MACROS.get(word) or (_parse_item(word, lexer),)
    items = {_parse_item(lexer.keyword(), lexer): None}
    while lexer.accept(b" "):
        items[_parse_item(lexer.keyword(), lexer)] = None
    lexer.expect(b")")
    if len(items) > ITEMS_LIMIT:
        raise BadSyntax(f"More than {ITEMS_LIMIT} items")
    return tuple(items)


def _parse_item(word: bytes, lexer: Lexer) -> Item:
    if word in (b"BODY", b"BODY.PEEK") and lexer.accept(b"["):
        return _parse_section(lexer, peek=word == b"BODY.PEEK")
    if word in (b"BINARY", b"BINARY.PEEK", b"BINARY.SIZE") and lexer.accept(b"["):
        return _parse_binary(lexer, word)
    if word == b"PREVIEW":
        return _parse_preview(lexer)
    item = _WORDS.get(word)
    if item is None:
        raise BadSyntax("Unknown FETCH item")
    return item


def _parse_section(lexer: Lexer, peek: bool) -> Section:
    part = _parse_part(lexer)
    text = Text.WHOLE if lexer.at(b"]") else _parse_text(lexer, part)
    names = _parse_fields(lexer) if text in _WITH_FIELDS else ()
    lexer.expect(b"]")
    partial = _parse_partial(lexer)
    label = _format_label(part, text, names, partial)
    fields = tuple(name.lower() for name in names)
    return Section(part, text, label, fields, peek, partial)


def _parse_binary(lexer: Lexer, word: bytes) -> Binary:
    part = _parse_part(lexer)
    lexer.expect(b"]")
    size = word == b"BINARY.SIZE"
    partial = None if size else _parse_partial(lexer)
    name = b"BINARY.SIZE" if size else b"BINARY"
    label = name + _format_label(part, Text.WHOLE, (), partial).removeprefix(b"BODY")
    return Binary(part, label, word != b"BINARY", partial, size)


def _parse_preview(lexer: Lexer) -> Preview:
    """With (LAZY) or without; what else follows between parentheses modifies the FETCH."""
    lazy = lexer.text[lexer.position :].upper().startswith(b" (LAZY)")
    if lazy:
        lexer.position += len(b" (LAZY)")
    return Preview(lazy)


def _parse_part(lexer: Lexer) -> tuple[int, ...]:
    """The numbers of 1.2.3, with a dot behind them stepped over."""
    part: list[int] = []
    while lexer.at_numset():
        part.append(lexer.nz_number())
        if lexer.at(b"]"):
            break
        lexer.expect(b".")
        if lexer.at(b"]"):
            raise BadSyntax("A section ends in a dot")
    if len(part) > PART_DEPTH_LIMIT:
        raise BadSyntax(f"More than {PART_DEPTH_LIMIT} numbers in a section")
    return tuple(part)


def _parse_text(lexer: Lexer, part: tuple[int, ...]) -> Text:
    text = _TEXTS.get(lexer.keyword())
    if text is None or (text is Text.MIME and not part):
        raise BadSyntax("Unknown section")
    return text


def _parse_fields(lexer: Lexer) -> tuple[bytes, ...]:
    lexer.expect(b" (")
    names = [_parse_field_name(lexer)]
    while lexer.accept(b" "):
        names.append(_parse_field_name(lexer))
    lexer.expect(b")")
    if len(names) > FIELDS_LIMIT:
        raise BadSyntax(f"More than {FIELDS_LIMIT} header field names")
    return tuple(names)


def _parse_field_name(lexer: Lexer) -> bytes:
    name = lexer.astring()
    # It comes back in the label, so nothing but a field name may get through.
    if not name or any(octet <= 0x20 or octet >= 0x7F for octet in name) or b":" in name:
        raise BadSyntax("Not a header field name")
    return name


def _parse_partial(lexer: Lexer) -> tuple[int, int] | None:
    if not lexer.accept(b"<"):
        return None
    offset = lexer.number64()  # RFC 9051 section 9
    lexer.expect(b".")
    count = lexer.number64(least=1)
    lexer.expect(b">")
    return (offset, count)


def _format_label(
    part: tuple[int, ...],
    text: Text,
    names: tuple[bytes, ...],
    partial: tuple[int, int] | None,
) -> bytes:
    spec = ".".join([*map(str, part), text] if text else map(str, part)).encode("ascii")
    fields = b" (" + b" ".join(map(astring, names)) + b")" if names else b""
    offset = b"<%d>" % partial[0] if partial else b""
    return b"BODY[" + spec + fields + b"]" + offset
