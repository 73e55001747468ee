"""Write docs/cli.md from the help of every command: `python tools/clihelp.py [--check]`."""

import sys
from collections.abc import Iterator
from pathlib import Path

import click

from mailstead.cli.main import main

PAGE = Path(__file__).parent.parent / "docs" / "cli.md"
WIDTH = 90
HEAD = """\
# The command line

Written by `tools/clihelp.py` from the commands themselves; do not edit it here.

`mailstead NOUN VERB`. Text for people; `--json` prints one JSON document for programs. Exit codes:
0 done, 1 refused (the message says what to run next), 2 wrong usage, 75 try again later.

The configuration is the first of: `--config FILE`, `--data DIR`, `$MAILSTEAD_CONFIG`,
`./mailstead.toml`, `/etc/mailstead/mailstead.toml`, and what `mailstead localserve` wrote for this
user. Started by root, a command becomes the user of the configuration first.
"""


def page() -> str:
    """The whole page."""
    return HEAD + "".join(_sections(main, None, "mailstead"))


def _sections(command: click.Command, parent: click.Context | None, name: str) -> Iterator[str]:
    settings = {**command.context_settings, "terminal_width": WIDTH, "max_content_width": WIDTH}
    context = click.Context(command, parent=parent, info_name=name, **settings)
    title = context.command_path
    yield f"\n## {title}\n\n```\n{command.get_help(context).rstrip()}\n```\n"
    if isinstance(command, click.Group):
        for verb in command.list_commands(context):
            found = command.get_command(context, verb)
            assert found is not None
            yield from _sections(found, context, verb)


if __name__ == "__main__":
    if "--check" in sys.argv:
        if PAGE.read_text("utf-8") != page():
            sys.exit("docs/cli.md is stale: python tools/clihelp.py")
    else:
        PAGE.write_text(page(), "utf-8")
