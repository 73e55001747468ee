"""`mailstead account add --from-csv`: many accounts from one file.

The first line names the columns: address and password (or hash, of another server), and if wanted
name and quota. Each row is done or not done by itself; of each that is not, the line and the reason
are told.
"""

import asyncio
import csv
from collections.abc import Iterator
from pathlib import Path

import click
import msgspec

from mailstead.cli.house import operate
from mailstead.cli.parameters import parse_size
from mailstead.cli.printing import note, show
from mailstead.model.address import Address, parse_address
from mailstead.model.errors import Refusal, TemporaryFailure
from mailstead.server.wiring import House
from mailstead.services import directory
from mailstead.services.directory import NewAccount

SECRETS = ("password", "hash")  # one of them
COLUMNS = ("address", *SECRETS, "name", "quota")
AT_ONCE = 16  # rows under way together: they share commits
PROGRESS_EVERY = 100  # rows


class BadRow(msgspec.Struct, frozen=True):
    """A row that was not done, and why."""

    line: int
    reason: str
    address: str = ""


class Imported(msgspec.Struct, frozen=True):
    """What came of the file."""

    added: int
    refused: list[BadRow]


Row = tuple[int, NewAccount]


def import_accounts(path: Path, as_json: bool) -> None:
    """Make the accounts of the file; exit code 1 if a row was refused."""
    rows = read_rows(path)
    imported = operate(lambda house: _import(house, rows))
    lines = [f"line {bad.line}: {bad.address or '-'}: {bad.reason}" for bad in imported.refused]
    summary = f"{imported.added} accounts added, {len(imported.refused)} rows refused."
    if lines:
        summary += " Mend these and run it again with them alone."
    show(imported, "\n".join([*lines, summary]), as_json)
    if lines:
        raise click.exceptions.Exit(1)


def read_rows(path: Path) -> list[Row | BadRow]:
    """All rows of the file; Refusal if it is none of ours."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            columns = [name.strip().lower() for name in next(reader, [])]
            _check_columns(path, columns)
            return list(_rows(reader, columns))
    except OSError as error:
        raise Refusal(f"{path}: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise Refusal(f"{path} is not a CSV file in UTF-8: {error}") from error


def _check_columns(path: Path, columns: list[str]) -> None:
    unknown = [name for name in columns if name not in COLUMNS]
    complete = "address" in columns and sum(name in columns for name in SECRETS) == 1
    if unknown or not complete or len(set(columns)) < len(columns):
        raise Refusal(
            f"{path}: the first line has to name the columns, each once:"
            " address,password,name,quota (the last two may be left out, hash stand for password)"
        )


def _rows(reader: "Iterator[list[str]]", columns: list[str]) -> Iterator[Row | BadRow]:
    for row in reader:
        line: int = reader.line_num  # type: ignore[attr-defined]
        if not row:
            continue
        if len(row) != len(columns):
            yield BadRow(line, f"it has {len(row)} columns, not {len(columns)}")
            continue
        cells = dict(zip(columns, row, strict=True))
        try:
            yield line, _account(cells)
        except ValueError as error:
            yield BadRow(line, str(error), cells["address"])


def _account(cells: dict[str, str]) -> NewAccount:
    return NewAccount(
        parse_address(cells["address"].strip()),
        cells.get("password", ""),
        cells.get("name", "").strip(),
        parse_size(cells.get("quota", "") or "0"),
        _hash(cells),
    )


def _hash(cells: dict[str, str]) -> str:
    hashed = cells.get("hash", "").strip()
    if "hash" in cells and not hashed:
        raise ValueError("the hash is missing")
    return hashed


async def _import(house: House, rows: list[Row | BadRow]) -> Imported:
    rows = list(_without_repeats(rows))  # rows run side by side: which comes first is chance
    refused = [row for row in rows if isinstance(row, BadRow)]
    good = [row for row in rows if not isinstance(row, BadRow)]
    for start in range(0, len(good), AT_ONCE):
        async with asyncio.TaskGroup() as tasks:
            group = good[start : start + AT_ONCE]
            running = [tasks.create_task(_add(house, line, new)) for line, new in group]
        refused += [bad for task in running if (bad := task.result())]
        done = start + len(group)
        if done // PROGRESS_EVERY > start // PROGRESS_EVERY:
            note(f"{done} of {len(good)} rows ...")
    return Imported(len(rows) - len(refused), sorted(refused, key=lambda bad: bad.line))


def _without_repeats(rows: list[Row | BadRow]) -> Iterator[Row | BadRow]:
    """Of an address that stands in several rows, the first counts."""
    first: dict[Address, int] = {}
    for row in rows:
        if isinstance(row, BadRow):
            yield row
            continue
        line, new = row
        earlier = first.setdefault(new.address, line)
        reason = f"the address {new.address} is taken by line {earlier}"
        yield row if earlier == line else BadRow(line, reason, str(new.address))


async def _add(house: House, line: int, new: NewAccount) -> BadRow | None:
    try:
        await directory.add_account(house.store, house.world, new)
    except (Refusal, TemporaryFailure) as error:
        return BadRow(line, error.reason, str(new.address))
    return None
