"""Commands about sharing mailboxes: access control lists (RFC 4314 section 7)."""

from collections.abc import Callable

from mailstead.protocol import sasl
from mailstead.protocol.imap import acl
from mailstead.protocol.imap.arguments import mailbox_name, utf8
from mailstead.protocol.imap.commands import Command, Tag
from mailstead.protocol.imap.lexer import BadSyntax, Lexer

IDENTIFIER_LIMIT = 400  # octets; an address has at most 320


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


ON_SHARING: dict[bytes, Callable[[Tag, Lexer], Command]] = {
    b"SETACL": _set_acl,
    b"DELETEACL": _delete_acl,
    b"GETACL": _get_acl,
    b"LISTRIGHTS": _list_rights,
    b"MYRIGHTS": _my_rights,
}
