"""APPEND and REPLACE up to a message, and what stands between two messages.

The message itself is a literal that is never part of the command's text: what is here is parsed
when the literal is announced (RFC 3501 section 6.3.11, RFC 3502, RFC 6855 section 4,
RFC 8508).
"""

import re
from collections.abc import Sequence

from mailstead.protocol.imap import commands
from mailstead.protocol.imap.arguments import TAG, flags, mailbox_name
from mailstead.protocol.imap.lexer import NOTHING, BadSyntax, Enabled, Lexer

_HEAD = re.compile(
    TAG + rb" (?:APPEND|(?P<uid>UID )?REPLACE (?P<number>[1-9][0-9]{0,9}|\*)) (?=.)",
    re.IGNORECASE | re.DOTALL,
)


def announces_message(text: bytes | bytearray) -> bool:
    """Whether a literal that follows this text is a message, not the name of its mailbox."""
    return _HEAD.match(text) is not None


def parse_append(
    text: bytes, literals: Sequence[bytes], size: int, enabled: Enabled = NOTHING
) -> commands.Append | commands.Replace:
    """The command up to its message literal of that size."""
    head = _HEAD.match(text)
    if head is None:
        raise BadSyntax("Expected APPEND")
    if head["number"] is None:
        lexer = Lexer(text, literals, head.end(), enabled)
        return commands.Append(head[1], mailbox_name(lexer), _new_message(lexer, size))
    lexer = Lexer(text, literals, head.start("number"), enabled)
    uid = head["uid"] is not None
    if not uid:
        lexer.needs_seqnums()
    number = lexer.numset()
    lexer.space()
    mailbox = mailbox_name(lexer)
    return commands.Replace(head[1], number, mailbox, _new_message(lexer, size), uid)


def parse_next_message(text: bytes, size: int) -> commands.NewMessage:
    """What stands between two messages of an APPEND (RFC 3502)."""
    return _new_message(Lexer(text), size)


def _new_message(lexer: Lexer, size: int) -> commands.NewMessage:
    lexer.space()
    system, keywords = 0, ""
    if lexer.at(b"("):
        system, keywords = flags(lexer.flag_list())
        lexer.space()
    moment = None
    if lexer.at(b'"'):
        moment = lexer.moment()
        lexer.space()
    extended = lexer.accept_word(b"UTF8")
    if extended:
        lexer.expect(b" (~")
    binary = lexer.accept(b"~") or extended
    lexer.end()
    return commands.NewMessage(system, keywords, moment, size, binary, extended)
