"""What is measured: every metric of the house, and the door that numbers go through.

The names are those of the exposition without `mailstead_`; docs/operations.md explains each. What
the journal tells of is counted from its entries, in one place (`counting`); the rest by hooks.
Holds: a name or a label that is not in METRICS is a KeyError here, in tests too; no label has a
value that a peer could choose.
"""

from collections.abc import Callable, Sequence
from enum import Enum
from typing import Protocol

import msgspec

from mailstead.model.entries import (
    Accepted,
    AnyEntry,
    Attempted,
    Delivered,
    LoggedIn,
    LoginFailed,
    Notified,
    Queued,
    Refused,
    Retrieved,
    Scored,
)
from mailstead.model.numbers import TraceId


class Kind(Enum):
    """The types of the Prometheus exposition format that we use."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Metric(msgspec.Struct, frozen=True):
    """One metric: what it is, and the names of its labels."""

    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


class Meter(Protocol):
    """Where numbers go."""

    def count(self, name: str, amount: float = 1, **labels: str) -> None:
        """So many more; of a gauge also fewer."""
        ...

    def observe(self, name: str, value: float, **labels: str) -> None:
        """One value for a histogram."""
        ...


class NoMeter:
    """Numbers go nowhere; names are checked all the same, so that every test checks them."""

    def count(self, name: str, amount: float = 1, **labels: str) -> None:
        """Only the check."""
        check_labels(name, labels)

    def observe(self, name: str, value: float, **labels: str) -> None:
        """Only the check."""
        check_labels(name, labels)


NO_METER = NoMeter()


def check_labels(name: str, labels: dict[str, str]) -> Metric:
    """The metric of that name; KeyError if there is none, or not with these labels."""
    metric = METRICS[name]
    if tuple(labels) != metric.labels:
        raise KeyError(f"{name} has the labels {metric.labels}, in this order")
    return metric


_COMMIT = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_WAIT = (1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0, 86_400.0, 432_000.0)
_BATCH = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 100.0)


def _counter(help: str, *labels: str) -> Metric:
    return Metric(Kind.COUNTER, help, labels)


def _gauge(help: str, *labels: str) -> Metric:
    return Metric(Kind.GAUGE, help, labels)


def _histogram(help: str, buckets: tuple[float, ...]) -> Metric:
    return Metric(Kind.HISTOGRAM, help, (), buckets)


METRICS: dict[str, Metric] = {
    "accepted_total": _counter("Messages that are on disk and ours."),
    "accepted_octets_total": _counter("Octets of these messages."),
    "delivered_total": _counter("Recipients whose message lies in a mailbox."),
    "refused_total": _counter("Commands and messages refused or put off.", "stage", "reply"),
    "queued_total": _counter("Recipients that entered the queue."),
    "attempts_total": _counter("Attempts to pass a recipient on, by outcome.", "outcome"),
    "notices_total": _counter("Delivery reports to senders (RFC 3464).", "action"),
    "retrieved_total": _counter("Messages that their owner's client fetched first.", "protocol"),
    "scored_total": _counter("Recipients whose mail got a score, by what followed.", "action"),
    "learnt_total": _counter("Messages that the filter learnt because people moved them.", "kind"),
    "logins_total": _counter("Log-ins, by protocol and result.", "protocol", "result"),
    "connections_total": _counter("Connections that were accepted.", "protocol"),
    "connections": _gauge("Connections that are open.", "protocol"),
    "call_ahead_total": _counter("Recipients of relay domains that were asked about.", "result"),
    "limit_reached_total": _counter("Times that a limit was reached.", "limit"),
    "lists_usable": _gauge("Lists in the DNS that passed their test, counted by worker."),
    "list_tests_total": _counter("Times that a list came to pass its test, or to fail.", "result"),
    "filter_answers_total": _counter("Answers of other programs about mail.", "kind", "result"),
    "answer_seconds": _histogram("From the end of the data to the 250.", _COMMIT),
    "commit_seconds": _histogram("Time a transaction takes to be on disk.", _COMMIT),
    "commit_units": _histogram("Units of work in one transaction.", _BATCH),
    "queue_seconds": _histogram("Time from entering the queue to being relayed.", _WAIT),
    "worker_heartbeat_seconds": _gauge("When a worker last showed life, since 1970.", "worker"),
    "workers": _gauge("Workers that have shown life lately."),
    "queue_recipients": _gauge("Recipients in the queue.", "state"),
    "queue_oldest_seconds": _gauge("Age of the oldest recipient in the queue."),
    "store_octets": _gauge("Size of the store on disk.", "part"),
}

Tell = Callable[[TraceId, Sequence[AnyEntry]], None]


def counting(tell: Tell, meter: Meter) -> Tell:
    """Tells, and counts what is told."""

    def tell_and_count(trace: TraceId, entries: Sequence[AnyEntry]) -> None:
        tell(trace, entries)
        for entry in entries:
            count_entry(meter, entry)

    return tell_and_count


def count_entry(meter: Meter, entry: AnyEntry) -> None:
    """What this entry adds to the counters."""
    match entry:
        case Accepted():
            meter.count("accepted_total")
            meter.count("accepted_octets_total", entry.size)
        case Delivered():
            meter.count("delivered_total")
        case Queued():
            meter.count("queued_total")
        case Refused():
            group = f"{entry.reply[:1]}xx"  # our own reply, nobody else's
            meter.count("refused_total", stage=entry.stage, reply=group)
        case Attempted():
            meter.count("attempts_total", outcome=entry.outcome)
        case Notified():
            meter.count("notices_total", action=entry.action)
        case Retrieved():
            meter.count("retrieved_total", protocol=entry.protocol)
        case Scored():
            meter.count("scored_total", len(entry.recipients), action=entry.action)
        case LoggedIn():
            meter.count("logins_total", protocol=entry.protocol, result="ok")
        case LoginFailed():
            meter.count("logins_total", protocol=entry.protocol, result="failed")
        case _:
            pass


def measuring_commits(meter: Meter) -> Callable[[int, float], None]:
    """For the store: units of work in a transaction, and seconds until it was on disk."""

    def measure(units: int, seconds: float) -> None:
        meter.observe("commit_units", units)
        meter.observe("commit_seconds", seconds)

    return measure
