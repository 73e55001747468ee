"""The driver of look-ups that yield their questions: the DNS answers them."""

from collections.abc import Generator
from typing import TypeVar

from mailstead.model.dns import Answer, Question
from mailstead.model.world import Resolver

T = TypeVar("T")


async def answer(lookup: Generator[Question, Answer, T], resolver: Resolver) -> T:
    """The lookup's result."""
    try:
        question = next(lookup)
        while True:
            question = lookup.send(await resolver.ask(question))
    except StopIteration as end:
        result: T = end.value
        return result
