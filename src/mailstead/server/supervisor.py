"""The supervisor: binds the ports, gives up root, keeps the workers alive. It serves nobody itself.

Each worker is a whole server, forked with sockets of its own (SO_REUSEPORT); the supervisor keeps
them open, so that connections wait while a worker is restarted. SIGTERM and SIGINT drain and end
all; SIGHUP starts workers with the configuration as it is now and drains the old ones.
Holds: a worker that dies, or whose loop hangs, is replaced; one that keeps dying, ever more slowly.
"""

import logging
import os
import select
import signal
import time
from collections.abc import Callable
from contextlib import suppress

import msgspec

from mailstead.model.errors import Refusal, TemporaryFailure
from mailstead.net.shared import SharedCounters
from mailstead.server import notify
from mailstead.server.config import Config, ConfigError
from mailstead.server.listeners import Bound, bind_all
from mailstead.server.metrics import Board
from mailstead.server.privileges import become_service_user

HEARTBEAT = 5.0  # seconds between signs of life
HANG_LIMIT = 60.0  # seconds without one after which a worker is killed
DRAIN_LIMIT = 40.0  # seconds that a worker may take to end
YOUNG = 10.0  # a worker that dies within so many seconds is restarted ever more slowly
SEATS_PER_WORKER = 4  # rows of counters: old workers drain beside new ones
BACKOFF = (0.0, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)  # seconds before a restart

log = logging.getLogger("mailstead.supervisor")


class Post(msgspec.Struct, frozen=True):
    """What a worker process is given."""

    bound: list[Bound]
    pipe: int  # for its signs of life
    lifeline: int  # ends when the supervisor does
    board: Board  # the numbers of all workers
    region: int | None  # its own part of the board
    counters: SharedCounters  # what limits count, in all workers
    seat: int  # its own row of these


# What a worker process does. Comes back with the exit code.
Work = Callable[[Config, Post], int]


class _Worker(msgspec.Struct):
    """One process in its place; a place whose process is gone is restarted at `restart`."""

    place: int
    pid: int
    pipe: int
    started: float
    heard: float
    region: int | None = None
    seat: int = 0
    ready: bool = False
    draining: float = 0.0  # since when; 0: not


class Supervisor:
    """One run of the server."""

    def __init__(
        self, load: Callable[[], Config], work: Work, ready: Callable[[Config], None]
    ) -> None:
        self._load, self._work, self._ready = load, work, ready
        self._config = load()
        self._sockets: list[list[Bound]] = []
        self._workers: dict[int, _Worker] = {}  # by pid
        self._restarts: dict[int, float] = {}  # place -> when
        self._failures: dict[int, int] = {}  # place -> early deaths in a row
        self._ending = self._told_ready = False
        self.failed = False  # the workers never came up

    def run(self) -> None:
        """Serve until told to end; OSError or Refusal if it cannot even begin."""
        count = worker_count(self._config)
        for one in bind_all(self._config, shared=False):
            one.sock.close()  # the ports are free; sharing would hide that another server has them
        self._sockets = [bind_all(self._config, shared=True) for _ in range(count)]
        self._board = Board(count)
        self._counters = SharedCounters(seats=count * SEATS_PER_WORKER)
        become_service_user(self._config)
        self._lifeline, self._lifeline_end = os.pipe()
        wakeup, self._wakeup = os.pipe()
        for end in (wakeup, self._wakeup):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(self._wakeup)
        for number in _SIGNALS:
            signal.signal(number, lambda *_: None)
        for place in range(count):
            self._start(place)
        while self._workers or self._restarts:
            self._turn(wakeup)
        notify.send("STOPPING=1")

    # ------------------------------------------------------------------ one turn

    def _turn(self, wakeup: int) -> None:
        pipes = {worker.pipe: worker for worker in self._workers.values()}
        readable, _, _ = select.select([wakeup, *pipes], [], [], 1.0)
        for pipe in readable:
            if pipe == wakeup:
                self._hear_signals(wakeup)
            else:
                self._hear_worker(pipes[pipe])
        self._bury()
        self._watch_over()
        self._restart_due()

    def _hear_signals(self, wakeup: int) -> None:
        for number in os.read(wakeup, 64):
            if number in (signal.SIGTERM, signal.SIGINT):
                self._end()
            elif number == signal.SIGHUP:
                self._reload()

    def _hear_worker(self, worker: _Worker) -> None:
        said = os.read(worker.pipe, 64)
        if not said:
            return  # it is dying; waitpid tells
        worker.heard = time.monotonic()
        if b"R" in said and not worker.ready:
            worker.ready = True
            self._failures.pop(worker.place, None)
            self._drain_predecessors(worker)
        if not self._told_ready and all(one.ready for one in self._workers.values()):
            self._told_ready = True
            self._ready(self._config)
            notify.send("READY=1")

    def _bury(self) -> None:
        """Find out who died, and plan who comes instead."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            worker = self._workers.pop(pid, None)
            if worker is not None:
                os.close(worker.pipe)
                self._board.release(worker.region)
                self._counters.free_seat(worker.seat)
                self._plan_restart(worker, os.waitstatus_to_exitcode(status))

    def _plan_restart(self, worker: _Worker, code: int) -> None:
        if worker.draining or self._ending:
            return
        early = time.monotonic() - worker.started < YOUNG
        failures = self._failures.get(worker.place, 0) + 1 if early else 0
        self._failures[worker.place] = failures
        if early and not self._told_ready:
            log.error("a worker cannot start (exit code %s): giving up", code)
            self._end()
            self.failed = True
            return
        pause = BACKOFF[min(failures, len(BACKOFF) - 1)]
        log.error("worker %s died (exit code %s); another in %s s", worker.pid, code, pause)
        self._restarts[worker.place] = time.monotonic() + pause

    def _watch_over(self) -> None:
        now = time.monotonic()
        hung = False
        for worker in self._workers.values():
            late = worker.draining and now - worker.draining > DRAIN_LIMIT
            silent = now - worker.heard > HANG_LIMIT
            hung |= silent
            if late or silent:
                log.error("worker %s does not answer: killed", worker.pid)
                with suppress(ProcessLookupError):
                    os.kill(worker.pid, signal.SIGKILL)
        if not hung and "WATCHDOG_USEC" in os.environ:
            notify.send("WATCHDOG=1")

    def _restart_due(self) -> None:
        now = time.monotonic()
        for place, when in list(self._restarts.items()):
            if when <= now:
                del self._restarts[place]
                if not self._ending:
                    self._start(place)

    # ------------------------------------------------------------------ beginnings and ends

    def _start(self, place: int) -> None:
        read, write = os.pipe()
        taken = {one.region for one in self._workers.values() if one.region is not None}
        region = self._board.free_region(taken)
        seat = self._counters.take_seat()
        post = Post(
            bound=self._sockets[place],
            pipe=write,
            lifeline=self._lifeline,
            board=self._board,
            region=region,
            counters=self._counters,
            seat=seat,
        )
        pid = os.fork()
        if not pid:
            os.close(read)
            self._be_worker(post)
        os.close(write)
        now = time.monotonic()
        self._workers[pid] = _Worker(place, pid, read, now, now, region, seat)

    def _be_worker(self, post: Post) -> None:
        """In the child: never comes back."""
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            for number in _SIGNALS:
                signal.signal(number, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches us all: the parent acts
            os.close(self._lifeline_end)
            code = self._work(self._config, post)
        except (Refusal, TemporaryFailure, OSError) as error:
            log.error("a worker failed: %s", error)
        except Exception:
            log.exception("a worker failed")
        finally:
            logging.shutdown()
            os._exit(code)  # no destructors: threads of libraries may still run

    def _reload(self) -> None:
        """Workers with the configuration as it is now; the old ones end when those are ready."""
        try:
            self._config = self._load()
        except ConfigError as error:
            log.error("the old configuration stays: %s", error)
            return
        notify.send("RELOADING=1")
        log.info("reloading")
        for place in range(len(self._sockets)):
            self._start(place)

    def _drain_predecessors(self, worker: _Worker) -> None:
        for other in self._workers.values():
            if other.place == worker.place and other.started < worker.started:
                self._drain(other)
        if self._told_ready:
            notify.send("READY=1")

    def _end(self) -> None:
        self._ending = True
        self._restarts.clear()
        for worker in self._workers.values():
            self._drain(worker)

    def _drain(self, worker: _Worker) -> None:
        if not worker.draining:
            worker.draining = time.monotonic()
            with suppress(ProcessLookupError):
                os.kill(worker.pid, signal.SIGTERM)


def worker_count(config: Config, cores: int | None = None) -> int:
    """How many workers the configuration means, on as many cores as this process may use.

    0 leaves a core for everything else, but where there are only two.
    """
    cores = cores or len(os.sched_getaffinity(0))
    return config.workers or min(cores, max(2, cores - 1))


_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
