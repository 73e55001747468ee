"""One contract suite for every database: each test gets `store`, in threads and without."""

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from mailstead.net.clock import SystemClock
from mailstead.storage.sqlite import SqliteStore
from mailstead.storage.store import Store

Story = Callable[[Store], Coroutine[Any, Any, None]]


@pytest.fixture(params=["sqlite", "sqlite-in-loop"])
def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Store]:
    """Opens the store of this test; call it inside the loop, again to open it anew."""

    def open_() -> Store:
        return SqliteStore(tmp_path / "mailstead.db", SystemClock(), request.param == "sqlite")

    return open_
