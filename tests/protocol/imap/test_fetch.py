import pytest

from mailstead.protocol.imap.fetch import (
    FIELDS_LIMIT,
    ITEMS_LIMIT,
    PART_DEPTH_LIMIT,
    Attribute,
    Binary,
    Item,
    Preview,
    Section,
    Text,
    parse_items,
)
from mailstead.protocol.imap.lexer import LITERAL_MARK, BadSyntax, Lexer

FAST = (Attribute.FLAGS, Attribute.INTERNALDATE, Attribute.RFC822_SIZE)


@pytest.mark.rfc("8970 section 3")
def test_preview() -> None:
    assert parse_items(Lexer(b"PREVIEW")) == (Preview(),)
    expected = (Preview(lazy=True), Attribute.UID)
    assert parse_items(Lexer(b"(preview (lazy) UID)")) == expected
    lexer = Lexer(b"PREVIEW (CHANGEDSINCE 5)")
    assert parse_items(lexer) == (Preview(),)
    assert lexer.at(b" (CHANGEDSINCE")


@pytest.mark.rfc("3516 section 4.2")
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"BINARY[]", Binary((), b"BINARY[]")),
        (b"binary[1.2]<5.7>", Binary((1, 2), b"BINARY[1.2]<5>", partial=(5, 7))),
        (b"BINARY.PEEK[1]", Binary((1,), b"BINARY[1]", peek=True)),
        (b"BINARY.SIZE[1]", Binary((1,), b"BINARY.SIZE[1]", peek=True, size=True)),
    ],
)
def test_binary(text: bytes, expected: Item) -> None:
    assert parse_items(Lexer(text)) == (expected,)


@pytest.mark.rfc("3501 section 6.4.5")
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"FAST", FAST),
        (b"all", (*FAST, Attribute.ENVELOPE)),
        (b"FULL", (*FAST, Attribute.ENVELOPE, Attribute.BODY)),
        (b"ENVELOPE", (Attribute.ENVELOPE,)),
        (b"(uid BodyStructure BODY)", (Attribute.UID, Attribute.BODYSTRUCTURE, Attribute.BODY)),
        (b"(FLAGS UID FLAGS)", (Attribute.FLAGS, Attribute.UID)),
        (b"RFC822", (Section((), Text.WHOLE, b"RFC822"),)),
        (b"RFC822.HEADER", (Section((), Text.HEADER, b"RFC822.HEADER", peek=True),)),
        (b"RFC822.TEXT", (Section((), Text.TEXT, b"RFC822.TEXT"),)),
        (b"RFC822.SIZE", (Attribute.RFC822_SIZE,)),
        (b"BODY[]", (Section((), Text.WHOLE, b"BODY[]"),)),
        (b"body.peek[]", (Section((), Text.WHOLE, b"BODY[]", peek=True),)),
        (b"BODY[]<0.2048>", (Section((), Text.WHOLE, b"BODY[]<0>", partial=(0, 2048)),)),
        (b"BODY[TEXT]", (Section((), Text.TEXT, b"BODY[TEXT]"),)),
        (b"BODY[header]", (Section((), Text.HEADER, b"BODY[HEADER]"),)),
        (b"BODY[4.1.MIME]", (Section((4, 1), Text.MIME, b"BODY[4.1.MIME]"),)),
        (b"BODY[3.HEADER]", (Section((3,), Text.HEADER, b"BODY[3.HEADER]"),)),
        (b"BODY[4.2.2.1]", (Section((4, 2, 2, 1), Text.WHOLE, b"BODY[4.2.2.1]"),)),
        (
            b"BODY.PEEK[HEADER.FIELDS (DATE FROM)]",
            (
                Section(
                    (),
                    Text.HEADER_FIELDS,
                    b"BODY[HEADER.FIELDS (DATE FROM)]",
                    (b"date", b"from"),
                    peek=True,
                ),
            ),
        ),
        (
            b'BODY[2.HEADER.FIELDS.NOT ("x(y" To)]<7.1>',
            (
                Section(
                    (2,),
                    Text.HEADER_FIELDS_NOT,
                    b'BODY[2.HEADER.FIELDS.NOT ("x(y" To)]<7>',
                    (b"x(y", b"to"),
                    partial=(7, 1),
                ),
            ),
        ),
    ],
)
def test_items(text: bytes, expected: tuple[Item, ...]) -> None:
    lexer = Lexer(text)
    assert expected == parse_items(lexer)
    assert lexer.at_end()


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"()",
        b"(FLAGS",
        b"(FLAGS )",
        b"( FLAGS)",
        b"(FLAGS  UID)",
        b"(ALL)",
        b"FROBNICATE",
        b"((FLAGS))",
        b"(" * 10_000,
        b"BODY[",
        b"BODY[0]",
        b"BODY[1.]",
        b"BODY[.1]",
        b"BODY[1..2]",
        b"BODY[01]",
        b"BODY[1.0]",
        b"BODY[1TEXT]",
        b"BODY[*]",
        b"BODY[4294967296]",
        b"BODY[MIME]",
        b"BODY[HEADERS]",
        b"BODY[HEADER.FIELDS]",
        b"BODY[HEADER.FIELDS ()]",
        b"BODY[HEADER.FIELDS (a b]",
        b"BODY[HEADER.FIELDS(a)]",
        b'BODY[HEADER.FIELDS ("")]',
        b'BODY[HEADER.FIELDS ("a b")]',
        b"BODY[HEADER.FIELDS (a:b)]",
        b"BODY[HEADER.FIELDS (\xc3\xbc)]",
        b"BODY[HEADER (a)]",
        b"BODY[]<0>",
        b"BODY[]<0.0>",
        b"BODY[]<.1>",
        b"BODY[]<0.1",
        b"BODY[]<-1.1>",
        b"BODY[]<9223372036854775808.1>",
        b"BODY[]<0." + b"9" * 10_000 + b">",
        b"BODY.PEEK",
        b"RFC822.PEEK",
        b"BODY[" + b"1." * PART_DEPTH_LIMIT + b"1]",
        b"BODY[" + b"1." * PART_DEPTH_LIMIT + b"1.TEXT]",
        b"BODY[HEADER.FIELDS (" + b"a " * FIELDS_LIMIT + b"a)]",
        b"(" + b" ".join(b"BODY[%d]" % n for n in range(1, ITEMS_LIMIT + 2)) + b")",
    ],
)
def test_what_is_no_item(text: bytes) -> None:
    with pytest.raises(BadSyntax):
        parse_items(Lexer(text))


def test_a_field_name_cannot_break_the_response() -> None:
    text = b"BODY[HEADER.FIELDS (" + LITERAL_MARK + b")]"
    with pytest.raises(BadSyntax):
        parse_items(Lexer(text, [b"a\r\n* BYE"]))
    section = parse_items(Lexer(text, [b"Subject"]))[0]
    assert (
        Section((), Text.HEADER_FIELDS, b"BODY[HEADER.FIELDS (Subject)]", (b"subject",)) == section
    )
