"""Log lines: each entry of the journal once, as `level what id=... key=value ...` on stderr.

No content of a message and no password is ever in a line, for none is ever in an entry; addresses
are. journald or the container's log keeps them.
"""

import logging
import sys
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from typing import TextIO

import msgspec
import structlog

from mailstead.model.entries import (
    AnyEntry,
    Attempted,
    Completed,
    Connected,
    HostTried,
    LoginFailed,
    Resolved,
)
from mailstead.model.numbers import TraceId

# Told by `message explain`; in the log they would only repeat what stands beside them.
_QUIET = (Connected, Resolved, Completed)


def configure(stream: TextIO = sys.stderr, level: int = logging.INFO) -> "Log":
    """Log lines to a stream; also those of the standard library's loggers."""
    logging.basicConfig(stream=stream, level=level, format="%(levelname)s %(name)s %(message)s")
    logger = structlog.wrap_logger(
        structlog.WriteLogger(stream),
        processors=[
            structlog.processors.LogfmtRenderer(
                key_order=["level", "what", "id"], drop_missing=True
            )
        ],
        wrapper_class=structlog.BoundLogger,
    )
    return Log(logger, level)


class Log:
    """Prints entries."""

    def __init__(self, logger: structlog.BoundLogger, least: int) -> None:
        self._logger, self._least = logger, least

    def tell(self, trace: TraceId, entries: Sequence[AnyEntry]) -> None:
        """One line for each entry that somebody may look for, if the log can be written.

        What is told has happened: a log on a full disk must not make it look like a failure.
        """
        with suppress(OSError):
            self._tell(trace, entries)

    def _tell(self, trace: TraceId, entries: Sequence[AnyEntry]) -> None:
        for entry in entries:
            level = logging.WARNING if _warns(entry) else logging.INFO
            if level >= self._least and not isinstance(entry, _QUIET):
                name = logging.getLevelName(level).lower()
                self._logger.info(None, level=name, **_line(trace, entry))


def _warns(entry: AnyEntry) -> bool:
    return isinstance(entry, LoginFailed) or (
        isinstance(entry, Attempted) and entry.outcome == "failed"
    )


def _line(trace: TraceId, entry: AnyEntry) -> dict[str, object]:
    line: dict[str, object] = {"what": entry.__struct_config__.tag}
    if trace:
        line["id"] = trace
    for field in entry.__struct_fields__:
        value = getattr(entry, field)
        if field != "at" and value not in ("", (), None):
            line[field] = _text(value)
    return line


def _text(value: object) -> object:
    if isinstance(value, tuple):
        return ",".join(str(_text(item)) for item in value)
    if isinstance(value, HostTried):
        return f"{value.host}[{value.address}]:{value.reached}"
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%dT%H:%M:%SZ")
    if isinstance(value, msgspec.Struct):
        return str(value)
    return value
