"""Commands about access control lists (RFC 4314 section 7) and annotations (RFC 5464 section 5)."""

from collections.abc import Callable

from mailstead.protocol import sasl
from mailstead.protocol.imap import acl, metadata
from mailstead.protocol.imap.arguments import mailbox_name, utf8
from mailstead.protocol.imap.commands import Command, Tag
from mailstead.protocol.imap.lexer import BadSyntax, Lexer

IDENTIFIER_LIMIT = 400  # octets; an address has at most 320
ENTRIES_LIMIT = 100  # of one command


def _set_acl(tag: Tag, lexer: Lexer) -> Command:
    mailbox = mailbox_name(lexer)
    lexer.space()
    identifier, _ = _identifier(lexer)
    lexer.space()
    try:
        change, rights = acl.parse_change(utf8(lexer.astring()))
    except ValueError as error:
        raise BadSyntax(str(error)) from None
    return acl.SetAcl(tag, mailbox, identifier, change, rights)


def _delete_acl(tag: Tag, lexer: Lexer) -> Command:
    mailbox = mailbox_name(lexer)
    lexer.space()
    return acl.DeleteAcl(tag, mailbox, _identifier(lexer)[0])


def _list_rights(tag: Tag, lexer: Lexer) -> Command:
    mailbox = mailbox_name(lexer)
    lexer.space()
    return acl.ListRights(tag, mailbox, *_identifier(lexer))


def _get_acl(tag: Tag, lexer: Lexer) -> Command:
    return acl.GetAcl(tag, mailbox_name(lexer))


def _my_rights(tag: Tag, lexer: Lexer) -> Command:
    return acl.MyRights(tag, mailbox_name(lexer))


def _identifier(lexer: Lexer) -> tuple[str, bytes]:
    """The identifier prepared as a login is, and as it was said (RFC 4314 section 3)."""
    said = lexer.astring()
    try:
        identifier = sasl.normalise_login(sasl.field(said))
    except ValueError:
        identifier = ""
    if not identifier or len(said) > IDENTIFIER_LIMIT:
        raise BadSyntax("That is no identifier")
    return identifier, said


# ---------------------------------------------------------------------- annotations


def _get_metadata(tag: Tag, lexer: Lexer) -> Command:
    """Options stand before the mailbox in the grammar, and behind it in the examples."""
    options = _options(lexer) if lexer.at(b"(") else None
    if options is not None:
        lexer.space()
    mailbox = _mailbox_or_server(lexer)
    lexer.space()
    if options is None and lexer.at(b"(") and not lexer.at(b"(/") and not lexer.at(b'("'):
        options = _options(lexer)
        lexer.space()
    return metadata.GetMetadata(tag, mailbox, entries(lexer), *(options or ()))


def _options(lexer: Lexer) -> tuple[int | None, int]:
    max_size, depth = None, 0
    lexer.expect(b"(")
    while True:
        word = lexer.keyword()
        lexer.space()
        if word == b"MAXSIZE":
            max_size = lexer.number()
        elif word == b"DEPTH":
            depth = _depth(lexer)
        else:
            raise BadSyntax("Unknown option")
        if lexer.accept(b")"):
            return max_size, depth
        lexer.space()


def _depth(lexer: Lexer) -> int:
    depths = {b"0": 0, b"1": 1, b"INFINITY": metadata.INFINITE}
    depth = depths.get(lexer.keyword())
    if depth is None:
        raise BadSyntax("Unknown depth")
    return depth


def entries(lexer: Lexer) -> tuple[str, ...]:
    """One entry, or several between parentheses."""
    if not lexer.accept(b"("):
        return (_entry(lexer),)
    found = [_entry(lexer)]
    while not lexer.accept(b")"):
        lexer.space()
        found.append(_entry(lexer))
        if len(found) > ENTRIES_LIMIT:
            raise BadSyntax(f"More than {ENTRIES_LIMIT} entries")
    return tuple(dict.fromkeys(found))


def _entry(lexer: Lexer) -> str:
    try:
        return metadata.parse_entry(utf8(lexer.astring()))
    except ValueError as error:
        raise BadSyntax(str(error)) from None


def _set_metadata(tag: Tag, lexer: Lexer) -> Command:
    mailbox = _mailbox_or_server(lexer)
    lexer.expect(b" (")
    values: dict[str, bytes | None] = {}
    while True:
        entry = _entry(lexer)
        if not metadata.is_complete(entry):
            raise BadSyntax("That entry can have no value")
        lexer.space()
        values[entry] = lexer.string() if lexer.accept(b"~") else lexer.nstring()
        if len(values) > ENTRIES_LIMIT:
            raise BadSyntax(f"More than {ENTRIES_LIMIT} entries")
        if lexer.accept(b")"):
            return metadata.SetMetadata(tag, mailbox, tuple(values.items()))
        lexer.space()


def _mailbox_or_server(lexer: Lexer) -> str:
    if lexer.accept(b'""'):
        return ""
    return mailbox_name(lexer)


ON_SHARING: dict[bytes, Callable[[Tag, Lexer], Command]] = {
    b"SETACL": _set_acl,
    b"DELETEACL": _delete_acl,
    b"GETACL": _get_acl,
    b"LISTRIGHTS": _list_rights,
    b"MYRIGHTS": _my_rights,
    b"GETMETADATA": _get_metadata,
    b"SETMETADATA": _set_metadata,
}
