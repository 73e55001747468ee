import pytest

from mailstead.protocol.imap.fetch import Section, Text
from mailstead.sessions.imap.sections import field_filter

HEADER = (
    b"Received: from a\r\n\tby b\r\nSUBJECT : one\r\n two\r\nSubject-X: no\r\nFrom: c\r\n"
    b"X-Subject: no\r\nsubject: three\r\nBroken line\r\n\r\n"
)


def only(*fields: bytes, text: Text = Text.HEADER_FIELDS) -> Section:
    return Section((), text, b"", fields)


@pytest.mark.rfc("3501 section 6.4.5")
@pytest.mark.parametrize(
    ("fields", "header", "expected"),
    [
        ((b"subject",), HEADER, b"SUBJECT : one\r\n two\r\nsubject: three\r\n\r\n"),
        ((b"from", b"received"), HEADER, b"Received: from a\r\n\tby b\r\nFrom: c\r\n\r\n"),
        ((b"to",), HEADER, b"\r\n"),
        ((b"to",), b"", b"\r\n"),
        ((b"to",), b"\r\n", b"\r\n"),
        ((b"to",), b"To: unended", b"To: unended\r\n\r\n"),
        ((b"to",), b"To: a\r\n", b"To: a\r\n\r\n"),
        ((b"to",), b"To: a\x00b\r\n\xff\r\n\r\n", b"To: a\x00b\r\n\r\n"),
        ((b"x.y*", b"("), b"xxyy: a\r\nX.Y*: b\r\n(: c\r\n\r\n", b"X.Y*: b\r\n(: c\r\n\r\n"),
    ],
)
def test_header_fields(fields: tuple[bytes, ...], header: bytes, expected: bytes) -> None:
    assert expected == field_filter(only(*fields))(header)


@pytest.mark.rfc("3501 section 6.4.5")
def test_header_fields_not() -> None:
    expected = (
        b"Received: from a\r\n\tby b\r\nSubject-X: no\r\nX-Subject: no\r\nBroken line\r\n\r\n"
    )
    chosen = field_filter(only(b"subject", b"from", text=Text.HEADER_FIELDS_NOT))
    assert expected == chosen(HEADER)
