"""systemd's notification socket (sd_notify): ready, reloading, stopping, alive."""

import os
import socket
from contextlib import suppress


def send(state: str) -> None:
    """Tell the service manager, if one asked to be told."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path:
        return
    address = "\0" + path[1:] if path.startswith("@") else path
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.sendto(state.encode(), address)
