"""Named searches: what FILTER stands for in a search program (RFC 5466).

A filter is a program that is kept under a name, and may itself name others. Their text is asked
for by yielding names. Holds: what comes out names no filter and keeps to the limits of a program.
"""

from collections.abc import Generator

from mailstead.model.errors import Refusal
from mailstead.protocol.imap.lexer import BadSyntax, Lexer
from mailstead.protocol.imap.search import (
    DEPTH_LIMIT,
    KEYS_LIMIT,
    And,
    Fuzzy,
    Key,
    Named,
    Not,
    Or,
    parse_criteria,
)

NESTING_LIMIT = 10  # filters inside filters; RFC 5466 section 3.1 asks for 3
VALUES = ("/private/filters/values/", "/shared/filters/values/")  # the first is tried first

Expansion = Generator[str, bytes | None, Key]


def parse_filter(value: bytes) -> Key:
    """The program that is kept under a name; ValueError if it is none."""
    if b"\x00" in value:  # which would stand for a literal
        raise ValueError("A NUL in a search program")
    lexer = Lexer(value)
    try:
        program = parse_criteria(lexer)
        lexer.end()
    except BadSyntax as error:
        raise ValueError(error.text) from error
    return program


def expand(program: Key) -> Expansion:
    """The program with filters in the place of their names; yields a name, is sent its text.

    Raises Refusal for a name that there is not, that leads back to itself, or leads too far.
    """
    expanded = yield from _expand(program, (), [0])
    if _depth(expanded) > DEPTH_LIMIT:
        raise Refusal("with its filters the search is nested too deep", "LIMIT")
    return expanded


def _expand(program: Key, path: tuple[str, ...], keys: list[int]) -> Expansion:
    keys[0] += 1
    if keys[0] > KEYS_LIMIT:
        raise Refusal(f"with its filters the search has more than {KEYS_LIMIT} keys", "LIMIT")
    match program:
        case Named(name):
            if name in path or len(path) >= NESTING_LIMIT:
                raise _undefined(name, "leads back to itself, or too far")
            return (yield from _expand((yield from _look_up(name)), (*path, name), keys))
        case Not(key):
            return Not((yield from _expand(key, path, keys)))
        case Fuzzy(key):
            return Fuzzy((yield from _expand(key, path, keys)))
        case Or(left, right):
            first = yield from _expand(left, path, keys)
            return Or(first, (yield from _expand(right, path, keys)))
        case And(inner):
            found: tuple[Key, ...] = ()
            for key in inner:
                found += ((yield from _expand(key, path, keys)),)
            return And(found)
        case _:
            return program


def _look_up(name: str) -> Expansion:
    value = yield name
    if value is None:
        raise _undefined(name, "does not exist")
    try:
        return parse_filter(value)
    except ValueError as error:
        raise _undefined(name, f"is no search program: {error}") from error


def _undefined(name: str, why: str) -> Refusal:
    return Refusal(f"the filter {name} {why}", f"UNDEFINED-FILTER {name}")


def _depth(program: Key) -> int:
    match program:
        case Not(key) | Fuzzy(key):
            return 1 + _depth(key)
        case Or(left, right):
            return 1 + max(_depth(left), _depth(right))
        case And(keys):
            return 1 + max(map(_depth, keys))
        case _:
            return 0
