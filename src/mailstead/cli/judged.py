"""`mailstead check message`: what would become of a message, replayed by hand."""

from typing import BinaryIO

import click

from mailstead.cli.house import operate
from mailstead.cli.parameters import IP_ADDRESS
from mailstead.cli.printing import for_operators, show
from mailstead.message.header import ensure_crlf, split
from mailstead.model.entries import Authenticated
from mailstead.server.wiring import House
from mailstead.services.explain import explain_entry
from mailstead.services.inbound.authentication import entry_of
from mailstead.services.inbound.caller import Caller
from mailstead.services.inbound.evidence import Client, Gathering, Setting
from mailstead.services.inbound.manners import Manners
from mailstead.services.inbound.policy import judge
from mailstead.services.inbound.screening import hosts_author

MESSAGE_LIMIT = 100 * 1024 * 1024  # octets


@click.command("message")
@click.argument("client", type=IP_ADDRESS)
@click.argument("sender")
@click.argument("file", type=click.File("rb"), default="-")
@click.option("--helo", default="", help="What the client calls itself; else the sender's domain.")
@for_operators
def judge_message(client: str, sender: str, file: BinaryIO, helo: str, as_json: bool) -> None:
    """Say what would become of a message that came from outside: inbox, Junk, or refused.

    CLIENT is the address that brings it, SENDER the address in MAIL FROM ("<>" for the null one);
    the message comes from FILE or the standard input. Nothing is filed.
    """
    path = sender.strip("<>")
    header, body = split(ensure_crlf(file.read(MESSAGE_LIMIT)))
    asked = Client(client, helo or path.rpartition("@")[2] or "localhost", path)
    entry = operate(lambda house: _judge(house, asked, header, body))
    line = explain_entry(entry)
    show(entry, "\n".join([line.text, *(f"  {fact}" for fact in line.evidence)]), as_json)


async def _judge(house: House, client: Client, header: bytes, body: bytes) -> Authenticated:
    site, caller = house.site, Caller(client.address, house.site.lists, house.world.resolver)
    setting = Setting(site.hostname, house.world.resolver, site.lists, caller)
    gathering = Gathering(header, client, setting)
    gathering.add(body)
    now = house.world.clock.now()
    hosted = await house.store.read(lambda tx: hosts_author(tx, header))
    evidence = await gathering.finish(now, Manners(client.helo), hosted=hosted)
    return entry_of(evidence, judge(evidence), now)
