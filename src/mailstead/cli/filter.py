"""`mailstead filter`: what looks at mail at the door, and how an operator changes it.

Each part has a file of its own: other programs, lists in the DNS, sealers, switches.
"""

import click

from mailstead.cli.filter_engines import add, code, list_, remove, test
from mailstead.cli.filter_sealers import sealer
from mailstead.cli.filter_switches import greylist, seal, strict
from mailstead.cli.filter_zones import zone


@click.group("filter")
def filter() -> None:
    """What looks at mail at the door: lists, sealers, greylisting, other programs."""


for command in (add, list_, remove, test, code, zone, sealer, seal, strict, greylist):
    filter.add_command(command)
