"""`mailstead filter`: what looks at mail at the door, and how an operator changes it.

Each part has a file of its own: lists in the DNS, sealers and switches.
"""

import click

from mailstead.cli.filter_sealers import sealer
from mailstead.cli.filter_switches import greylist, seal
from mailstead.cli.filter_zones import zone


@click.group("filter")
def filter() -> None:
    """What looks at mail at the door: lists, sealers, greylisting, other programs."""


filter.add_command(zone)
filter.add_command(sealer)
filter.add_command(seal)
filter.add_command(greylist)
