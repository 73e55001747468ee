"""Big bodies on their way in, where they cannot be kept."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mailstead.model.errors import TemporaryFailure
from mailstead.storage.blobs import SPOOL_SIZE, Gathering


@contextmanager
def no_file_grows_beyond(octets: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (octets, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
def test_a_tail_that_cannot_be_spooled_is_told_once(tmp_path: Path) -> None:
    body = Gathering(tmp_path)
    body.add(b"x" * (SPOOL_SIZE + 1))
    with no_file_grows_beyond(SPOOL_SIZE + 1):
        body.add(b"y" * 100)  # waits in the buffer of the file
        with pytest.raises(TemporaryFailure):
            body.finish()
        del body  # and nothing in the log about what was told already
