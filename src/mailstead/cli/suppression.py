"""`mailstead suppression`: addresses that an organisation's mail does not go to any more."""

import csv
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
import msgspec

from mailstead.cli.house import read, write
from mailstead.cli.importing import BadRow
from mailstead.cli.parameters import ADDRESS
from mailstead.cli.printing import clean, for_operators, note, show, table
from mailstead.model.address import Address, parse_address
from mailstead.model.errors import Refusal
from mailstead.model.numbers import OrganisationId
from mailstead.storage import accounts
from mailstead.storage import suppression as rows
from mailstead.storage.store import WRITE_LIMIT, Tx
from mailstead.storage.suppression import REASONS, Suppression

COLUMNS = ("address", "reason", "evidence", "created", "expires", "stream")
SHOWN = 1000


class Imported(msgspec.Struct, frozen=True):
    """What came of a file."""

    added: int
    refused: list[BadRow]


def _of_organisation(function: Any) -> Any:
    return click.option("--organisation", default="", help="Whose; the first one if not given.")(
        function
    )


def _in_stream(function: Any) -> Any:
    return click.option("--stream", default="", help="Only of this stream; all if not given.")(
        function
    )


@click.group()
def suppression() -> None:
    """Addresses that an organisation's mail does not go to any more."""


@suppression.command()
@click.argument("address", type=ADDRESS)
@click.option("--reason", type=click.Choice(REASONS), default="named", help="Why.")
@click.option("--evidence", default="", help="What shows it: a reply, a ticket.")
@click.option("--days", type=click.IntRange(1, 36_500), help="For so long; for ever if not given.")
@_in_stream
@_of_organisation
@for_operators
def add(
    address: Address,
    reason: str,
    evidence: str,
    days: int | None,
    stream: str,
    organisation: str,
    as_json: bool,
) -> None:
    """Write to ADDRESS no more: its submission is refused with the reason."""
    if reason == "complaint" and days:
        raise Refusal("a complaint does not expire by itself: leave --days out")

    def work(tx: Tx) -> None:
        until = tx.now + timedelta(days=days) if days else None
        entry = Suppression(str(address), reason, evidence, tx.now, until, stream)
        rows.add(tx, find_organisation(tx, organisation), [entry])

    write(work)
    show({"added": str(address)}, f"Mail to {address} is refused from now on.", as_json)


@suppression.command()
@click.argument("address", type=ADDRESS)
@_in_stream
@_of_organisation
@for_operators
def remove(address: Address, stream: str, organisation: str, as_json: bool) -> None:
    """Write to ADDRESS again."""

    def work(tx: Tx) -> bool:
        return rows.remove(tx, find_organisation(tx, organisation), str(address), stream)

    if not write(work):
        raise Refusal(f"{address} is not suppressed: mailstead suppression list", "NONEXISTENT")
    show({"removed": str(address)}, f"Mail to {address} is taken again.", as_json)


@suppression.command("list")
@_of_organisation
@for_operators
def list_(organisation: str, as_json: bool) -> None:
    """List the addresses, why and since when; the first thousand. `export` gives all."""
    found = read(lambda tx: rows.page(tx, find_organisation(tx, organisation), limit=SHOWN))
    shown = [
        (
            one.address,
            one.stream or "all",
            one.reason,
            _day(one.created),
            _day(one.expires),
            one.evidence,
        )
        for one in found
    ]
    titles = ("ADDRESS", "STREAM", "REASON", "SINCE", "UNTIL", "EVIDENCE")
    show(found, table(titles, shown) if shown else "Nobody is suppressed.", as_json)


@suppression.command("import")
@click.argument("path", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@_of_organisation
@for_operators
def import_(path: Path, organisation: str, as_json: bool) -> None:
    """Add the addresses of a CSV file; its first line names the columns.

    Needed is `address`; further ones are those that `export` writes. Rows that cannot be read are
    told and left out; exit code 1 if there are any.
    """
    good: list[Suppression] = []
    bad: list[BadRow] = []
    for row in _rows(path):
        if isinstance(row, BadRow):
            bad.append(row)
        else:
            good.append(row)
    for start in range(0, len(good), WRITE_LIMIT):
        some = good[start : start + WRITE_LIMIT]
        write(lambda tx, some=some: rows.add(tx, find_organisation(tx, organisation), some))  # type: ignore[misc]
        note(f"{start + len(some)} of {len(good)} added ...")
    lines = [f"line {one.line}: {one.address or '-'}: {one.reason}" for one in bad]
    summary = f"{len(good)} addresses added, {len(bad)} rows refused."
    show(Imported(len(good), bad), "\n".join([*lines, summary]), as_json)
    if bad:
        raise click.exceptions.Exit(1)


@suppression.command()
@_of_organisation
@for_operators
def export(organisation: str, as_json: bool) -> None:
    """Write all of them as CSV (with --json: as JSON lines) to the standard output."""
    writer = csv.DictWriter(sys.stdout, COLUMNS, lineterminator="\n")
    if not as_json:
        writer.writeheader()
    for one in _all(organisation):
        if as_json:
            click.echo(msgspec.json.encode(one).decode())
        else:
            writer.writerow({name: _cell(value) for name, value in _values(one)})


def find_organisation(tx: Tx, name: str) -> OrganisationId:
    """The organisation of that name, or the first there is; Refusal if there is none."""
    found = accounts.find_organisation(tx, name) if name else accounts.first_organisation(tx)
    if found is None:
        raise Refusal(f"there is no organisation {name}: mailstead domain list", "NONEXISTENT")
    return found


def _all(organisation: str) -> Iterator[Suppression]:
    after = ("", "")
    while page := read(
        lambda tx, after=after: rows.page(tx, find_organisation(tx, organisation), after)  # type: ignore[misc]
    ):
        yield from page
        after = (page[-1].stream, page[-1].address)


def _rows(path: Path) -> Iterator[Suppression | BadRow]:
    now = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        if "address" not in (reader.fieldnames or ()):
            raise Refusal(f"{path}: the first line has to name the columns, address among them")
        for row in reader:
            try:
                yield _entry(row, now)
            except ValueError as error:
                yield BadRow(reader.line_num, str(error), clean(row["address"] or ""))


def _entry(row: dict[str, str | None], now: datetime) -> Suppression:
    reason = row.get("reason") or "named"
    if reason not in REASONS:
        raise ValueError(f"the reason is none of {', '.join(REASONS)}")
    return Suppression(
        address=str(parse_address(row["address"] or "")),
        reason=reason,
        evidence=row.get("evidence") or "",
        created=_time(row.get("created")) or now,
        expires=_time(row.get("expires")),
        stream=row.get("stream") or "",
    )


def _time(text: str | None) -> datetime | None:
    if not text:
        return None
    at = datetime.fromisoformat(text)
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _values(one: Suppression) -> list[tuple[str, object]]:
    return [(name, getattr(one, name)) for name in COLUMNS]


def _cell(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value or "")


def _day(at: datetime | None) -> str:
    return f"{at:%Y-%m-%d}" if at else "-"
