"""Several workers open the same new database at the same moment."""

import multiprocessing
from collections.abc import Callable
from multiprocessing.synchronize import Barrier
from pathlib import Path

from mailstead.net.clock import SystemClock
from mailstead.storage.sqlite import SqliteStore

WORKERS = 4
ROUNDS = 25  # without the lock some four of them fail


def _open(folder: Path, together: Barrier, tell: Callable[[str], None]) -> None:
    for number in range(ROUNDS):
        together.wait(30)
        try:
            store = SqliteStore(folder / f"{number}.db", SystemClock())
            store._writer.close()
        except Exception as error:  # noqa: BLE001 told to the test
            tell(repr(error))


def test_workers_that_start_together_all_open_the_new_database(tmp_path: Path) -> None:
    spawning = multiprocessing.get_context("spawn")
    together, errors = spawning.Barrier(WORKERS), spawning.SimpleQueue()
    workers = [
        spawning.Process(target=_open, args=(tmp_path, together, errors.put))
        for _ in range(WORKERS)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert errors.empty(), errors.get()
    assert [worker.exitcode for worker in workers] == [0] * WORKERS
