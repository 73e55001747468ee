"""One whole command into its value (RFC 3501 section 9: command).

Raises BadSyntax, or Unacceptable where a NO with a response code is due; the server catches both.
Whether a command is allowed in the state of the session is the session's to judge.
"""

import binascii
import re
from collections.abc import Callable, Sequence

from mailstead.model.mailbox import normalise_name
from mailstead.protocol.imap import commands
from mailstead.protocol.imap.arguments import (
    TAG,
    decode_name,
    list_of,
    mailbox_name,
    modifiers,
    new_mailbox_name,
    one_of,
    utf8,
)
from mailstead.protocol.imap.commands import (
    Command,
    Resync,
    Return,
    Selection,
    StatusItem,
    Tag,
)
from mailstead.protocol.imap.lexer import NOTHING, BadSyntax, Enabled, Lexer
from mailstead.protocol.imap.notify import parse_notify
from mailstead.protocol.imap.on_messages import ON_MESSAGES
from mailstead.protocol.imap.on_sharing import ON_SHARING, entries

ID_LIMIT = 30  # pairs, and octets of a name (RFC 2971 section 3.3)
ID_VALUE_LIMIT = 1024  # octets
TAGS_LIMIT = 100  # of one CANCELUPDATE
PATTERNS_LIMIT = 100  # patterns of one LIST

_HEAD = re.compile(TAG + rb" ([A-Za-z]+)")
_TAG_ALONE = re.compile(TAG + rb"(?: |\Z)")

_IMPLIED = {
    Selection.SUBSCRIBED: Return.SUBSCRIBED,  # RFC 5258 section 3.1
    Selection.SPECIAL_USE: Return.SPECIAL_USE,  # RFC 6154 section 2
}


def parse_command(
    text: bytes, literals: Sequence[bytes] = (), enabled: Enabled = NOTHING
) -> Command:
    """The command in the text, with LITERAL_MARK where each literal stood."""
    head = _HEAD.match(text)
    if head is None:
        raise BadSyntax("Expected a tag and a command")
    tag, verb = head[1], head[2].upper()
    lexer = Lexer(text, literals, head.end(), enabled)
    command = _parse_arguments(tag, verb, lexer)
    lexer.end()
    return command


def find_tag(text: bytes) -> Tag:
    """The tag that the text begins with, empty if there is none to be seen."""
    match = _TAG_ALONE.match(text)
    return match[1] if match else b""


def parse_base64(text: bytes) -> bytes:
    """The octets of one SASL message; ValueError if it is no base64 (RFC 4648 section 4)."""
    return binascii.a2b_base64(text, strict_mode=True) if text else b""


def _parse_arguments(tag: Tag, verb: bytes, lexer: Lexer) -> Command:
    if verb == b"UID":
        lexer.space()
        parse_selected = ON_MESSAGES.get(lexer.keyword())
        if parse_selected is None:
            raise BadSyntax("Unknown UID command")
        return parse_selected(tag, lexer, True)
    if parse_selected := ON_MESSAGES.get(verb):
        if verb not in (b"EXPUNGE", b"ESEARCH"):
            lexer.needs_seqnums()
        return parse_selected(tag, lexer, False)
    if make := _WITHOUT_ARGUMENTS.get(verb):
        return make(tag)
    if make_named := _WITH_MAILBOX.get(verb):
        lexer.space()
        return make_named(tag, mailbox_name(lexer))
    parse = _OTHERS.get(verb)
    if parse is None:
        raise BadSyntax("Unknown command")
    lexer.space()
    return parse(tag, lexer)


def _id(tag: Tag, lexer: Lexer) -> Command:
    parameters: dict[str, str | None] = {}
    if not lexer.accept_word(b"NIL"):
        lexer.expect(b"(")
        while not lexer.accept(b")"):
            if parameters:
                lexer.space()
            name, value = _id_pair(lexer)
            parameters[name] = value
            if len(parameters) > ID_LIMIT:
                raise BadSyntax(f"More than {ID_LIMIT} parameters")
    return commands.Id(tag, tuple(parameters.items()))


def _id_pair(lexer: Lexer) -> tuple[str, str | None]:
    name = lexer.string()
    lexer.space()
    value = lexer.nstring()
    if len(name) > ID_LIMIT or len(value or b"") > ID_VALUE_LIMIT:
        raise BadSyntax("A parameter is too long")
    return utf8(name).lower(), None if value is None else utf8(value)


def _authenticate(tag: Tag, lexer: Lexer) -> Command:
    mechanism = lexer.atom().decode("ascii").upper()
    initial = None
    if lexer.accept(b" "):
        # RFC 4959 section 3: "=" alone is an initial response of no octets.
        encoded = lexer.text[lexer.position :]
        lexer.position = len(lexer.text)
        try:
            initial = parse_base64(b"" if encoded == b"=" else encoded or b"!")
        except ValueError:
            raise BadSyntax("The initial response is not base64") from None
    return commands.Authenticate(tag, mechanism, initial)


def _login(tag: Tag, lexer: Lexer) -> Command:
    user = utf8(lexer.astring())
    lexer.space()
    return commands.Login(tag, user, utf8(lexer.astring()))


def _create(tag: Tag, lexer: Lexer) -> Command:
    """CREATE, perhaps with (USE (\\Archive)) (RFC 6154 section 3)."""
    mailbox = new_mailbox_name(lexer)
    uses: list[str] = []
    for word in modifiers(lexer):
        if word != b"USE" or uses:
            raise BadSyntax("Unknown parameter")
        lexer.space()
        uses = lexer.flag_list()
    return commands.Create(tag, mailbox, tuple(uses))


def _compress(tag: Tag, lexer: Lexer) -> Command:
    return commands.Compress(tag, lexer.keyword().decode("ascii"))


def _get_quota(tag: Tag, lexer: Lexer) -> Command:
    return commands.GetQuota(tag, utf8(lexer.astring()))


def _rename(tag: Tag, lexer: Lexer) -> Command:
    mailbox = mailbox_name(lexer)
    lexer.space()
    return commands.Rename(tag, mailbox, new_mailbox_name(lexer))


def _select(tag: Tag, lexer: Lexer) -> Command:
    return commands.Select(tag, mailbox_name(lexer), *_select_parameters(lexer))


def _examine(tag: Tag, lexer: Lexer) -> Command:
    return commands.Examine(tag, mailbox_name(lexer), *_select_parameters(lexer))


def _select_parameters(lexer: Lexer) -> tuple[bool, Resync | None]:
    """CONDSTORE and QRESYNC (RFC 7162 sections 3.1.8 and 3.2.5)."""
    condstore, resync = False, None
    for word in modifiers(lexer):
        if word == b"CONDSTORE":
            condstore = True
        elif word == b"QRESYNC" and resync is None:
            lexer.expect(b" (")
            resync = _resync(lexer)
        else:
            raise BadSyntax("Unknown parameter")
    return condstore, resync


def _resync(lexer: Lexer) -> Resync:
    uidvalidity = lexer.nz_number()
    lexer.space()
    modseq = lexer.modseq(least=1)
    known, match = None, None
    if lexer.at(b" ") and not lexer.at(b" ("):
        lexer.space()
        known = lexer.numset()
    if lexer.accept(b" ("):
        lexer.needs_seqnums()
        seqnums = lexer.numset()
        lexer.space()
        match = (seqnums, lexer.numset())
        lexer.expect(b")")
    lexer.expect(b")")
    return Resync(uidvalidity, modseq, known, match)


def _enable(tag: Tag, lexer: Lexer) -> Command:
    names = [lexer.atom()]
    while lexer.accept(b" "):
        names.append(lexer.atom())
    return commands.Enable(tag, tuple(name.decode("ascii").upper() for name in names))


def _list(tag: Tag, lexer: Lexer) -> Command:
    """LIST with the extensions of RFC 5258 section 6."""
    selection: list[Selection] = []
    extended = lexer.at(b"(")
    if extended:
        selection = list_of(lexer, Selection)
        lexer.space()
    reference = decode_name(lexer.astring(), lexer.enabled.utf8)
    lexer.space()
    extended = extended or lexer.at(b"(")
    patterns = _patterns(lexer)
    returns: set[Return] = set()
    status: list[StatusItem] = []
    named: tuple[str, ...] = ()
    if lexer.accept(b" "):
        extended = True
        returns, status, named = _returns(lexer)
    returns |= _implied(selection)
    return commands.List(
        tag,
        normalise_name(reference),
        patterns,
        frozenset(selection),
        frozenset(returns),
        tuple(status),
        extended,
        named,
    )


def _patterns(lexer: Lexer) -> tuple[str, ...]:
    if not lexer.accept(b"("):
        return (_pattern(lexer),)
    patterns = [_pattern(lexer)]
    while lexer.accept(b" "):
        patterns.append(_pattern(lexer))
    lexer.expect(b")")
    if len(patterns) > PATTERNS_LIMIT:
        raise BadSyntax(f"More than {PATTERNS_LIMIT} patterns")
    return tuple(patterns)


def _pattern(lexer: Lexer) -> str:
    return normalise_name(decode_name(lexer.list_mailbox(), lexer.enabled.utf8))


def _returns(lexer: Lexer) -> tuple[set[Return], list[StatusItem], tuple[str, ...]]:
    if not lexer.accept_word(b"RETURN"):
        raise BadSyntax("Expected RETURN")
    lexer.expect(b" (")
    returns: set[Return] = set()
    status: list[StatusItem] = []
    named: tuple[str, ...] = ()
    while not lexer.accept(b")"):
        if returns:
            lexer.space()
        option = one_of(lexer.keyword(), Return)
        returns.add(option)
        if option is Return.STATUS:  # RFC 5819 section 2
            lexer.space()
            status = _status_items(lexer)
        elif option is Return.METADATA:  # RFC 9590 section 5
            lexer.expect(b" ")
            named = entries(lexer)
    return returns, status, named


def _implied(selection: list[Selection]) -> set[Return]:
    if Selection.RECURSIVEMATCH in selection and Selection.SUBSCRIBED not in selection:
        raise BadSyntax("RECURSIVEMATCH needs SUBSCRIBED")
    return {_IMPLIED[option] for option in selection if option in _IMPLIED}


def _lsub(tag: Tag, lexer: Lexer) -> Command:
    reference = normalise_name(decode_name(lexer.astring(), lexer.enabled.utf8))
    lexer.space()
    return commands.Lsub(tag, reference, _pattern(lexer))


def _status(tag: Tag, lexer: Lexer) -> Command:
    mailbox = mailbox_name(lexer)
    lexer.space()
    return commands.Status(tag, mailbox, tuple(_status_items(lexer)))


def _status_items(lexer: Lexer) -> list[StatusItem]:
    items = list_of(lexer, StatusItem)
    if not items:
        raise BadSyntax("Expected a STATUS item")
    return list(dict.fromkeys(items))


def _cancel_update(tag: Tag, lexer: Lexer) -> Command:
    tags = [lexer.string()]
    while lexer.accept(b" "):
        tags.append(lexer.string())
    if len(tags) > TAGS_LIMIT:
        raise BadSyntax(f"More than {TAGS_LIMIT} tags")
    return commands.CancelUpdate(tag, tuple(tags))


def _append(tag: Tag, lexer: Lexer) -> Command:
    raise BadSyntax("APPEND needs a message as a literal")


_WITHOUT_ARGUMENTS: dict[bytes, Callable[[Tag], Command]] = {
    b"CAPABILITY": commands.Capability,
    b"NOOP": commands.Noop,
    b"LOGOUT": commands.Logout,
    b"STARTTLS": commands.StartTls,
    b"NAMESPACE": commands.Namespace,
    b"UNAUTHENTICATE": commands.Unauthenticate,
    b"IDLE": commands.Idle,
    b"CHECK": commands.Check,
    b"CLOSE": commands.Close,
    b"UNSELECT": commands.Unselect,
}
_WITH_MAILBOX: dict[bytes, Callable[[Tag, str], Command]] = {
    b"DELETE": commands.Delete,
    b"GETQUOTAROOT": commands.GetQuotaRoot,
    b"SUBSCRIBE": commands.Subscribe,
    b"UNSUBSCRIBE": commands.Unsubscribe,
}
_OTHERS: dict[bytes, Callable[[Tag, Lexer], Command]] = {
    b"ID": _id,
    b"AUTHENTICATE": _authenticate,
    b"LOGIN": _login,
    b"SELECT": _select,
    b"EXAMINE": _examine,
    b"CANCELUPDATE": _cancel_update,
    b"ENABLE": _enable,
    b"NOTIFY": parse_notify,
    b"COMPRESS": _compress,
    b"GETQUOTA": _get_quota,
    b"CREATE": _create,
    b"RENAME": _rename,
    b"LIST": _list,
    b"LSUB": _lsub,
    b"STATUS": _status,
    b"APPEND": _append,
    **ON_SHARING,
}
