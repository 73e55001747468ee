import time

import pytest

from mailstead.message import header as fields
from mailstead.message.surrogate import surrogate


@pytest.mark.rfc("6856 section 2.1")
@pytest.mark.parametrize(
    ("subject", "text"),
    [
        ("Grüße aus Köln", "Grüße aus Köln"),
        ("日本語" * 40, "日本語" * 40),
        ("Frau Jörg Müller aus Ulm", "Frau Jörg Müller aus Ulm"),
        ("é à  ö x ü", "é à  ö x ü"),
    ],
)
def test_headers_in_ascii(subject, text):
    header = f"Subject: {subject}\r\nTo: bob@example.org\r\n\r\n".encode()
    sent = surrogate(header)
    assert sent.isascii()
    assert fields.decode(fields.get(sent, "Subject") or b"") == text
    assert sent.endswith(b"\r\nTo: bob@example.org\r\n\r\n")
    assert all(len(word) <= 75 for word in sent.split())


def test_octets_of_no_charset():
    """Programs guess; an encoded-word of an unknown charset they would show as it is."""
    assert surrogate(b"X: =?x?Q?a\xff?= \xc3\xa4\r\n") == b"X: =?x?Q?a\xff?= \xc3\xa4\r\n"
    assert surrogate(b"X: a\xff b \xc3\xa4\r\n") == b"X: a\xff b =?UTF-8?B?w6Q=?=\r\n"
    assert surrogate(b"X: a\r\n") == b"X: a\r\n"


def test_it_takes_no_more_than_linear_time() -> None:
    word, many = b"x" * 2_000_000, "é ".encode() * 500_000
    began = time.process_time()
    assert surrogate(b"X: " + word + b" \xff") == b"X: " + word + b" \xff"
    assert surrogate(many).isascii()
    assert time.process_time() - began < 10
