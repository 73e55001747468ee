"""Charsets: what is known, and that nothing else is ever looked up."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailstead.message.charset import decode_text, known

KNOWN = """
utf-8 UTF8 us-ascii iso-8859-1 ISO_8859-15 latin1 windows-1252 cp1251 koi8-r gb2312 GBK gb18030 big5
shift_jis x-sjis iso-2022-jp euc-kr ks_c_5601-1987 tis-620 utf-16 utf-7 macintosh
"""
NO_CHARSETS = """
zlib base64 bz2 hex rot13 rot_13 uu quopri idna punycode unicode_escape raw_unicode_escape undefined
mbcs oem charmap string-escape os __init__ aliases ../x - utf-88
"""
HARD = "us-ascii utf-8 utf-7 utf-16 utf-32 cp1252 iso-2022-jp hz gb18030 johab cp864 x"


@pytest.mark.rfc("9051 section 6.4.4")
@pytest.mark.parametrize("charset", KNOWN.split())
def test_known(charset):
    assert known(charset)


@pytest.mark.parametrize("charset", [*NO_CHARSETS.split(), "", "utf-8" * 1000, "\ud800"])
def test_unknown(charset):
    assert not known(charset)


@pytest.mark.parametrize(
    ("data", "charset", "expected"),
    [
        (b"abc", "us-ascii", "abc"),
        ("ü".encode(), "us-ascii", "ü"),
        (b"\xfc", "us-ascii", "ü"),
        (b"\x93x\x94", "iso-8859-1", "“x”"),  # windows-1252 under another name
        (b"\x81\xe9", "iso-8859-1", "\x81é"),
        (b"\xa4", "iso-8859-15", "€"),
        (b"\xc3\xbc", "shift_jis", "ﾃｼ"),
        (b"\xe2\x82\xac", "euc-kr", "€"),  # not what it says it is
        (b"\xff\xfea\0", "utf-16", "a"),
        (b"a\0b", "utf-8", "ab"),
        (b"x\x9c", "zlib", "xœ"),
        (b"+2AA-", "utf-7", "\ufffd"),  # a lone surrogate
        (b"\x1b$B\xff", "iso-2022-jp", None),
        (b"", "nonsense", ""),
    ],
)
def test_decode_text(data, charset, expected):
    text = decode_text(data, charset)
    text.encode("utf-8")
    assert text == (text if expected is None else expected)


@given(st.binary(max_size=60), st.sampled_from(HARD.split()))
@settings(deadline=None)
def test_any_octets_give_text_that_can_be_stored(data, charset):
    text = decode_text(data, charset)
    assert "\0" not in text
    assert text.encode("utf-8").decode("utf-8") == text
