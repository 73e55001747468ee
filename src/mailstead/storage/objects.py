"""The door to an object store that speaks S3: get, put, list, delete, each within a known time.

Retries are the client's, few and with back-off. When calls fail in a row, further ones fail at
once for a while, but for one now and then that finds out whether the store is back. Whatever goes
wrong is a TemporaryFailure; only what the store says it does not have is absent.
obstore is an optional dependency: nothing else here imports it, and only when a bucket is opened.
"""

import logging
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec

from mailstead.model.errors import Refusal, TemporaryFailure

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig, S3Store

FIRST_PAUSE, LAST_PAUSE = timedelta(milliseconds=200), timedelta(seconds=1)  # between tries
UPLOAD_PART = 8 * 1024 * 1024  # larger objects are uploaded in parts of this size
UPLOADS = 2  # parts on their way at once
LIST_PAGE = 1000
LIST_LIMIT = 1_000_000  # objects
FAILURES = 3  # in a row, and calls fail at once
PAUSE = 10.0  # seconds until the next that may find out whether the store is back
CACHE_LIMIT = 1024**3

_CODE = re.compile("<Code>[A-Za-z]{1,60}</Code>")

log = logging.getLogger("mailstead.objects")


class ObjectStoreSettings(msgspec.Struct, frozen=True):
    """Where the bucket is, and who we are there. Without keys the environment is asked."""

    url: str  # s3://bucket/prefix
    cache: Path  # folder on this machine: blocks, the lock, packs that are being made
    endpoint: str = ""  # empty: Amazon's, of the region
    region: str = "us-east-1"
    access_key: str = ""
    secret_key: str = ""
    allow_http: bool = False
    cache_limit: int = CACHE_LIMIT  # octets; 0: nothing is kept

    def __repr__(self) -> str:
        return f"ObjectStoreSettings({self.url!r})"  # no secrets in logs


class Patience(msgspec.Struct, frozen=True):
    """How long one waits: a read with all its tries, or one part going up, half a minute."""

    connect: timedelta = timedelta(seconds=3)
    read: timedelta = timedelta(seconds=9)  # for one try
    write: timedelta = timedelta(seconds=30)  # for one try; one that took it all is the last
    retries: int = 2
    all: timedelta = timedelta(seconds=20)  # after which no further try begins


PATIENCE = Patience()


class Absent(Exception):
    """The store says that it does not have the object, or no octets there."""


class Breaker:
    """Whether it is worth asking: after FAILURES in a row only one call each PAUSE finds out."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now, self._lock = now, threading.Lock()
        self._failures, self._until = 0, 0.0

    def check(self) -> None:
        """TemporaryFailure if it is not."""
        with self._lock:
            if self._failures >= FAILURES:
                if self._now() < self._until:
                    raise TemporaryFailure("the object store does not answer; asked again soon")
                self._until = self._now() + PAUSE

    def failed(self) -> None:
        """It did not answer, or not as it should."""
        with self._lock:
            self._failures += 1
            self._until = self._now() + PAUSE
            if self._failures == FAILURES:
                log.warning("the object store fails: what lies in it cannot be read for now")

    def answered(self) -> None:
        """It did."""
        with self._lock:
            if self._failures >= FAILURES:
                log.info("the object store is back")
            self._failures = 0


class Bucket:
    """The objects below a prefix in a bucket. Methods wait: call them on threads."""

    def __init__(self, settings: ObjectStoreSettings, patience: Patience = PATIENCE) -> None:
        try:
            import obstore
            from obstore.exceptions import BaseError
        except ImportError:
            raise Refusal(
                f"{settings.url} needs a package that is not installed: pip install 'mailstead[s3]'"
            ) from None
        self.url = settings.url.rstrip("/")
        self._api, self._errors = obstore, (BaseError, OSError)
        self._reading = _store(settings, patience, patience.read)
        self._writing = _store(settings, patience, patience.write)
        self._breaker = Breaker()

    def get(self, name: str, start: int, length: int) -> bytes:
        """Octets of an object; fewer if it ends before, none if it is not there."""
        try:
            with self._asking():
                found = self._api.get_range(self._reading, name, start=start, length=length)
                return bytes(found)
        except Absent:
            return b""

    def put(self, name: str, file: Path) -> None:
        """Upload the file; durable when it comes back."""
        with self._asking():
            self._api.put(
                self._writing, name, file, chunk_size=UPLOAD_PART, max_concurrency=UPLOADS
            )

    def size(self, name: str) -> int | None:
        """How many octets the object has, None if it is not there."""
        try:
            with self._asking():
                return self._api.head(self._reading, name)["size"]
        except Absent:
            return None

    def sizes(self) -> dict[str, int]:
        """Name -> octets of all objects."""
        found: dict[str, int] = {}
        with self._asking():
            for page in self._api.list(self._reading, chunk_size=LIST_PAGE):
                found.update((one["path"], one["size"]) for one in page)
                if len(found) > LIST_LIMIT:
                    raise TemporaryFailure(f"{self.url} has more than {LIST_LIMIT} objects")
        return found

    def delete(self, names: Sequence[str]) -> None:
        """Delete the objects, as far as they are there."""
        with self._asking():
            self._api.delete(self._writing, names)

    @contextmanager
    def _asking(self) -> Iterator[None]:
        self._breaker.check()
        try:
            yield
        except self._errors as error:
            if _is_absent(error):
                self._breaker.answered()
                raise Absent from None
            self._breaker.failed()
            raise TemporaryFailure(f"{self.url} cannot be used: {_why(error)}") from None
        self._breaker.answered()


def _is_absent(error: Exception) -> bool:
    """A missing object, or a range behind its end; not a missing bucket, not a proxy's 404."""
    text = str(error)
    if isinstance(error, FileNotFoundError):
        return "NoSuchKey" in text or "performing HEAD" in text  # HEAD has no room for a code
    return "status code: 416" in text


def _why(error: Exception) -> str:
    """What the client says in its first line, and the code of the store's own answer."""
    code = _CODE.search(text := str(error))
    return text.partition("\n")[0][:300] + (f" {code[0]}" if code else "")


def _store(settings: ObjectStoreSettings, patience: Patience, limit: timedelta) -> "S3Store":
    from obstore.store import S3Store

    client: ClientConfig = {
        "allow_http": settings.allow_http,
        "connect_timeout": patience.connect,
        "timeout": limit,
    }
    retry: RetryConfig = {
        "max_retries": patience.retries,
        "retry_timeout": patience.all,
        "backoff": {"init_backoff": FIRST_PAUSE, "max_backoff": LAST_PAUSE, "base": 2},
    }
    bucket, prefix = split_url(settings.url)
    who: dict[str, Any] = {
        name: value
        for name, value in (
            ("endpoint", settings.endpoint),
            ("access_key_id", settings.access_key),
            ("secret_access_key", settings.secret_key),
        )
        if value
    }
    try:
        return S3Store(
            bucket,
            prefix=prefix or None,
            region=settings.region,
            client_options=client,
            retry_config=retry,
            **who,
        )
    except Exception as error:  # the client has no base class for these
        raise Refusal(f"{settings.url} cannot be used: {error}") from error


def split_url(url: str) -> tuple[str, str]:
    """The bucket and the prefix; another form is a Refusal."""
    parts = urlsplit(url)
    if parts.scheme != "s3" or not parts.netloc or parts.query or parts.fragment:
        raise Refusal(f"{url} is no place for bodies: it has the form s3://bucket/prefix")
    return parts.netloc, parts.path.strip("/")
