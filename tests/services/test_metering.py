"""Each thing that happens is counted once, under the name that the documentation has."""

from datetime import UTC, datetime

import pytest

from mailstead.model import entries
from mailstead.services.metering import NO_METER, Meter, count_entry

NOW = datetime(2026, 11, 21, tzinfo=UTC)


class Noted:
    """A Meter that keeps what it is told."""

    def __init__(self) -> None:
        self.counts: dict[tuple[str, ...], float] = {}

    def count(self, name: str, amount: float = 1, **labels: str) -> None:
        NO_METER.count(name, amount, **labels)
        key = (name, *labels.values())
        self.counts[key] = self.counts.get(key, 0) + amount

    def observe(self, name: str, value: float, **labels: str) -> None:
        NO_METER.observe(name, value, **labels)


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (
            entries.Accepted(at=NOW, reverse_path="", recipients=("a@b.example",), size=7),
            {("accepted_total",): 1, ("accepted_octets_total",): 7},
        ),
        (
            entries.Refused(at=NOW, stage="rcpt", reply="550 5.1.1 No such account"),
            {("refused_total", "rcpt", "5xx"): 1},
        ),
        (
            entries.Refused(at=NOW, stage="data", reply="451 4.3.0 Not now"),
            {("refused_total", "data", "4xx"): 1},
        ),
        (
            entries.Attempted(at=NOW, recipient="a@b.example", attempt=1, outcome="x", reply=""),
            {("attempts_total", "x"): 1},
        ),
        (
            entries.LoggedIn(at=NOW, account="a", protocol="imap", mechanism="PLAIN", peer="p"),
            {("logins_total", "imap", "ok"): 1},
        ),
        (
            entries.LoginFailed(
                at=NOW, login="a", protocol="smtp", mechanism="PLAIN", peer="p", reason="r"
            ),
            {("logins_total", "smtp", "failed"): 1},
        ),
        (
            entries.Notified(at=NOW, recipient="a@b.example", action="failed", sent_to="c"),
            {("notices_total", "failed"): 1},
        ),
        (entries.Connected(at=NOW, peer="p", role="mx"), {}),
    ],
)
def test_entries_are_counted(
    entry: entries.AnyEntry, expected: dict[tuple[str, ...], float]
) -> None:
    noted = Noted()
    count_entry(noted, entry)
    assert expected == noted.counts


@pytest.mark.parametrize(
    ("name", "labels"),
    [("no_such_total", {}), ("accepted_total", {"peer": "x"}), ("refused_total", {"stage": "x"})],
)
def test_an_unknown_name_is_an_error_even_where_nobody_measures(
    name: str, labels: dict[str, str]
) -> None:
    meter: Meter = NO_METER
    with pytest.raises(KeyError):
        meter.count(name, **labels)
