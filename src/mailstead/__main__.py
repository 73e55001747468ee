"""`python -m mailstead` is `mailstead`."""

from mailstead.cli.main import main

main(prog_name="mailstead")
