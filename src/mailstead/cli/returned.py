"""`mailstead check reply` and `check bounce`: what a refusal, or what came back, means."""

from typing import BinaryIO

import click
import msgspec

from mailstead.cli.printing import for_operators, show
from mailstead.message.arf import Complaint
from mailstead.message.autoreply import AutoReply
from mailstead.message.diagnostic import read_reply
from mailstead.message.header import split
from mailstead.message.report import Report
from mailstead.message.returned import kind_of
from mailstead.services.outbound.classify import Classified, classify, classify_report

MESSAGE_LIMIT = 10 * 1024 * 1024  # octets


class Returned(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a message is, and what it says of each recipient."""

    kind: str  # "report", "complaint", "auto-reply", "other"
    about: str = ""
    recipients: list[tuple[str, Classified]] = []


@click.command()
@click.argument("text")
@click.option("--host", default="", help="The MX host that said so: some mean other things.")
@for_operators
def reply(text: str, host: str, as_json: bool) -> None:
    """Say what a refusal is about: whose business it is, and what follows.

    TEXT is the reply as it came: "550 5.1.1 <bob@example.net>: no such user".
    """
    found = classify(read_reply(text), host)
    show(found, "\n".join(_lines(found)), as_json)


@click.command()
@click.argument("file", type=click.File("rb"), default="-")
@for_operators
def bounce(file: BinaryIO, as_json: bool) -> None:
    """Read a message that came back, from FILE or the standard input, and say what it means."""
    header, body = split(file.read(MESSAGE_LIMIT).replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"))
    found = _returned(header, body)
    lines = [f"{found.kind}: {found.about}" if found.about else found.kind]
    for address, verdict in found.recipients:
        lines += ["", address, *(f"  {line}" for line in _lines(verdict))]
    show(found, "\n".join(lines), as_json)


def _returned(header: bytes, body: bytes) -> Returned:
    match kind_of(header, body):
        case Report(recipients=recipients):
            each = [(one.address, classify_report(one)) for one in recipients]
            return Returned("report", "", each)
        case Complaint() as complaint:
            return Returned("complaint", complaint.feedback_type)
        case AutoReply() as answer:
            return Returned("auto-reply", answer.sign)
        case _:
            return Returned("other")


def _lines(found: Classified) -> list[str]:
    return [
        f"about     {found.class_.value}" + (f" (rule {found.rule})" if found.rule else ""),
        f"blame     {found.blame.value}",
        f"for good  {'yes' if found.permanent else 'no: it is tried again'}",
        f"suppress  {found.suppress.value}",
        f"advice    {found.advice}",
    ]
