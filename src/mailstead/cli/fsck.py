"""`mailstead fsck`: whether everything in the store is there, and whole."""

import click
import msgspec

from mailstead.cli.house import operate
from mailstead.cli.printing import for_operators, note, show
from mailstead.server.wiring import House
from mailstead.services.checking import Checking, Finding, Report

MESSAGES_SHOWN = 5


class Checked(msgspec.Struct, frozen=True):
    """What `--json` prints."""

    clean: bool
    findings: list[Finding]
    repaired: list[str]
    packs: int
    parts: int


@click.command()
@click.option("--repair", is_flag=True, help="Correct counters, remove files of nobody.")
@for_operators
def fsck(repair: bool, as_json: bool) -> None:
    """Check the whole store: database, counters, quotas, every body; exit code 1 if not clean.

    Reads only, unless --repair is given, and may run beside the server. Progress goes to stderr.
    """
    report, repaired = operate(lambda house: _check(house, repair))
    clean, findings = report.clean, report.findings
    value = Checked(clean, findings, repaired, report.packs, report.parts)
    show(value, "\n".join(_lines(report, repaired)), as_json)
    if not clean:
        raise click.exceptions.Exit(1)


async def _check(house: House, repair: bool) -> tuple[Report, list[str]]:
    checking = Checking(house.store, house.world.clock, house.world.offload, house.packs)
    repaired = await checking.repair() if repair else []
    return await checking.check(note), repaired


def _lines(report: Report, repaired: list[str]) -> list[str]:
    lines = [f"Repaired: {text}" for text in repaired]
    for finding in report.findings:
        lines.append(finding.what)
        lines += [f"    {text}" for text in finding.messages[:MESSAGES_SHOWN]]
        if more := len(finding.messages) - MESSAGES_SHOWN:
            lines += [f"    and {more} more messages"] * (more > 0)
    looked = f"{report.packs} packs with {report.parts} parts of bodies"
    if report.clean:
        return [*lines, f"The store is whole: the database, {looked}."]
    advice = "Counters and files of nobody: mailstead fsck --repair. All else: your backup."
    return [*lines, f"The store is damaged ({looked} were read). {advice}"]
