"""A real process whose disk calls wait for our word: let it happen, or fail with an error of ours.

Linux lends the calls of a process to another one (seccomp user notification, Linux 5.5): a filter
that children inherit picks the calls, `Interceptor` answers each. Needs no compiler, no root and
no debugger; knows the system calls of x86_64 and aarch64. Reads are not watched, sockets let be.
"""

import ctypes
import errno
import fcntl
import os
import platform
import re
import select
import socket
import struct
import threading
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

# Kind -> name -> (number on x86_64, number on aarch64, where its path is: "fd", or "at"/"path" and
# the place of the argument). None: there is no such call.
CALLS: dict[str, dict[str, tuple[int | None, int | None, str]]] = {
    "write": {
        "write": (1, 64, "fd"),
        "writev": (20, 66, "fd"),
        "pwrite64": (18, 68, "fd"),
        "pwritev": (296, 70, "fd"),
        "ftruncate": (77, 46, "fd"),
        "fallocate": (285, 47, "fd"),
    },
    "sync": {"fsync": (74, 82, "fd"), "fdatasync": (75, 83, "fd")},
    "open": {"open": (2, None, "path0"), "openat": (257, 56, "at0")},
    "name": {
        "rename": (82, None, "path0"),
        "renameat": (264, 38, "at0"),
        "renameat2": (316, 276, "at0"),
        "unlink": (87, None, "path0"),
        "unlinkat": (263, 35, "at0"),
    },
}
KINDS = tuple(CALLS)
MACHINES = {"x86_64": (0, 317), "aarch64": (1, 277)}  # column above, number of seccomp

_SET_FILTER, _NEW_LISTENER, _NO_NEW_PRIVS = 1, 8, 38
_ALLOW, _ASK = 0x7FFF0000, 0x7FC00000
_RECEIVE, _SEND, _CONTINUE = 0xC0502100, 0xC0182101, 1
_NOTICE = struct.Struct("=QIIiIQ6Q")  # id, thread, flags, call, architecture, address, arguments
_ANSWER = struct.Struct("=QqiI")  # id, value, error, flags
_INSTRUCTION = struct.Struct("=HBBI")
_LOAD, _EQUAL, _RETURN = 0x20, 0x15, 0x06
_AT_FDCWD = -100
_PATH_LIMIT = 4096


def is_possible() -> bool:
    """Whether this machine can do it, as far as one sees from outside."""
    actions = Path("/proc/sys/kernel/seccomp/actions_avail")
    known = platform.machine() in MACHINES and actions.exists()
    return known and "user_notif" in actions.read_text()


# ---------------------------------------------------------------------- in the watched process


def be_watched(channel: int) -> None:
    """From here on our calls, and those of our children, wait for the other end of the socket."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0)
    program = _program()
    code = ctypes.create_string_buffer(program)
    head = ctypes.create_string_buffer(
        struct.pack("@HP", len(program) // _INSTRUCTION.size, ctypes.addressof(code))
    )
    number = MACHINES[platform.machine()][1]
    listener = libc.syscall(number, _SET_FILTER, _NEW_LISTENER, head)
    if listener < 0:
        raise OSError(ctypes.get_errno(), "seccomp")
    with socket.socket(fileno=channel) as other:
        socket.send_fds(other, [b"."], [listener])
    os.close(listener)


def _program() -> bytes:
    """The filter: calls of CALLS are asked about, all others are allowed."""
    numbers = sorted(_numbers())
    steps = [(_LOAD, 0, 0, 0)]
    steps += [(_EQUAL, len(numbers) - place, 0, number) for place, number in enumerate(numbers)]
    steps += [(_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _ASK)]
    return b"".join(_INSTRUCTION.pack(*step) for step in steps)


def _numbers() -> dict[int, tuple[str, str]]:
    """Number -> (kind, where the path is), on this machine."""
    column = MACHINES[platform.machine()][0]
    found = {}
    for kind, calls in CALLS.items():
        for call in calls.values():
            number = call[column]
            if isinstance(number, int):
                found[number] = (kind, call[2])
    return found


# ---------------------------------------------------------------------- in the watching process


@dataclass(frozen=True)
class Fault:
    """Which calls are to fail: the n-th of these kinds, and with `lasting` all after it."""

    kinds: tuple[str, ...]
    number: int
    error: int = errno.ENOSPC
    lasting: bool = False
    files: str = ".*"  # which, as a pattern of their whole path

    def covers(self, kind: str, path: str) -> bool:
        """Whether the call is one of those that are counted."""
        return kind in self.kinds and re.fullmatch(self.files, path) is not None


class Interceptor:
    """Answers the calls of one process and its children, on a thread of its own."""

    def __init__(self, listener: int, folder: Path, fault: Fault | None) -> None:
        self._listener, self._prefix = listener, str(folder)
        self._numbers = _numbers()
        self._fault = fault
        self.seen = 0  # calls that the fault covers
        self.struck: Counter[str] = Counter()  # what failed: kind of call and of file
        self.opened: Counter[str] = Counter()  # path -> how often it was opened
        self.trouble: Exception | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def arm(self, fault: Fault) -> None:
        """Count from now on."""
        self.seen, self.struck = 0, Counter()
        self._fault = fault

    def disarm(self) -> None:
        """The disk is well again."""
        self._fault = None

    def close(self) -> None:
        """Let go; the process has to be gone."""
        self._thread.join()
        os.close(self._listener)

    def _run(self) -> None:
        waiting = select.poll()
        waiting.register(self._listener, select.POLLIN)
        try:
            while all(happened & select.POLLIN for _, happened in waiting.poll()):
                with suppress(FileNotFoundError):  # killed while it waited for us
                    self._answer_one()
        except Exception as error:  # noqa: BLE001 told by whoever waits in vain
            self.trouble = error

    def _answer_one(self) -> None:
        notice = bytearray(_NOTICE.size)
        fcntl.ioctl(self._listener, _RECEIVE, notice)
        id_, thread, _, number, _, _, *arguments = _NOTICE.unpack(notice)
        kind, where = self._numbers[number]
        path = self._path(thread, where, arguments)
        error = self._judge(kind, path) if path.startswith(self._prefix) else 0
        answer = _ANSWER.pack(id_, 0, -error, 0 if error else _CONTINUE)
        fcntl.ioctl(self._listener, _SEND, bytearray(answer))

    def _judge(self, kind: str, path: str) -> int:
        """The error to fail with; 0: let it happen."""
        if kind == "open":
            self.opened[path] += 1
        fault = self._fault
        if fault is None or not fault.covers(kind, path):
            return 0
        self.seen += 1
        if self.seen != fault.number and not (fault.lasting and self.seen > fault.number):
            return 0
        self.struck[f"{kind} {_sort_of(path)}"] += 1
        return fault.error

    def _path(self, thread: int, where: str, arguments: list[int]) -> str:
        with suppress(OSError):
            if where == "fd":
                return os.readlink(f"/proc/{thread}/fd/{arguments[0] & 0xFFFFFFFF}")
            if where == "path0":
                return _whole(thread, "cwd", _text(thread, arguments[0]))
            folder = ctypes.c_int(arguments[0] & 0xFFFFFFFF).value
            base = "cwd" if folder == _AT_FDCWD else f"fd/{folder}"
            return _whole(thread, base, _text(thread, arguments[1]))
        return ""


def _whole(thread: int, base: str, path: str) -> str:
    """The absolute path, as far as descriptors and the current folder decide it."""
    path = os.path.join(os.readlink(f"/proc/{thread}/{base}"), path)
    if own := re.match(r"/proc/self/(fd/\d+)", path):
        path = os.readlink(f"/proc/{thread}/{own[1]}") + path[own.end() :]
    return path


def _text(thread: int, address: int) -> str:
    """The octets there, up to the zero."""
    found = b""
    memory = os.open(f"/proc/{thread}/mem", os.O_RDONLY | os.O_CLOEXEC)
    try:
        while len(found) < _PATH_LIMIT and b"\0" not in found:
            at = address + len(found)
            found += os.pread(memory, 4096 - at % 4096, at)  # not beyond the page
    finally:
        os.close(memory)
    return os.fsdecode(found.partition(b"\0")[0])


def _sort_of(path: str) -> str:
    """What kind of file it is, for the count."""
    if path.endswith(" (deleted)"):
        return "without a name"
    for sort in ("-wal", "-shm", ".db", ".pack", ".new", "/packs", "/packs/lock", "/bus", "/log"):
        if path.endswith(sort):
            return sort
    return "else"
