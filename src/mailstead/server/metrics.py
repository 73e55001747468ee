"""Numbers in memory that all workers share, and their page in Prometheus' text format (0.0.4).

The supervisor makes the board before the first fork; each worker has a region of its own and
writes only there, so that counting needs no lock and no system call (0.3 us). A region outlives
its worker: the next one goes on counting where a dead one stopped; gauges begin anew.
Not here: what is counted (services.metering).
"""

import mmap
import re
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping

import msgspec

from mailstead.services.metering import METRICS, Kind, Metric, check_labels

REGION_SIZE = 64 * 1024
SLOTS = 2048  # numbers in a region; the rest of it is the names of the series
SPARE = 32  # the last slots: for series that found no room, read by nobody
NAMES_SIZE = REGION_SIZE - SLOTS * 8
REGIONS_PER_WORKER = 4  # old workers drain beside new ones
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
PREFIX = "mailstead_"

_OWNER, _HEARTBEAT, _NAMED, _FIRST = range(4)  # slots; _NAMED: octets of names that are complete
_UNPRINTABLE = re.compile("[^ -~]")

Series = tuple[str, ...]  # the name of a metric and the values of its labels


class Worker(msgspec.Struct, frozen=True):
    """A process with a region, and when it last showed life (seconds since 1970)."""

    pid: int
    heartbeat: float


class Board:
    """All regions."""

    def __init__(self, workers: int) -> None:
        self._count = workers * REGIONS_PER_WORKER
        self._memory = mmap.mmap(-1, self._count * REGION_SIZE)  # shared with every child

    def free_region(self, taken: set[int]) -> int | None:
        """The first region that is not among these."""
        return next((one for one in range(self._count) if one not in taken), None)

    def meter(self, region: int | None, pid: int, now: float) -> "BoardMeter":
        """A worker's meter; without a region its numbers reach nobody."""
        if region is None:
            return BoardMeter(memoryview(bytearray(REGION_SIZE)), pid, now)
        return BoardMeter(self._view(region), pid, now)

    def release(self, region: int | None) -> None:
        """The worker of this region is gone: what it had open is not any more."""
        if region is not None:
            self._view(region)[: SLOTS * 8].cast("d")[_OWNER] = 0.0

    def workers(self) -> list[Worker]:
        """Who has a region now."""
        heads = (view[: SLOTS * 8].cast("d") for view in self._views())
        return [Worker(int(head[_OWNER]), head[_HEARTBEAT]) for head in heads if head[_OWNER]]

    def totals(self) -> dict[Series, list[float]]:
        """Every series with its numbers, summed over the workers."""
        totals: dict[Series, list[float]] = {}
        for view in self._views():
            numbers = view[: SLOTS * 8].cast("d")
            for series, slot, width in _series_in(view):
                if METRICS[series[0]].kind is Kind.GAUGE and not numbers[_OWNER]:
                    continue
                mine = list(numbers[slot : slot + width])
                sums = totals.setdefault(series, [0.0] * width)
                sums[:] = map(float.__add__, sums, mine)
        return totals

    def _view(self, region: int) -> memoryview:
        start = region * REGION_SIZE
        return memoryview(self._memory)[start : start + REGION_SIZE]

    def _views(self) -> Iterator[memoryview]:
        return map(self._view, range(self._count))


class BoardMeter:
    """The Meter of one worker."""

    def __init__(self, view: memoryview, pid: int, now: float) -> None:
        self._numbers = view[: SLOTS * 8].cast("d")
        self._names = view[SLOTS * 8 :]
        self._slots: dict[Series, int] = {}
        self._next = _FIRST
        self._take_over(view)
        self._numbers[_HEARTBEAT] = now
        self._numbers[_OWNER] = pid

    def count(self, name: str, amount: float = 1, **labels: str) -> None:
        """So many more; of a gauge also fewer."""
        series = (name, *labels.values())
        slot = self._slots.get(series)
        if slot is None:
            slot = self._add(series, check_labels(name, labels))
        self._numbers[slot] += amount

    def observe(self, name: str, value: float, **labels: str) -> None:
        """One value for a histogram."""
        series = (name, *labels.values())
        slot = self._slots.get(series)
        if slot is None:
            slot = self._add(series, check_labels(name, labels))
        buckets = METRICS[name].buckets
        self._numbers[slot + bisect_left(buckets, value)] += 1
        self._numbers[slot + len(buckets) + 1] += value

    def show_life(self, now: float) -> None:
        """This worker's loop turns."""
        self._numbers[_HEARTBEAT] = now

    def _take_over(self, view: memoryview) -> None:
        for series, slot, width in _series_in(view):
            self._slots[series] = slot
            self._next = slot + width
            if METRICS[series[0]].kind is Kind.GAUGE:
                self._numbers[slot] = 0.0

    def _add(self, series: Series, metric: Metric) -> int:
        """The slot of a new series; labels are few by design, so too many are a bug of ours."""
        name = "\t".join(_UNPRINTABLE.sub("?", part) for part in series).encode() + b"\n"
        slot, used = self._next, int(self._numbers[_NAMED])
        if slot + _width(metric) > SLOTS - SPARE or used + len(name) > NAMES_SIZE:
            return SLOTS - SPARE
        self._names[used : used + len(name)] = name
        self._numbers[_NAMED] = used + len(name)  # from here on others see it
        self._next = slot + _width(metric)
        self._slots[series] = slot
        return slot


def _width(metric: Metric) -> int:
    """How many numbers a series of it has: buckets, the one without an end, and the sum."""
    return len(metric.buckets) + 2 if metric.kind is Kind.HISTOGRAM else 1


def _series_in(view: memoryview) -> Iterator[tuple[Series, int, int]]:
    """The series of a region: name and labels, first slot, how many slots."""
    named = int(view[: SLOTS * 8].cast("d")[_NAMED])
    slot = _FIRST
    for line in bytes(view[SLOTS * 8 : SLOTS * 8 + named]).decode("ascii").split("\n")[:-1]:
        series = tuple(line.split("\t"))
        width = _width(METRICS[series[0]])
        yield series, slot, width
        slot += width


# ---------------------------------------------------------------------- the page


def exposition(totals: Mapping[Series, list[float]]) -> str:
    """The page; every metric is on it, with a 0 if it has no labels and nothing happened yet."""
    lines: list[str] = []
    for name, metric in METRICS.items():
        lines.append(f"# HELP {PREFIX}{name} {metric.help}")
        lines.append(f"# TYPE {PREFIX}{name} {metric.kind.value}")
        found = {series: numbers for series, numbers in totals.items() if series[0] == name}
        if not found and not metric.labels:
            found = {(name,): [0.0] * _width(metric)}
        for series, numbers in sorted(found.items()):
            labels = list(zip(metric.labels, series[1:], strict=True))
            lines += _FORMATS[metric.kind](name, metric, labels, numbers)
    return "\n".join([*lines, ""])


Labels = list[tuple[str, str]]


def _format_value(name: str, metric: Metric, labels: Labels, numbers: list[float]) -> list[str]:
    return [f"{PREFIX}{name}{_format_labels(labels)} {_format_number(numbers[0])}"]


def _format_histogram(name: str, metric: Metric, labels: Labels, numbers: list[float]) -> list[str]:
    lines, below = [], 0.0
    for bound, number in zip((*metric.buckets, None), numbers, strict=False):
        below += number
        edge = "+Inf" if bound is None else _format_number(bound)
        lines.append(
            f"{PREFIX}{name}_bucket{_format_labels([*labels, ('le', edge)])}"
            f" {_format_number(below)}"
        )
    inner = _format_labels(labels)
    lines.append(f"{PREFIX}{name}_sum{inner} {_format_number(numbers[-1])}")
    lines.append(f"{PREFIX}{name}_count{inner} {_format_number(below)}")
    return lines


_FORMATS: dict[Kind, Callable[[str, Metric, Labels, list[float]], list[str]]] = {
    Kind.COUNTER: _format_value,
    Kind.GAUGE: _format_value,
    Kind.HISTOGRAM: _format_histogram,
}


def _format_labels(labels: Labels) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escape(value)}"' for name, value in labels) + "}"


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _format_number(number: float) -> str:
    return str(int(number)) if number == int(number) else repr(number)
