"""Octets of a named charset to text, whatever the sender claims (RFC 2046 section 4.1.2, RFC 2978).

Holds: never raises; the text has no lone surrogate and no NUL, so that any database keeps it.
Only charsets of the written-out list are ever handed to the codecs machinery, which would try to
import, and would remember for ever, any name that a peer makes up.
"""

import functools
import re
from encodings.aliases import aliases

# Codecs of Python that are charsets. Left out on purpose: base64, zlib, rot13, idna, punycode,
# unicode_escape and the like, which are no charsets and some of which expand their input.
_CHARSET_CODECS = """
ascii utf_8 utf_8_sig utf_16 utf_16_be utf_16_le utf_32 utf_32_be utf_32_le utf_7
latin_1 iso8859_1 iso8859_2 iso8859_3 iso8859_4 iso8859_5 iso8859_6 iso8859_7 iso8859_8
iso8859_9 iso8859_10 iso8859_11 iso8859_13 iso8859_14 iso8859_15 iso8859_16
cp037 cp437 cp500 cp720 cp737 cp775 cp850 cp852 cp855 cp857 cp858 cp860 cp861 cp862 cp863
cp864 cp865 cp866 cp869 cp874 cp875 cp1006 cp1026 cp1125 cp1140
cp1250 cp1251 cp1252 cp1253 cp1254 cp1255 cp1256 cp1257 cp1258
koi8_r koi8_t koi8_u kz1048 ptcp154 hp_roman8 tis_620
mac_cyrillic mac_greek mac_iceland mac_latin2 mac_roman mac_turkish
gb2312 gbk gb18030 hz big5 big5hkscs cp950
euc_jp euc_jis_2004 euc_jisx0213 shift_jis shift_jis_2004 shift_jisx0213 cp932
iso2022_jp iso2022_jp_1 iso2022_jp_2 iso2022_jp_2004 iso2022_jp_3 iso2022_jp_ext
euc_kr cp949 johab iso2022_kr
"""
_CODECS = frozenset(_CHARSET_CODECS.split())

# What senders mean: a wider charset where the narrow name is used for it, and names unknown to
# Python (the WHATWG Encoding Standard reads the first six in the same way).
_MEANT = {
    "latin_1": "cp1252",
    "iso8859_1": "cp1252",
    "iso8859_9": "cp1254",
    "iso8859_11": "cp874",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "ks_c_5601_1987": "cp949",
    "iso_8859_8_i": "iso8859_8",
    "iso_8859_8_e": "iso8859_8",
    "x_sjis": "cp932",
    "x_gbk": "gb18030",
    "x_mac_roman": "mac_roman",
    "x_mac_cyrillic": "mac_cyrillic",
    "windows_874": "cp874",
    "dos_874": "cp874",
    "unicode_1_1_utf_7": "utf_7",
    "unicode_1_1_utf_8": "utf_8",
    "utf8mb4": "utf_8",
    "x_unknown": "ascii",
    "unknown_8bit": "ascii",
    "default": "ascii",
}


def _codec_names() -> dict[str, str]:
    names = {codec: codec for codec in _CODECS}
    names |= {alias: codec for alias, codec in aliases.items() if codec in _CODECS}
    names |= {alias: _MEANT[codec] for alias, codec in names.items() if codec in _MEANT}
    return names | _MEANT


_CODEC_OF = _codec_names()
_MARKS = re.compile(r"[^A-Za-z0-9]+")
_NAME_LIMIT = 60  # octets of a charset's name


def known(charset: str) -> bool:
    """Whether text of this charset can be read (RFC 9051 section 7.1, BADCHARSET)."""
    return _codec(charset) is not None


def decode_text(data: bytes, charset: str) -> str:
    """The text as well as it can be told; undecodable octets become U+FFFD or windows-1252."""
    codec = _codec(charset)
    if codec is None or codec in ("ascii", "utf_8"):
        return _clean(_guess(data))
    try:
        text = data.decode(codec)
    except (UnicodeError, ValueError):
        text = _undeclared(data, codec)
    return _clean(text)


def _codec(charset: str) -> str | None:
    return None if len(charset) > _NAME_LIMIT else _codec_of(charset)


@functools.lru_cache(maxsize=256)
def _codec_of(charset: str) -> str | None:
    return _CODEC_OF.get(_MARKS.sub("_", charset.strip().lower()).strip("_"))


def _guess(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return _western(data)


def _western(data: bytes) -> str:
    try:
        return data.decode("cp1252")
    except UnicodeDecodeError:  # five octets have no meaning there
        return data.decode("latin-1")


def _undeclared(data: bytes, codec: str) -> str:
    """The text of data that is not what it says it is: UTF-8 if it can be, else with gaps."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        pass
    if codec == "cp1252":
        return data.decode("latin-1")
    try:
        return data.decode(codec, "replace")
    except (UnicodeError, ValueError):  # some codecs give up in spite of "replace"
        return _western(data)


def _clean(text: str) -> str:
    if "\0" in text:
        text = text.replace("\0", "")
    if text.isascii():
        return text
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:  # UTF-7 and UTF-32 can spell lone surrogates
        text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text
