import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailstead.protocol.imap import utf7


@pytest.mark.rfc("3501 section 5.1.3")
@pytest.mark.parametrize(
    ("name", "encoded"),
    [
        ("", b""),
        ("INBOX", b"INBOX"),
        ("~peter/mail/台北/日本語", b"~peter/mail/&U,BTFw-/&ZeVnLIqe-"),
        ("Entwürfe", b"Entw&APw-rfe"),
        ("Q&A", b"Q&-A"),
        ("&", b"&-"),
        ("ü&ü", b"&APw-&-&APw-"),
        ("😀", b"&2D3eAA-"),  # a surrogate pair in UTF-16
        ("a\tb", b"a&AAk-b"),
    ],
)
def test_names(name: str, encoded: bytes) -> None:
    assert encoded == utf7.encode(name)
    assert name == utf7.decode(encoded)


@pytest.mark.rfc("3501 section 5.1.3")
@pytest.mark.parametrize(
    "encoded",
    [
        b"&U,BTFw-&ZeVnLIqe-",  # a superfluous shift
        b"&Jjo!",  # never back in US-ASCII
        b"&",
        b"a&b",
        b"&AGE-",  # "a" represents itself
        b"&ACY-",  # so does "&", as "&-"
        b"&APx-",  # bits left over
        b"&AP-",  # half a code unit
        b"&2D0-",  # half a surrogate pair
        b"&3gA-",
        b"&AP/8-",  # "/" is "," here
        b"&A-",
        b"&====-",
        b"\xc3\xbc",
        b"a\x00b",
        b"a\r\nb",
        b"\x7f",
    ],
)
def test_what_is_no_modified_utf7(encoded: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        utf7.decode(encoded)


def test_a_lone_surrogate_has_no_encoding() -> None:
    with pytest.raises(ValueError, match="surrogates not allowed"):
        utf7.encode("\ud800")


@given(st.text(st.characters(exclude_categories=["Cs"])))
@settings(deadline=None)
def test_round_trip(name: str) -> None:
    assert name == utf7.decode(utf7.encode(name))


@given(st.binary() | st.text(alphabet="&-,/+ABab09=").map(str.encode))
@settings(deadline=None)
def test_one_spelling(encoded: bytes) -> None:
    try:
        name = utf7.decode(encoded)
    except ValueError:
        return
    assert encoded == utf7.encode(name)
