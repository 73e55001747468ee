"""Log lines: each entry of the journal once, as `level what id=... key=value ...` on stderr.

No content of a message and no password is ever in a line, for none is ever in an entry; addresses
are. journald or the container's log keeps them.
"""

import json
import logging
import re
import sys
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from typing import TextIO

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
_INFO, _WARNING = (logging.INFO, "info"), (logging.WARNING, "warning")
_QUIET = (Connected, Resolved, Completed)


def configure(stream: TextIO = sys.stderr, level: int = logging.INFO) -> "Log":
    """Log lines to a stream; also those of the standard library's loggers."""
    logging.basicConfig(stream=stream, level=level, format="%(levelname)s %(name)s %(message)s")
    return Log(stream, level)


class Log:
    """Prints entries."""

    def __init__(self, stream: TextIO, least: int) -> None:
        self._stream, self._least = stream, least

    def tell(self, trace: TraceId, entries: Sequence[AnyEntry]) -> None:
        """One line for each entry that somebody may look for, if the log can be written.

        What is told has happened: a log on a full disk must not make it look like a failure.
        """
        with suppress(OSError):
            self._tell(trace, entries)

    def _tell(self, trace: TraceId, entries: Sequence[AnyEntry]) -> None:
        """All lines at once: what one commit tells of costs one write."""
        lines = []
        for entry in entries:
            level, name = _WARNING if _warns(entry) else _INFO
            if level >= self._least and not isinstance(entry, _QUIET):
                lines.append(_line(name, trace, entry))
        if lines:
            lines.append("")
            self._stream.write("\n".join(lines))
            self._stream.flush()


def _warns(entry: AnyEntry) -> bool:
    return isinstance(entry, LoginFailed) or (
        isinstance(entry, Attempted) and entry.outcome == "failed"
    )


def _line(level: str, trace: TraceId, entry: AnyEntry) -> str:
    """As logfmt: what is no plain word is a JSON string, in which nothing steers a terminal."""
    words = [f"level={level} what={entry.__struct_config__.tag}"]
    if trace:
        words.append(f"id={trace}")
    for field in entry.__struct_fields__:
        value = getattr(entry, field)
        if field != "at" and value not in ("", (), None):
            text = _text(value)
            words.append(f"{field}={text if _is_plain(text) else _quote(text)}")
    return " ".join(words)


_is_plain = re.compile(
    r'[^\x00-\x20"=\\\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]+'
).fullmatch


def _quote(text: str) -> str:
    return json.dumps(text)


def _host(host: HostTried) -> str:
    """Which host, how far, and the TLS that was wanted and achieved."""
    version, verified = host.tls.partition(" ")[0], host.tls.rpartition(" ")[2]
    tls = [f"tls={version}"] if host.tls else []
    tls += [f"verified={verified}"] * (verified in ("dane", "pkix"))
    tls += [f"wanted={host.wanted}"] if host.wanted else []
    return ":".join([f"{host.host}[{host.address}]:{host.reached}", *tls])


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, tuple):
        return ",".join(map(_text, value))
    if isinstance(value, HostTried):
        return _host(value)
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%dT%H:%M:%SZ")
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
