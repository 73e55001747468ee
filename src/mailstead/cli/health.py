"""`mailstead check health`, and the pages of the server (listen.operator) that commands read."""

import urllib.error
import urllib.request

import click
import msgspec

from mailstead.cli.house import load_config
from mailstead.cli.printing import for_operators, show
from mailstead.model.errors import Refusal
from mailstead.server.config import Config, parse_endpoint

ANSWER_LIMIT = 4 * 1024 * 1024  # octets
TIME_LIMIT = 5.0  # seconds


class Page(msgspec.Struct, frozen=True):
    """What the server answered."""

    status: int
    text: str


class Checked(msgspec.Struct, frozen=True):
    """Whether the server can do its work; `reason` says why not."""

    ok: bool
    reason: str


@click.command("health")
@for_operators
def health(as_json: bool) -> None:
    """Whether the running server can do its work; exit code 1 if not. For containers and timers."""
    page = fetch_page(load_config(), "/health")
    checked = Checked(page.status == 200, page.text.strip())
    show(checked, checked.reason, as_json)
    if not checked.ok:
        raise click.exceptions.Exit(1)


def fetch_page(config: Config, path: str) -> Page:
    """A page of the server on this machine; refused if there is none or nobody answers."""
    if not config.listen.operator:
        raise Refusal("listen.operator is empty: there is no page to read; mailstead check config")
    endpoint = parse_endpoint(config.listen.operator[0])
    address = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(endpoint.address, endpoint.address)
    host = f"[{address}]" if ":" in address else address
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://{host}:{endpoint.port}{path}", timeout=TIME_LIMIT) as answer:
            return Page(answer.status, _text(answer.read(ANSWER_LIMIT)))
    except urllib.error.HTTPError as error:
        with error:
            return Page(error.code, _text(error.read(ANSWER_LIMIT)))
    except OSError as error:
        raise Refusal(f"the server does not answer at {host}:{endpoint.port}: {error}") from error


def _text(octets: bytes) -> str:
    return octets.decode("utf-8", "replace")
