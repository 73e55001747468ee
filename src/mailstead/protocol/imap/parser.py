"""One whole command into its value (RFC 3501 section 9: command).

Raises BadSyntax, or Unacceptable where a NO with a response code is due; the server catches both.
Whether a command is allowed in the state of the session is the session's to judge.
"""

import binascii
import re
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from mailstead.model.flags import parse_flags
from mailstead.model.mailbox import DELIMITER, NAME_LIMIT, normalise_name
from mailstead.protocol.imap import commands, utf7
from mailstead.protocol.imap.commands import (
    Command,
    Result,
    Resync,
    Return,
    Selection,
    SortBy,
    SortKey,
    StatusItem,
    StoreMode,
    Tag,
    Threading,
    Wanted,
)
from mailstead.protocol.imap.fetch import Attribute, parse_items
from mailstead.protocol.imap.lexer import BadSyntax, Lexer
from mailstead.protocol.imap.search import parse_program, parse_program_in_charset

TAG_LIMIT = 255  # octets
ID_LIMIT = 30  # pairs, and octets of a name (RFC 2971 section 3.3)
ID_VALUE_LIMIT = 1024  # octets
PATTERNS_LIMIT = 100  # patterns of one LIST
CRITERIA_LIMIT = 20  # of one SORT

_TAG = rb'([^\x00-\x20\x7f-\xff(){%%*"\\+]{1,%d})' % TAG_LIMIT
_HEAD = re.compile(_TAG + rb" ([A-Za-z]+)")
_TAG_ALONE = re.compile(_TAG + rb"(?: |\Z)")
_APPEND_MESSAGE = re.compile(_TAG + rb" APPEND (?=.)", re.IGNORECASE | re.DOTALL)
_NOT_IN_NAMES = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")

_IMPLIED = {
    Selection.SUBSCRIBED: Return.SUBSCRIBED,  # RFC 5258 section 3.1
    Selection.SPECIAL_USE: Return.SPECIAL_USE,  # RFC 6154 section 2
}

Word = TypeVar("Word", Return, Selection, StatusItem, Result, SortKey, Threading)


def parse_command(text: bytes, literals: Sequence[bytes] = ()) -> Command:
    """The command in the text, with LITERAL_MARK where each literal stood."""
    head = _HEAD.match(text)
    if head is None:
        raise BadSyntax("Expected a tag and a command")
    tag, verb = head[1], head[2].upper()
    lexer = Lexer(text, literals, head.end())
    command = _parse_arguments(tag, verb, lexer)
    lexer.end()
    return command


def find_tag(text: bytes) -> Tag:
    """The tag that the text begins with, empty if there is none to be seen."""
    match = _TAG_ALONE.match(text)
    return match[1] if match else b""


def announces_message(text: bytes | bytearray) -> bool:
    """Whether a literal that follows this text is the message of an APPEND, not its mailbox."""
    return _APPEND_MESSAGE.match(text) is not None


def parse_append(text: bytes, literals: Sequence[bytes], size: int) -> commands.Append:
    """APPEND up to its message literal of that size (RFC 3501 section 6.3.11)."""
    head = _APPEND_MESSAGE.match(text)
    if head is None:
        raise BadSyntax("Expected APPEND")
    lexer = Lexer(text, literals, head.end())
    mailbox = _mailbox(lexer)
    lexer.space()
    system, keywords = 0, ""
    if lexer.at(b"("):
        system, keywords = _flags(lexer.flag_list())
        lexer.space()
    moment = None
    if lexer.at(b'"'):
        moment = lexer.moment()
        lexer.space()
    lexer.end()
    return commands.Append(head[1], mailbox, system, keywords, moment, size)


def parse_base64(text: bytes) -> bytes:
    """The octets of one SASL message; ValueError if it is no base64 (RFC 4648 section 4)."""
    return binascii.a2b_base64(text, strict_mode=True) if text else b""


def _parse_arguments(tag: Tag, verb: bytes, lexer: Lexer) -> Command:
    if verb == b"UID":
        lexer.space()
        parse_selected = _ON_MESSAGES.get(lexer.keyword())
        if parse_selected is None:
            raise BadSyntax("Unknown UID command")
        return parse_selected(tag, lexer, True)
    if parse_selected := _ON_MESSAGES.get(verb):
        return parse_selected(tag, lexer, False)
    if make := _WITHOUT_ARGUMENTS.get(verb):
        return make(tag)
    if make_named := _WITH_MAILBOX.get(verb):
        lexer.space()
        return make_named(tag, _mailbox(lexer))
    parse = _OTHERS.get(verb)
    if parse is None:
        raise BadSyntax("Unknown command")
    lexer.space()
    return parse(tag, lexer)


def _mailbox(lexer: Lexer) -> str:
    name = _decode_name(lexer.astring())
    if not name:
        raise BadSyntax("An empty mailbox name")
    return normalise_name(name)


def _new_mailbox(lexer: Lexer) -> str:
    """A name to come into being; a delimiter at its end says nothing (RFC 3501 section 6.3.3)."""
    name = _mailbox(lexer).rstrip(DELIMITER)
    if not name:
        raise BadSyntax("An empty mailbox name")
    return name


def _decode_name(octets: bytes) -> str:
    try:
        name = utf7.decode(octets) if octets.isascii() else octets.decode("utf-8")
    except ValueError:
        raise BadSyntax("The mailbox name is not modified UTF-7") from None
    if len(name) > NAME_LIMIT or _NOT_IN_NAMES.search(name):
        raise BadSyntax("The mailbox name is too long or has control characters")
    return name


def _flags(names: list[str]) -> tuple[int, str]:
    try:
        return parse_flags(names)
    except ValueError as error:
        raise BadSyntax(str(error)) from None


def _utf8(octets: bytes) -> str:
    try:
        return octets.decode("utf-8")
    except ValueError:
        raise BadSyntax("Not UTF-8") from None


def _word(octets: bytes, kind: type[Word]) -> Word:
    try:
        return kind(octets.decode("ascii"))
    except ValueError:
        raise BadSyntax(f"Unknown option for {kind.__name__.upper()}") from None


def _words(lexer: Lexer, kind: type[Word]) -> list[Word]:
    """Words between parentheses, perhaps none."""
    lexer.expect(b"(")
    found: list[Word] = []
    while not lexer.accept(b")"):
        if found:
            lexer.space()
        found.append(_word(lexer.keyword(), kind))
    return found


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
    return _utf8(name).lower(), None if value is None else _utf8(value)


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
    user = _utf8(lexer.astring())
    lexer.space()
    return commands.Login(tag, user, _utf8(lexer.astring()))


def _create(tag: Tag, lexer: Lexer) -> Command:
    """CREATE, perhaps with (USE (\\Archive)) (RFC 6154 section 3)."""
    mailbox = _new_mailbox(lexer)
    uses: list[str] = []
    for word in _modifiers(lexer):
        if word != b"USE" or uses:
            raise BadSyntax("Unknown parameter")
        lexer.space()
        uses = lexer.flag_list()
    return commands.Create(tag, mailbox, tuple(uses))


def _compress(tag: Tag, lexer: Lexer) -> Command:
    return commands.Compress(tag, lexer.keyword().decode("ascii"))


def _get_quota(tag: Tag, lexer: Lexer) -> Command:
    return commands.GetQuota(tag, _utf8(lexer.astring()))


def _rename(tag: Tag, lexer: Lexer) -> Command:
    mailbox = _mailbox(lexer)
    lexer.space()
    return commands.Rename(tag, mailbox, _new_mailbox(lexer))


def _select(tag: Tag, lexer: Lexer) -> Command:
    return commands.Select(tag, _mailbox(lexer), *_select_parameters(lexer))


def _examine(tag: Tag, lexer: Lexer) -> Command:
    return commands.Examine(tag, _mailbox(lexer), *_select_parameters(lexer))


def _select_parameters(lexer: Lexer) -> tuple[bool, Resync | None]:
    """CONDSTORE and QRESYNC (RFC 7162 sections 3.1.8 and 3.2.5)."""
    condstore, resync = False, None
    for word in _modifiers(lexer):
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
        selection = _words(lexer, Selection)
        lexer.space()
    reference = _decode_name(lexer.astring())
    lexer.space()
    extended = extended or lexer.at(b"(")
    patterns = _patterns(lexer)
    returns: set[Return] = set()
    status: list[StatusItem] = []
    if lexer.accept(b" "):
        extended = True
        returns, status = _returns(lexer)
    returns |= _implied(selection)
    return commands.List(
        tag,
        normalise_name(reference),
        patterns,
        frozenset(selection),
        frozenset(returns),
        tuple(status),
        extended,
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
    return normalise_name(_decode_name(lexer.list_mailbox()))


def _returns(lexer: Lexer) -> tuple[set[Return], list[StatusItem]]:
    if not lexer.accept_word(b"RETURN"):
        raise BadSyntax("Expected RETURN")
    lexer.expect(b" (")
    returns: set[Return] = set()
    status: list[StatusItem] = []
    while not lexer.accept(b")"):
        if returns:
            lexer.space()
        option = _word(lexer.keyword(), Return)
        returns.add(option)
        if option is Return.STATUS:  # RFC 5819 section 2
            lexer.space()
            status = _status_items(lexer)
    return returns, status


def _implied(selection: list[Selection]) -> set[Return]:
    if Selection.RECURSIVEMATCH in selection and Selection.SUBSCRIBED not in selection:
        raise BadSyntax("RECURSIVEMATCH needs SUBSCRIBED")
    return {_IMPLIED[option] for option in selection if option in _IMPLIED}


def _lsub(tag: Tag, lexer: Lexer) -> Command:
    reference = normalise_name(_decode_name(lexer.astring()))
    lexer.space()
    return commands.Lsub(tag, reference, _pattern(lexer))


def _status(tag: Tag, lexer: Lexer) -> Command:
    mailbox = _mailbox(lexer)
    lexer.space()
    return commands.Status(tag, mailbox, tuple(_status_items(lexer)))


def _status_items(lexer: Lexer) -> list[StatusItem]:
    items = _words(lexer, StatusItem)
    if not items:
        raise BadSyntax("Expected a STATUS item")
    return list(dict.fromkeys(items))


def _append(tag: Tag, lexer: Lexer) -> Command:
    raise BadSyntax("APPEND needs a message as a literal")


def _expunge(tag: Tag, lexer: Lexer, uid: bool) -> Command:
    if not uid:
        return commands.Expunge(tag)
    lexer.space()
    return commands.UidExpunge(tag, lexer.numset())


def _search(tag: Tag, lexer: Lexer, uid: bool) -> Command:
    lexer.space()
    wanted = _wanted(lexer)
    return commands.Search(tag, parse_program(lexer), uid, wanted)


def _wanted(lexer: Lexer) -> Wanted | None:
    """RETURN (...), where nothing between them means ALL (RFC 4731 section 3.1)."""
    if not lexer.accept_word(b"RETURN"):
        return None
    lexer.expect(b" (")
    results: list[Result] = []
    partial = None
    while not lexer.accept(b")"):
        if results or partial:
            lexer.space()
        if lexer.accept_word(b"PARTIAL"):
            partial = _partial_range(lexer)
        else:
            results.append(_word(lexer.keyword(), Result))
    lexer.space()
    if partial and Result.ALL in results:  # RFC 9394 section 3.1
        raise BadSyntax("PARTIAL and ALL go not together")
    if not results and partial is None:
        results.append(Result.ALL)
    return Wanted(frozenset(results), partial)


def _partial_range(lexer: Lexer) -> tuple[int, int]:
    """`1:500` from the first on, `-1:-500` from the last back (RFC 9394 section 3.1)."""
    lexer.space()
    back = lexer.accept(b"-")
    first = lexer.nz_number()
    lexer.expect(b":-" if back else b":")
    last = lexer.nz_number()
    low, high = min(first, last), max(first, last)
    return (-low, -high) if back else (low, high)


def _sort(tag: Tag, lexer: Lexer, uid: bool) -> Command:
    lexer.space()
    wanted = _wanted(lexer)
    lexer.expect(b"(")
    criteria = [_criterion(lexer)]
    while lexer.accept(b" "):
        criteria.append(_criterion(lexer))
    lexer.expect(b") ")
    if len(criteria) > CRITERIA_LIMIT:
        raise BadSyntax(f"More than {CRITERIA_LIMIT} criteria")
    return commands.Sort(tag, tuple(criteria), parse_program_in_charset(lexer), uid, wanted)


def _criterion(lexer: Lexer) -> SortBy:
    reverse = lexer.accept_word(b"REVERSE")
    if reverse:
        lexer.space()
    return SortBy(_word(lexer.keyword(), SortKey), reverse)


def _thread(tag: Tag, lexer: Lexer, uid: bool) -> Command:
    lexer.space()
    threading = _word(lexer.keyword(), Threading)
    lexer.space()
    return commands.Thread(tag, threading, parse_program_in_charset(lexer), uid)


def _fetch(tag: Tag, lexer: Lexer, uid: bool) -> Command:
    lexer.space()
    numset = lexer.numset()
    lexer.space()
    items = parse_items(lexer)
    if uid and Attribute.UID not in items:  # RFC 3501 section 6.4.8
        items = (Attribute.UID, *items)
    since, vanished, partial = _fetch_modifiers(lexer, uid)
    if since is not None and Attribute.MODSEQ not in items:
        items = (*items, Attribute.MODSEQ)
    return commands.Fetch(tag, numset, items, uid, since, vanished, partial)


def _fetch_modifiers(lexer: Lexer, uid: bool) -> tuple[int | None, bool, tuple[int, int] | None]:
    """CHANGEDSINCE, and in UID FETCH VANISHED beside it and PARTIAL.

    RFC 7162 sections 3.1.4.1 and 3.2.6, RFC 9394 section 3.3.
    """
    since, vanished, partial = None, False, None
    for word in _modifiers(lexer):
        if word == b"CHANGEDSINCE" and since is None:
            lexer.space()
            since = lexer.modseq(least=1)
        elif word == b"VANISHED" and uid and not vanished:
            vanished = True
        elif word == b"PARTIAL" and uid and partial is None:
            partial = _partial_range(lexer)
        else:
            raise BadSyntax("Unknown FETCH modifier")
    if vanished and since is None:
        raise BadSyntax("VANISHED needs CHANGEDSINCE")
    return since, vanished, partial


def _modifiers(lexer: Lexer) -> Iterator[bytes]:
    """The words between parentheses, if they follow (RFC 4466 section 2); arguments are read
    by who asks for the words."""
    if not lexer.accept(b" "):
        return
    lexer.expect(b"(")
    yield lexer.keyword()
    while lexer.accept(b" "):
        yield lexer.keyword()
    lexer.expect(b")")


def _store(tag: Tag, lexer: Lexer, uid: bool) -> Command:
    lexer.space()
    numset = lexer.numset()
    lexer.space()
    unchanged_since = _store_modifier(lexer)
    mode = StoreMode.REPLACE
    if lexer.accept(b"+"):
        mode = StoreMode.ADD
    elif lexer.accept(b"-"):
        mode = StoreMode.REMOVE
    word = lexer.keyword()
    if word not in (b"FLAGS", b"FLAGS.SILENT"):
        raise BadSyntax("Expected FLAGS")
    lexer.space()
    system, keywords = _flags(lexer.flag_list() if lexer.at(b"(") else lexer.flags())
    silent = word != b"FLAGS"
    return commands.Store(tag, numset, mode, silent, system, keywords, uid, unchanged_since)


def _store_modifier(lexer: Lexer) -> int | None:
    """UNCHANGEDSINCE (RFC 7162 section 3.1.3)."""
    if not lexer.accept(b"("):
        return None
    if lexer.keyword() != b"UNCHANGEDSINCE":
        raise BadSyntax("Unknown STORE modifier")
    lexer.space()
    modseq = lexer.modseq()
    lexer.expect(b") ")
    return modseq


def _copy(tag: Tag, lexer: Lexer, uid: bool) -> Command:
    lexer.space()
    numset = lexer.numset()
    lexer.space()
    return commands.Copy(tag, numset, _mailbox(lexer), uid)


def _move(tag: Tag, lexer: Lexer, uid: bool) -> Command:
    lexer.space()
    numset = lexer.numset()
    lexer.space()
    return commands.Move(tag, numset, _mailbox(lexer), uid)


_WITHOUT_ARGUMENTS: dict[bytes, Callable[[Tag], Command]] = {
    b"CAPABILITY": commands.Capability,
    b"NOOP": commands.Noop,
    b"LOGOUT": commands.Logout,
    b"STARTTLS": commands.StartTls,
    b"NAMESPACE": commands.Namespace,
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
    b"ENABLE": _enable,
    b"COMPRESS": _compress,
    b"GETQUOTA": _get_quota,
    b"CREATE": _create,
    b"RENAME": _rename,
    b"LIST": _list,
    b"LSUB": _lsub,
    b"STATUS": _status,
    b"APPEND": _append,
}
_ON_MESSAGES: dict[bytes, Callable[[Tag, Lexer, bool], Command]] = {
    b"FETCH": _fetch,
    b"STORE": _store,
    b"SEARCH": _search,
    b"SORT": _sort,
    b"THREAD": _thread,
    b"COPY": _copy,
    b"MOVE": _move,
    b"EXPUNGE": _expunge,
}
