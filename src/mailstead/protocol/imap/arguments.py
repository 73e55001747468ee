"""Arguments that commands of several groups have: names, flags, words (RFC 3501 section 9)."""

import re
import unicodedata
from collections.abc import Iterator
from typing import TypeVar

from mailstead.model.flags import parse_flags
from mailstead.model.mailbox import DELIMITER, NAME_LIMIT, normalise_name
from mailstead.protocol.imap import utf7
from mailstead.protocol.imap.commands import (
    Result,
    Return,
    Selection,
    SortKey,
    StatusItem,
    Threading,
)
from mailstead.protocol.imap.lexer import BadSyntax, Lexer, Unacceptable

TAG_LIMIT = 255  # octets
TAG = rb'([^\x00-\x20\x7f-\xff(){%%*"\\+]{1,%d})' % TAG_LIMIT  # a group of a pattern

_NOT_IN_NAMES = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")

Word = TypeVar("Word", Return, Selection, StatusItem, Result, SortKey, Threading)


def mailbox_name(lexer: Lexer) -> str:
    """A mailbox name, decoded and normalised."""
    name = decode_name(lexer.astring(), lexer.enabled.utf8)
    if not name:
        raise BadSyntax("An empty mailbox name")
    return normalise_name(name)


def new_mailbox_name(lexer: Lexer) -> str:
    """A name to come into being; a delimiter at its end says nothing (RFC 3501 section 6.3.3)."""
    name = mailbox_name(lexer).rstrip(DELIMITER)
    if not name:
        raise BadSyntax("An empty mailbox name")
    if not unicodedata.is_normalized("NFC", name):  # RFC 9051 section 5.1
        raise Unacceptable("CANNOT", "The name is not in Unicode Normalization Form C")
    return name


def decode_name(octets: bytes, utf8: bool) -> str:
    """A name in UTF-8 as text, or if that is not enabled in modified UTF-7, if it can be that.

    RFC 3501 section 5.1.3, RFC 6855 section 3.
    """
    as_utf8 = utf8 or not octets.isascii()
    try:
        name = octets.decode("utf-8") if as_utf8 else utf7.decode(octets)
    except ValueError:
        kind = "UTF-8" if as_utf8 else "modified UTF-7"
        raise BadSyntax(f"The mailbox name is not {kind}") from None
    if len(name) > NAME_LIMIT or _NOT_IN_NAMES.search(name):
        raise BadSyntax("The mailbox name is too long or has control characters")
    return name


def flags(names: list[str]) -> tuple[int, str]:
    """Flags in the form of model.flags."""
    try:
        return parse_flags(names)
    except ValueError as error:
        raise BadSyntax(str(error)) from None


def utf8(octets: bytes) -> str:
    """The octets as text."""
    try:
        return octets.decode("utf-8")
    except ValueError:
        raise BadSyntax("Not UTF-8") from None


def one_of(octets: bytes, kind: type[Word]) -> Word:
    """The word as one of a kind."""
    try:
        return kind(octets.decode("ascii"))
    except ValueError:
        raise BadSyntax(f"Unknown option for {kind.__name__.upper()}") from None


def list_of(lexer: Lexer, kind: type[Word]) -> list[Word]:
    """Words between parentheses, perhaps none."""
    lexer.expect(b"(")
    found: list[Word] = []
    while not lexer.accept(b")"):
        if found:
            lexer.space()
        found.append(one_of(lexer.keyword(), kind))
    return found


def modifiers(lexer: Lexer) -> Iterator[bytes]:
    """The words between parentheses, if they follow (RFC 4466 section 2); arguments are read
    by who asks for the words."""
    if not lexer.accept(b" "):
        return
    lexer.expect(b"(")
    yield lexer.keyword()
    while lexer.accept(b" "):
        yield lexer.keyword()
    lexer.expect(b")")
