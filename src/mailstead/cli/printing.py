"""What commands print: text for people, one JSON document for programs (--json).

Holds: text from strangers (replies, HELO names, addresses) cannot steer the terminal.
"""

import re
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import TypeVar

import click
import msgspec

F = TypeVar("F", bound=Callable[..., object])

# C0 and C1 controls but the line feed, and what turns the direction of writing around.
_STEERING = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_UNITS = ("octets", "KiB", "MiB", "GiB", "TiB")


def for_operators(function: F) -> F:
    """The options that every command has: --json, and --config here too."""
    function = click.option("--json", "as_json", is_flag=True, help="For programs: JSON.")(function)
    return click.option(
        "--config",
        type=click.Path(path_type=Path),
        expose_value=False,
        callback=_use_config,
        help="The configuration file.",
    )(function)


def _use_config(context: click.Context, parameter: click.Parameter, path: Path | None) -> None:
    if path is not None:
        context.obj = path


def show(value: object, text: str, as_json: bool) -> None:
    """Print the value as JSON, or else the text."""
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())
    else:
        click.echo(clean(text))


def note(text: str) -> None:
    """Print to stderr: progress and warnings, which are no result."""
    click.echo(clean(text), err=True)


def clean(text: str) -> str:
    """The text without what could steer a terminal."""
    text = text.encode("utf-8", "replace").decode()
    return _STEERING.sub("\N{REPLACEMENT CHARACTER}", text)


def table(titles: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Columns under their titles, two spaces apart; the last is not padded."""
    cells = [list(titles), *([clean(_one_line(cell)) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ("  ".join(map(str.ljust, row, widths)).rstrip() for row in cells)
    return "\n".join(lines)


def _one_line(cell: object) -> str:
    return " ".join(str(cell).split("\n"))


def format_size(octets: int) -> str:
    """The size in the largest unit that leaves a number of 1 or more."""
    size, unit = float(octets), 0
    while size >= 1024 and unit < len(_UNITS) - 1:
        size, unit = size / 1024, unit + 1
    return f"{octets} octets" if unit == 0 else f"{size:.1f} {_UNITS[unit]}"


def format_age(since: datetime, now: datetime) -> str:
    """How long ago, in its largest unit: 3d, 4h, 5m, 6s."""
    seconds = max(0, int((now - since).total_seconds()))
    for unit, length in (("d", 86_400), ("h", 3600), ("m", 60)):
        if seconds >= length:
            return f"{seconds // length}{unit}"
    return f"{seconds}s"
