"""Mail that somebody has sorted: a folder of files (a Maildir, too), an mbox, a single message."""

from collections.abc import Iterator
from pathlib import Path

MESSAGE_LIMIT = 64 * 1024 * 1024  # octets of one message that are read


def messages_in(path: Path) -> Iterator[bytes]:
    """Each message below the path, in an order that is always the same."""
    if path.is_dir():
        for file in sorted(path.rglob("*")):
            if file.is_file() and not file.name.startswith("."):
                yield from _messages_of(file)
    else:
        yield from _messages_of(path)


def _messages_of(file: Path) -> Iterator[bytes]:
    with file.open("rb") as lines:
        first = lines.readline(1000)
        if not first.startswith(b"From "):
            yield first + lines.read(MESSAGE_LIMIT)
            return
        message: list[bytes] = []
        before = b""
        for line in lines:  # RFC 4155: a line "From " after an empty one begins the next message
            if line.startswith(b"From ") and not before.strip():
                yield b"".join(message)
                message = []
            else:
                message.append(line)
            before = line
        yield b"".join(message)
