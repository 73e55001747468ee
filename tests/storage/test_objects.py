"""The door to an object store: what it gives, and how long it takes to say that it cannot."""

import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from mailstead.model.errors import Refusal, TemporaryFailure
from mailstead.storage.objects import (
    FAILURES,
    PATIENCE,
    PAUSE,
    UPLOAD_PART,
    Breaker,
    Bucket,
    ObjectStoreSettings,
    Patience,
    split_url,
)

from .object_store import Moto, Unwell, running_moto, settings

QUICK = Patience(
    timedelta(seconds=1), timedelta(seconds=0.2), timedelta(seconds=0.2), 1, timedelta(seconds=1)
)


@pytest.fixture(scope="module")
def moto() -> Iterator[Moto]:
    with running_moto() as store:
        yield store


@pytest.fixture
def here(moto: Moto, tmp_path: Path) -> ObjectStoreSettings:
    return moto.new_bucket(tmp_path / "cache")


def test_objects_come_back_in_pieces(moto: Moto, here: ObjectStoreSettings, tmp_path: Path) -> None:
    bucket, file = Bucket(here), tmp_path / "file"
    file.write_bytes(bytes(range(256)))
    bucket.put("a.pack", file)
    assert moto.names(here) == ["some/prefix/a.pack"]
    assert bucket.sizes() == {"a.pack": 256}
    assert (bucket.size("a.pack"), bucket.size("b.pack")) == (256, None)
    assert bucket.get("a.pack", 3, 4) == b"\x03\x04\x05\x06"
    assert bucket.get("a.pack", 254, 10) == b"\xfe\xff"
    assert bucket.get("a.pack", 300, 10) == b""
    assert bucket.get("b.pack", 0, 10) == b""
    bucket.delete(["a.pack", "b.pack"])
    assert bucket.sizes() == {}


def test_big_objects_go_up_in_parts(moto: Moto, here: ObjectStoreSettings, tmp_path: Path) -> None:
    octets = b"".join(number.to_bytes(8, "big") for number in range(UPLOAD_PART // 4))
    (tmp_path / "file").write_bytes(octets + b"end")
    Bucket(here).put("big.pack", tmp_path / "file")
    assert moto.read(here, "big.pack") == octets + b"end"
    found = moto.client.head_object(Bucket=here.url.split("/")[2], Key="some/prefix/big.pack")
    assert found["ETag"].endswith('-3"')  # as stores name what came in three parts


def test_a_long_list_comes_in_pages(moto: Moto, here: ObjectStoreSettings) -> None:
    moto.fill(here, 2001)
    assert len(Bucket(here).sizes()) == 2001


def test_a_bucket_that_is_not_there_is_no_damage(moto: Moto, tmp_path: Path) -> None:
    bucket = Bucket(settings(moto.endpoint, tmp_path, "s3://nobodys/prefix"))
    (tmp_path / "file").write_bytes(b"x")
    for ask in (
        lambda: bucket.get("a.pack", 0, 1),
        lambda: bucket.put("a.pack", tmp_path / "file"),
    ):
        with pytest.raises(
            TemporaryFailure, match=r"s3://nobodys/prefix cannot be used: .*NoSuchBucket"
        ):
            ask()


@pytest.mark.parametrize("answers", [True, False], ids=["503", "silence"])
def test_a_store_that_is_unwell_is_left_alone(answers: bool, tmp_path: Path) -> None:
    store = Unwell(answers)
    try:
        bucket = Bucket(settings(store.endpoint, tmp_path), QUICK)
        (tmp_path / "file").write_bytes(b"x")
        began = time.monotonic()
        for ask in (
            lambda: bucket.get("a.pack", 0, 1),
            bucket.sizes,
            lambda: bucket.put("a.pack", tmp_path / "file"),
        ):
            with pytest.raises(TemporaryFailure, match="cannot be used"):
                ask()
        assert time.monotonic() - began < 10
        asked = store.asked
        assert asked == 2 * FAILURES  # each was tried once more
        with pytest.raises(TemporaryFailure, match="does not answer"):
            bucket.get("a.pack", 0, 1)
        assert store.asked == asked
    finally:
        store.stop()


def test_a_store_that_is_gone_is_told_so(tmp_path: Path) -> None:
    store = Unwell(True)
    store.stop()
    with pytest.raises(TemporaryFailure, match="cannot be used"):
        Bucket(settings(store.endpoint, tmp_path), QUICK).delete(["a.pack"])


def test_the_defaults_keep_everybody_waiting_for_half_a_minute_at_most() -> None:
    patience = PATIENCE
    pauses = timedelta(seconds=1) * patience.retries
    assert patience.read * (1 + patience.retries) + pauses <= timedelta(seconds=30)
    assert patience.all < patience.write <= timedelta(seconds=30)  # so there is one try


class Watch:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.time = 0.0

    def __call__(self) -> float:
        return self.time


def test_the_breaker_lets_one_call_find_out_whether_the_store_is_back() -> None:
    watch = Watch()
    breaker = Breaker(watch)
    for _ in range(FAILURES - 1):
        breaker.check()
        breaker.failed()
    breaker.check()
    breaker.failed()
    with pytest.raises(TemporaryFailure):
        breaker.check()
    watch.time += PAUSE
    breaker.check()  # this one finds out
    with pytest.raises(TemporaryFailure):
        breaker.check()  # all others still fail
    breaker.answered()
    for _ in range(FAILURES - 1):
        breaker.check()
        breaker.failed()
    breaker.check()


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("s3://bucket", ("bucket", "")),
        ("s3://bucket/", ("bucket", "")),
        ("s3://bucket/some/prefix/", ("bucket", "some/prefix")),
    ],
)
def test_urls(url: str, expected: tuple[str, str]) -> None:
    assert split_url(url) == expected


@pytest.mark.parametrize("url", ["", "bucket", "/var/packs", "gs://bucket", "s3://", "s3:///x"])
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(Refusal, match="s3://bucket/prefix"):
        split_url(url)


def test_secrets_are_not_printed(tmp_path: Path) -> None:
    assert "secret" not in repr(settings("http://127.0.0.1:1", tmp_path))


def test_without_the_optional_package_one_is_told_what_to_install(tmp_path: Path) -> None:
    program = (
        "import sys; sys.modules['obstore'] = None\n"
        "from pathlib import Path\n"
        "from mailstead.storage.objects import Bucket, ObjectStoreSettings\n"
        f"Bucket(ObjectStoreSettings('s3://mail', Path({str(tmp_path)!r})))\n"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "pip install 'mailstead[s3]'" in ran.stderr
    assert "Refusal" in ran.stderr


def test_the_optional_package_is_not_imported_before_it_is_needed() -> None:
    program = "import sys, mailstead.storage.packbucket; print('obstore' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ran.stdout == "False\n"
