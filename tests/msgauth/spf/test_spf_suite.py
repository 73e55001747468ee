"""The conformance suite of RFC 7208 (tests/vectors/spf-rfc7208-tests.yml): every case of it."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from mailstead.model.dns import Answer, Question, Status
from mailstead.msgauth.spf.check import Verdict, check_mail_from

SUITE = Path(__file__).parents[2] / "vectors" / "spf-rfc7208-tests.yml"
NOW = datetime(2026, 11, 22, tzinfo=UTC)
CASES = 203
ALIASES_LIMIT = 8


class SuiteZone:
    """The zone data of one scenario: {name: [{type: data} or TIMEOUT]}."""

    def __init__(self, data: dict[str, list[Any]]) -> None:
        self._data = {name.lower().rstrip("."): entries for name, entries in data.items()}

    def answer(self, question: Question) -> Answer:
        """What the suite's own drivers would hear."""
        name = question.name
        for _ in range(ALIASES_LIMIT):
            if name not in self._data:
                return Answer(Status.NXDOMAIN)
            records = self._records(question.type, name)
            if records:
                return Answer(Status.NOERROR, tuple(records))
            if "TIMEOUT" in self._data[name]:
                return Answer(Status.TIMEOUT)
            alias = self._records("CNAME", name)
            if not alias:
                return Answer(Status.NOERROR)
            name = alias[0].lower().rstrip(".")
        return Answer(Status.SERVFAIL)

    def _records(self, kind: str, name: str) -> list[str]:
        pairs = [
            pair for entry in self._data[name] if isinstance(entry, dict) for pair in entry.items()
        ]
        # Records of the type SPF stand for TXT too, unless there are TXT records of the name.
        if kind == "TXT" and not any(type_ == "TXT" for type_, _ in pairs):
            kind = "SPF"
        return [_text(data) for type_, data in pairs if type_ == kind and data != "NONE"]


def _text(data: Any) -> str:
    match data:
        case [int() as preference, exchange]:
            return f"{preference} {exchange.removesuffix('.') or '.'}"
        case list():
            return "".join(data)
    return str(data)


def cases() -> Iterator[Any]:
    """(case, zone) of every test, named by its scenario."""
    for scenario in yaml.safe_load_all(SUITE.read_text("utf-8")):
        zone = SuiteZone(scenario["zonedata"])
        for name, case in scenario["tests"].items():
            yield pytest.param(case, zone, id=f"{scenario['description']}: {name}")


ALL = list(cases())


def check(case: dict[str, Any], zone: SuiteZone) -> Verdict:
    lookup = check_mail_from(case["host"], case["mailfrom"], case["helo"], "", NOW)
    try:
        question = next(lookup)
        while True:
            question = lookup.send(zone.answer(question))
    except StopIteration as end:
        return end.value


@pytest.mark.rfc("7208 section 4")
@pytest.mark.parametrize(("case", "zone"), ALL)
def test_case(case: dict[str, Any], zone: SuiteZone) -> None:
    verdict = check(case, zone)
    allowed = case["result"] if isinstance(case["result"], list) else [case["result"]]
    assert verdict.result in allowed
    if "explanation" in case:
        expected = case["explanation"]
        assert ("" if expected == "DEFAULT" else expected) == verdict.explanation


def test_none_is_left_out() -> None:
    assert len(ALL) == CASES
