"""NOTIFY: which events of which mailboxes a client wants to hear of (RFC 5465 section 8)."""

from mailstead.protocol.imap import commands
from mailstead.protocol.imap.arguments import mailbox_name
from mailstead.protocol.imap.commands import Tag
from mailstead.protocol.imap.fetch import Item, parse_items
from mailstead.protocol.imap.lexer import BadSyntax, Lexer, Unacceptable
from mailstead.protocol.imap.notification import OF_MESSAGES, Group, Happening, Scope

GROUPS_LIMIT = 20  # of one NOTIFY
NAMES_LIMIT = 1000  # of all its groups
EVENTS_LIMIT = 20  # of one group

_BOTH = frozenset({Happening.MESSAGE_NEW, Happening.MESSAGE_EXPUNGE})
_SELECTED = (Scope.SELECTED, Scope.SELECTED_DELAYED)
_HAPPENINGS = {event.value.upper().encode("ascii"): event for event in Happening}


def parse_notify(tag: Tag, lexer: Lexer) -> commands.Notify:
    """NOTIFY NONE, or NOTIFY SET with groups; Unacceptable for events that we know nothing of."""
    if lexer.accept_word(b"NONE"):
        return commands.Notify(tag, ())
    if not lexer.accept_word(b"SET"):
        raise BadSyntax("Expected SET or NONE")
    lexer.space()
    status = lexer.accept_word(b"STATUS")
    if status:
        lexer.space()
    groups: list[Group] = []
    while not groups or lexer.accept(b" "):
        groups.append(_group(lexer))
        _check_size(groups)
    if sum(group.scope in _SELECTED for group in groups) > 1:
        raise BadSyntax("The selected mailbox is named twice")
    return commands.Notify(tag, tuple(groups), status)


def _check_size(groups: list[Group]) -> None:
    if len(groups) > GROUPS_LIMIT or sum(len(group.names) for group in groups) > NAMES_LIMIT:
        raise Unacceptable("NOTIFICATIONOVERFLOW", "That is too much to be watched")


def _group(lexer: Lexer) -> Group:
    lexer.expect(b"(")
    scope, names = parse_filter(lexer)
    if scope is Scope.SUBTREE_ONE:
        raise BadSyntax("Unknown kind of mailboxes")
    lexer.space()
    events, items = _events(lexer)
    lexer.expect(b")")
    group = Group(scope, events, names, items)
    _check_group(group)
    return group


def parse_filter(lexer: Lexer) -> tuple[Scope, frozenset[str]]:
    """Which mailboxes, with the names that some kinds have."""
    scope = _scope(lexer)
    if scope not in (Scope.SUBTREE, Scope.SUBTREE_ONE, Scope.MAILBOXES):
        return scope, frozenset()
    lexer.space()
    return scope, _names(lexer)


def _scope(lexer: Lexer) -> Scope:
    try:
        return Scope(lexer.keyword().decode("ascii"))
    except ValueError:
        raise BadSyntax("Unknown kind of mailboxes") from None


def _names(lexer: Lexer) -> frozenset[str]:
    if not lexer.accept(b"("):
        return frozenset({mailbox_name(lexer)})
    names = [mailbox_name(lexer)]
    while lexer.accept(b" "):
        names.append(mailbox_name(lexer))
    lexer.expect(b")")
    return frozenset(names)


def _events(lexer: Lexer) -> tuple[frozenset[Happening], tuple[Item, ...]]:
    if lexer.accept_word(b"NONE"):
        return frozenset(), ()
    bare = not lexer.accept(b"(")  # as in the example of RFC 5465 section 3.1
    events: list[Happening | None] = []
    items: tuple[Item, ...] = ()
    while not events or lexer.accept(b" "):
        events.append(_HAPPENINGS.get(lexer.keyword()))
        if events[-1] is Happening.MESSAGE_NEW and lexer.at(b" ("):
            lexer.space()
            items = parse_items(lexer)
        if len(events) > EVENTS_LIMIT:
            raise BadSyntax(f"More than {EVENTS_LIMIT} events")
    if not bare:
        lexer.expect(b")")
    known = frozenset(event for event in events if event is not None)
    if None in events:
        names = " ".join(event.value for event in Happening)
        raise Unacceptable(f"BADEVENT ({names})", "Some of these events are not known here")
    return known, items


def _check_group(group: Group) -> None:
    """What RFC 5465 sections 5, 6.1 and 8 rule out."""
    if group.events & OF_MESSAGES and not group.events >= _BOTH:
        raise BadSyntax("MessageNew and MessageExpunge go together, FlagChange with both")
    if group.scope in _SELECTED and not group.events <= OF_MESSAGES:
        raise BadSyntax("Of the selected mailbox only events of messages can be told")
    if group.items and group.scope not in _SELECTED:
        raise BadSyntax("Messages are fetched of the selected mailbox only")
