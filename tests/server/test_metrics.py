"""The board of numbers: what several workers count is one page, and nothing is lost with one."""

import pytest

from mailstead.server.metrics import SLOTS, Board, exposition
from mailstead.services.metering import METRICS, Kind


def test_workers_are_summed() -> None:
    board = Board(2)
    first, second = board.meter(0, 100, 1.0), board.meter(1, 101, 2.0)
    first.count("accepted_total")
    second.count("accepted_total", 2)
    second.count("refused_total", stage="rcpt", reply="5xx")
    assert board.totals() == {
        ("accepted_total",): [3.0],
        ("refused_total", "rcpt", "5xx"): [1.0],
    }
    assert [worker.pid for worker in board.workers()] == [100, 101]


def test_counters_outlive_a_worker_and_gauges_do_not() -> None:
    board = Board(1)
    meter = board.meter(0, 100, 1.0)
    meter.count("accepted_total", 5)
    meter.count("connections", 3, protocol="imap")
    meter.observe("commit_seconds", 0.5)
    board.release(0)
    assert ("connections", "imap") not in board.totals()
    assert board.totals()["accepted_total",] == [5.0]
    successor = board.meter(0, 200, 9.0)
    successor.count("accepted_total")
    successor.observe("commit_seconds", 0.25)
    assert board.totals()["accepted_total",] == [6.0]
    assert board.totals()["connections", "imap"] == [0.0]
    assert board.totals()["commit_seconds",][-1] == 0.75


def test_a_worker_without_a_region_counts_for_nobody() -> None:
    board = Board(1)
    assert board.free_region({0, 1, 2, 3}) is None
    assert board.free_region({0, 2}) == 1
    board.meter(None, 100, 1.0).count("accepted_total")
    assert board.totals() == {}


def test_too_many_series_disturb_nobody() -> None:
    board = Board(1)
    meter = board.meter(0, 100, 1.0)
    meter.count("accepted_total")
    for number in range(SLOTS + 10):
        meter.count("logins_total", protocol=f"p{number}", result="ok")
    meter.observe("queue_seconds", 1.0)
    meter.count("accepted_total")
    totals = board.totals()
    assert totals["accepted_total",] == [2.0]
    assert SLOTS - 100 < len(totals) < SLOTS
    assert set(map(tuple, totals.values())) <= {(1.0,), (2.0,)}


@pytest.mark.parametrize("label", ["\n", "a\tb", "\udc80", "\x00", '"', "\\"])
def test_odd_labels_stay_one_line(label: str) -> None:
    board = Board(1)
    board.meter(0, 1, 1.0).count("retrieved_total", protocol=label)
    lines = [line for line in exposition(board.totals()).splitlines() if "retrieved" in line]
    assert len(lines) == 3


def test_the_page() -> None:
    board = Board(1)
    meter = board.meter(0, 100, 1.0)
    meter.count("refused_total", stage="mail", reply="4xx")
    for value in (0.5, 1, 2, 1e9):
        meter.observe("queue_seconds", value)
    page = exposition(board.totals())
    assert page.endswith("\n")
    lines = page.splitlines()
    assert "# TYPE mailstead_refused_total counter" in lines
    assert 'mailstead_refused_total{stage="mail",reply="4xx"} 1' in lines
    assert "mailstead_accepted_total 0" in lines
    assert 'mailstead_queue_seconds_bucket{le="1"} 2' in lines
    assert 'mailstead_queue_seconds_bucket{le="5"} 3' in lines
    assert 'mailstead_queue_seconds_bucket{le="+Inf"} 4' in lines
    assert "mailstead_queue_seconds_count 4" in lines
    assert "mailstead_queue_seconds_sum 1000000003.5" in lines


def test_every_metric_is_on_the_page_with_its_type() -> None:
    page = exposition({})
    for name, metric in METRICS.items():
        assert f"# TYPE mailstead_{name} {metric.kind.value}\n" in page
        assert (metric.kind is Kind.COUNTER) == name.endswith("_total")
        assert (metric.kind is Kind.HISTOGRAM) == bool(metric.buckets)
