"""Object stores for tests on loopback ports: one that works, and one that is unwell."""

import itertools
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import boto3
from moto.core import DEFAULT_ACCOUNT_ID
from moto.s3.models import s3_backends
from moto.server import ThreadedMotoServer

from mailstead.storage.objects import ObjectStoreSettings

_buckets = itertools.count()


class Moto:
    """An object store in memory, and a look into it."""

    def __init__(self, port: int) -> None:
        self.endpoint = f"http://127.0.0.1:{port}"
        self.client = boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id="key",
            aws_secret_access_key="secret",
            region_name="us-east-1",
        )

    def new_bucket(self, cache: Path, cache_limit: int = 2**30) -> ObjectStoreSettings:
        """A bucket that nobody used before."""
        name = f"mail-{os.getpid()}-{next(_buckets)}"
        self.client.create_bucket(Bucket=name)
        return settings(self.endpoint, cache, f"s3://{name}/some/prefix", cache_limit)

    def names(self, at: ObjectStoreSettings) -> list[str]:
        """All objects of the bucket, from the root."""
        found = self.client.list_objects_v2(Bucket=bucket_of(at)).get("Contents", [])
        return [one["Key"] for one in found]

    def read(self, at: ObjectStoreSettings, name: str) -> bytes:
        """The octets of an object below the prefix."""
        found = self.client.get_object(Bucket=bucket_of(at), Key=f"some/prefix/{name}")
        octets: bytes = found["Body"].read()
        return octets

    def write(self, at: ObjectStoreSettings, name: str, data: bytes) -> None:
        """Put an object below the prefix."""
        self.client.put_object(Bucket=bucket_of(at), Key=f"some/prefix/{name}", Body=data)

    def fill(self, at: ObjectStoreSettings, count: int) -> None:
        """Put so many objects below the prefix, without a request for each."""
        backend = s3_backends[DEFAULT_ACCOUNT_ID]["aws"]
        for number in range(count):
            backend.put_object(bucket_of(at), f"some/prefix/{number:06d}", b"x")

    def remove(self, at: ObjectStoreSettings, name: str) -> None:
        """Delete an object below the prefix."""
        self.client.delete_object(Bucket=bucket_of(at), Key=f"some/prefix/{name}")


def bucket_of(at: ObjectStoreSettings) -> str:
    """The bucket's name."""
    return at.url.split("/")[2]


def settings(
    endpoint: str, cache: Path, url: str = "s3://mail/some/prefix", cache_limit: int = 2**30
) -> ObjectStoreSettings:
    """How one gets at a store on loopback."""
    return ObjectStoreSettings(
        url,
        cache,
        endpoint=endpoint,
        access_key="key",
        secret_key="secret",
        allow_http=True,
        cache_limit=cache_limit,
    )


@contextmanager
def running_moto() -> Iterator[Moto]:
    """A store that works."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        yield Moto(server.get_host_and_port()[1])
    finally:
        server.stop()


class Unwell:
    """A store that answers every request with 503, or not at all; `asked` counts them."""

    def __init__(self, answers: bool) -> None:
        self.asked = 0
        self.over = threading.Event()
        unwell = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                unwell.asked += 1
                if not answers:
                    unwell.over.wait(60)
                self.send_response(503)
                self.send_header("Content-Length", "0")
                self.send_header("Connection", "close")
                self.end_headers()
                self.close_connection = True

            do_GET = do_PUT = do_HEAD = do_POST = answer

            def log_message(self, *_: object) -> None:
                """Nobody reads it."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,)).start()

    def stop(self) -> None:
        """No more."""
        self.over.set()
        self._server.shutdown()
        self._server.server_close()
