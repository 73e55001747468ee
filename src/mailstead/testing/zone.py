"""The DNS as a dict: what each name answers, failures included.

zone["MX", "example.net"] = "10 mx.example.net" sets the records of one question; a list sets
several. A name without any record does not exist; `fail` makes a name SERVFAIL or time out.
"""

import asyncio
from collections.abc import Sequence

from mailstead.model.dns import Answer, Question, Status


class Zone:
    """The Resolver of the simulated world."""

    def __init__(self) -> None:
        self.asked: list[Question] = []
        self.authenticated: set[str] = set()  # names whose answers carry the AD bit
        self._records: dict[Question, tuple[str, ...]] = {}
        self._failures: dict[str, Status] = {}
        self._hanging: set[str] = set()
        self.broken = False  # every question fails

    def __setitem__(self, key: tuple[str, str], records: str | Sequence[str]) -> None:
        several = (records,) if isinstance(records, str) else tuple(records)
        self._records[Question(*key)] = several

    def __delitem__(self, key: tuple[str, str]) -> None:
        del self._records[Question(*key)]

    def fail(self, name: str, status: Status = Status.SERVFAIL) -> None:
        """Every question about the name fails like this from now on."""
        self._failures[name] = status

    def hang(self, name: str) -> None:
        """Questions about the name are not answered at all from now on."""
        self._hanging.add(name)

    def heal(self, name: str) -> None:
        """Questions about the name are answered again."""
        self._failures.pop(name, None)
        self._hanging.discard(name)

    async def ask(self, question: Question) -> Answer:
        """What the zone says; never raises."""
        self.asked.append(question)
        if question.name in self._hanging:
            await asyncio.Event().wait()
        if self.broken:
            return Answer(Status.SERVFAIL)
        if question.name in self._failures:
            return Answer(self._failures[question.name])
        secure = question.name in self.authenticated
        if question in self._records:
            return Answer(Status.NOERROR, self._records[question], secure)
        exists = any(known.name == question.name for known in self._records)
        return Answer(Status.NOERROR if exists else Status.NXDOMAIN, (), secure)
