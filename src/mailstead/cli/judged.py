"""`mailstead check message`: what would become of a message, replayed by hand."""

from typing import BinaryIO

import click

from mailstead.cli.house import operate
from mailstead.cli.parameters import IP_ADDRESS
from mailstead.cli.printing import for_operators, show
from mailstead.cli.suppression import find_organisation
from mailstead.message.header import ensure_crlf, split
from mailstead.model.address import Address, Domain, parse_address
from mailstead.model.entries import AnyEntry
from mailstead.model.errors import Refusal
from mailstead.model.numbers import TraceId
from mailstead.server.wiring import House
from mailstead.services.delivery import recipients
from mailstead.services.delivery.recipients import Found
from mailstead.services.explain import explain_entry
from mailstead.services.inbound.authentication import entry_of
from mailstead.services.inbound.caller import Caller
from mailstead.services.inbound.evidence import Client, Gathering, Setting, subjects_of_domains
from mailstead.services.inbound.manners import Manners
from mailstead.services.inbound.policy import judge
from mailstead.services.inbound.scoring import hosts_of
from mailstead.services.inbound.screening import (
    Outcome,
    entries_of,
    outcome_of,
)
from mailstead.storage.store import Tx

MESSAGE_LIMIT = 100 * 1024 * 1024  # octets


@click.command("message")
@click.argument("client", type=IP_ADDRESS)
@click.argument("sender")
@click.argument("file", type=click.File("rb"), default="-")
@click.option("--helo", default="", help="What the client calls itself; else the sender's domain.")
@click.option("--to", default="", help="As this recipient's mail is judged.")
@for_operators
def judge_message(
    client: str, sender: str, file: BinaryIO, helo: str, to: str, as_json: bool
) -> None:
    """Say what would become of a message that came from outside: inbox, Junk, or refused.

    CLIENT is the address that brings it, SENDER the address in MAIL FROM ("<>" for the null one);
    the message comes from FILE or the standard input. Nothing is filed, no other program is asked.
    """
    path = sender.strip("<>")
    header, body = split(ensure_crlf(file.read(MESSAGE_LIMIT)))
    asked = Client(client, helo or path.rpartition("@")[2] or "localhost", path)
    entries = operate(lambda house: _judge(house, asked, header, body, to))
    lines = [explain_entry(entry) for entry in entries]
    text = [part for line in lines for part in (line.text, *(f"  {x}" for x in line.evidence))]
    show(entries, "\n".join(text), as_json)


async def _judge(
    house: House, client: Client, header: bytes, body: bytes, to: str
) -> list[AnyEntry]:
    site, caller = house.site, Caller(client.address, house.site.lists, house.world.resolver)
    setting = Setting(site.hostname, house.world.resolver, site.lists, caller)
    gathering = Gathering(header, client, setting)
    gathering.add(body)
    now, store = house.world.clock.now(), house.store
    message = await site.scoring.read(header, body)
    links = subjects_of_domains(hosts_of(message))
    hosted = await site.wishes.host_any(gathering.authors)
    found = await store.read(lambda tx: _recipient(tx, to))
    evidence = await gathering.finish(now, Manners(client.helo), links, hosted=hosted)
    (scored,) = await site.scoring.score(message, evidence, [found], now)
    (wishes,) = await site.wishes.find([found])
    verdict = outcome_of(judge(evidence, wishes), evidence, found, scored, TraceId("none"))
    recipient, score = str(found.address), scored.score
    verdict = await site.own_code.review(evidence, verdict, recipient, score)
    outcome = Outcome(found, verdict, scored)
    return [entry_of(evidence, verdict, now), *entries_of([outcome], now)]


def _recipient(tx: Tx, to: str) -> Found:
    """Whose wishes count: the recipient's, or those of the first organisation."""
    if not to:
        return Found(Address("anybody", Domain("")), "account", find_organisation(tx, ""))
    try:
        found = recipients.find(tx, parse_address(to))
    except ValueError as error:
        raise Refusal(str(error)) from error
    if not isinstance(found, Found):
        raise Refusal(f"{to} is no address here", "NONEXISTENT")
    return found
