"""Commands on messages: SEARCH, ESEARCH, SORT, THREAD, FETCH, STORE, COPY, MOVE, REPLACE, EXPUNGE,
each with or without the prefix UID (RFC 3501 section 6.4).
"""

from collections.abc import Callable, Sequence

from mailstead.protocol.imap import commands
from mailstead.protocol.imap.arguments import flags, mailbox_name, modifiers, one_of
from mailstead.protocol.imap.commands import (
    Command,
    Result,
    SortBy,
    SortKey,
    StoreMode,
    Tag,
    Threading,
    Wanted,
)
from mailstead.protocol.imap.fetch import Attribute, Item, parse_items
from mailstead.protocol.imap.lexer import BadSyntax, Lexer, Unacceptable
from mailstead.protocol.imap.notification import Group, Scope
from mailstead.protocol.imap.notify import GROUPS_LIMIT, NAMES_LIMIT, parse_filter
from mailstead.protocol.imap.search import Key, is_fuzzy, parse_program, parse_program_in_charset

CRITERIA_LIMIT = 20  # of one SORT


def _expunge(tag: Tag, lexer: Lexer, uid: bool) -> Command:
    if not uid:
        return commands.Expunge(tag)
    lexer.space()
    return commands.UidExpunge(tag, lexer.numset())


def _search(tag: Tag, lexer: Lexer, uid: bool) -> Command:
    lexer.space()
    wanted = _wanted(lexer, contexts=True)
    program = parse_program(lexer)
    _check_relevancy(program, wanted)
    return commands.Search(tag, program, uid, wanted)


def _check_relevancy(program: Key, wanted: Wanted | None, criteria: Sequence[SortBy] = ()) -> None:
    """RELEVANCY needs a FUZZY key (RFC 6203 sections 4 and 6)."""
    asked = wanted is not None and Result.RELEVANCY in wanted.results
    if (asked or any(by.key is SortKey.RELEVANCY for by in criteria)) and not is_fuzzy(program):
        raise BadSyntax("RELEVANCY needs a FUZZY search key")


def _multi_search(tag: Tag, lexer: Lexer, uid: bool) -> Command:
    """ESEARCH, whose answers are of UIDs in any case (RFC 7377 section 4)."""
    lexer.space()
    sources: tuple[Group, ...] = (Group(Scope.SELECTED, frozenset()),)
    if lexer.accept_word(b"IN"):
        lexer.expect(b" (")
        sources = _sources(lexer)
        lexer.expect(b") ")
    wanted = _wanted(lexer, contexts=True) or Wanted(frozenset({Result.ALL}))
    scopes = {source.scope for source in sources}
    if Result.SAVE in wanted.results and scopes != {Scope.SELECTED}:
        raise BadSyntax("SAVE is for the selected mailbox alone")
    if Result.UPDATE in wanted.results and Scope.SELECTED not in scopes:
        raise BadSyntax("UPDATE is for the selected mailbox")
    program = parse_program(lexer)
    _check_relevancy(program, wanted)
    return commands.MultiSearch(tag, sources, program, wanted)


def _sources(lexer: Lexer) -> tuple[Group, ...]:
    sources: list[Group] = []
    while not sources or lexer.accept(b" "):
        scope, names = parse_filter(lexer)
        sources.append(Group(scope, frozenset(), names))
        if scope is Scope.SELECTED_DELAYED:
            raise BadSyntax("Unknown kind of mailboxes")
        if len(sources) > GROUPS_LIMIT or sum(len(one.names) for one in sources) > NAMES_LIMIT:
            raise Unacceptable("LIMIT", "That is too much to be searched")
    return tuple(sources)


def _wanted(lexer: Lexer, contexts: bool = False) -> Wanted | None:
    """RETURN (...), where nothing between them means ALL (RFC 4731 section 3.1).

    CONTEXT and UPDATE are offered to searches only (RFC 5267: CONTEXT=SEARCH).
    """
    if not lexer.accept_word(b"RETURN"):
        return None
    lexer.expect(b" (")
    results: list[Result] = []
    partial = None
    items: tuple[Item, ...] = ()
    while not lexer.accept(b")"):
        if results or partial:
            lexer.space()
        if lexer.accept_word(b"PARTIAL"):
            partial = _partial_range(lexer)
        else:
            results.append(one_of(lexer.keyword(), Result))
        if results[-1:] == [Result.UPDATE] and lexer.at(b" ("):
            lexer.space()
            items = parse_items(lexer)
    lexer.space()
    if not contexts and {Result.CONTEXT, Result.UPDATE} & set(results):
        raise BadSyntax("Only a SEARCH can be kept up to date")
    if partial and Result.ALL in results:  # RFC 9394 section 3.1
        raise BadSyntax("PARTIAL and ALL go not together")
    if not results and partial is None:
        results.append(Result.ALL)
    return Wanted(frozenset(results), partial, items)


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
    program = parse_program_in_charset(lexer)
    _check_relevancy(program, wanted, criteria)
    return commands.Sort(tag, tuple(criteria), program, uid, wanted)


def _criterion(lexer: Lexer) -> SortBy:
    reverse = lexer.accept_word(b"REVERSE")
    if reverse:
        lexer.space()
    return SortBy(one_of(lexer.keyword(), SortKey), reverse)


def _thread(tag: Tag, lexer: Lexer, uid: bool) -> Command:
    lexer.space()
    threading = one_of(lexer.keyword(), Threading)
    lexer.space()
    return commands.Thread(tag, threading, parse_program_in_charset(lexer), uid)


def _fetch(tag: Tag, lexer: Lexer, uid: bool) -> Command:
    lexer.space()
    numset = lexer.numset()
    lexer.space()
    items = parse_items(lexer)
    # RFC 3501 section 6.4.8; UIDFETCH responses begin with it.
    if uid and Attribute.UID not in items and lexer.enabled.seqnums:
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
    for word in modifiers(lexer):
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
    system, keywords = flags(lexer.flag_list() if lexer.at(b"(") else lexer.flags())
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
    return commands.Copy(tag, numset, mailbox_name(lexer), uid)


def _move(tag: Tag, lexer: Lexer, uid: bool) -> Command:
    lexer.space()
    numset = lexer.numset()
    lexer.space()
    return commands.Move(tag, numset, mailbox_name(lexer), uid)


def _replace(tag: Tag, lexer: Lexer, uid: bool) -> Command:
    raise BadSyntax("REPLACE needs the number of a message and another message as a literal")


ON_MESSAGES: dict[bytes, Callable[[Tag, Lexer, bool], Command]] = {
    b"FETCH": _fetch,
    b"STORE": _store,
    b"SEARCH": _search,
    b"ESEARCH": _multi_search,
    b"SORT": _sort,
    b"THREAD": _thread,
    b"COPY": _copy,
    b"MOVE": _move,
    b"REPLACE": _replace,
    b"EXPUNGE": _expunge,
}
