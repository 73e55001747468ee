"""Log lines: one for each entry that somebody may look for."""

import io
import logging
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from mailstead.model.entries import Accepted, Connected, LoginFailed
from mailstead.model.numbers import TraceId
from mailstead.server.logs import configure

NOW = datetime(2026, 11, 21, tzinfo=UTC)
ENTRIES = (
    Connected(at=NOW, peer="192.0.2.7:1", role="mx"),
    Accepted(at=NOW, reverse_path="", recipients=("a@b.example", "c@d.example"), size=7),
    LoginFailed(
        at=NOW, login="x y", protocol="imap", mechanism="PLAIN", peer="192.0.2.7:1", reason="wrong"
    ),
)


def lines(level: int) -> list[str]:
    stream = io.StringIO()
    log = configure(stream, level)
    log.tell(TraceId("7f3k"), ENTRIES)
    return stream.getvalue().splitlines()


def test_one_line_for_each_entry() -> None:
    assert lines(logging.INFO) == [
        "level=info what=accepted id=7f3k recipients=a@b.example,c@d.example size=7",
        'level=warning what=login-failed id=7f3k login="x y" protocol=imap mechanism=PLAIN'
        " peer=192.0.2.7:1 reason=wrong",
    ]


def test_quiet_means_quiet() -> None:
    assert lines(logging.ERROR) == []


def test_a_full_disk_under_the_log_fails_nobody() -> None:
    stream = Path("/dev/full").open("w")  # noqa: SIM115 closing it fails as well
    try:
        configure(stream).tell(TraceId("7f3k"), ENTRIES)
    finally:
        with suppress(OSError):
            stream.close()
