"""`mailstead check health`: what the server's page says, as an exit code."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest


@contextmanager
def operator_page(status: int, text: str) -> Iterator[int]:
    """Somebody who answers every GET like this; its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/health" else 404)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def check(mailstead: Any, listen: str, *options: str) -> Any:
    text = mailstead.config.read_text()
    mailstead.config.write_text(text.replace('#operator = ["127.0.0.1:9325"]', listen))
    return mailstead("check", "health", *options)


@pytest.mark.loopback
@pytest.mark.parametrize(
    ("status", "text", "code"),
    [(200, "ok\n", 0), (503, "no worker has shown life lately\n", 1)],
)
def test_the_exit_code_says_it(mailstead: Any, status: int, text: str, code: int) -> None:
    with operator_page(status, text) as port:
        ran = check(mailstead, f'operator = ["0.0.0.0:{port}"]')
    assert (ran.code, ran.out) == (code, text)


@pytest.mark.loopback
def test_json(mailstead: Any) -> None:
    with operator_page(503, "the database does not answer\n") as port:
        ran = check(mailstead, f'operator = ["127.0.0.1:{port}"]', "--json")
    assert (ran.code, ran.json()) == (1, {"ok": False, "reason": "the database does not answer"})


@pytest.mark.loopback
def test_nobody_is_there(mailstead: Any) -> None:
    with operator_page(200, "ok\n") as port:
        pass
    ran = check(mailstead, f'operator = ["127.0.0.1:{port}"]')
    assert ran.code == 1
    assert "the server does not answer" in ran.err


def test_no_page(mailstead: Any) -> None:
    ran = check(mailstead, "operator = []")
    assert (ran.code, "listen.operator is empty" in ran.err) == (1, True)
