"""`mailstead check dkim` and `check arc`: who signed a message, and what came of it."""

from typing import BinaryIO

import click
import msgspec

from mailstead.cli.house import operate
from mailstead.cli.main import TRY_LATER
from mailstead.cli.printing import for_operators, show
from mailstead.message.header import ensure_crlf, split
from mailstead.model import dns
from mailstead.msgauth.arc.chain import Chain, parse_chain
from mailstead.msgauth.arc.validate import Status, Validation, validate
from mailstead.msgauth.dkim.failure import Cause, Verdict
from mailstead.msgauth.dkim.signature import (
    SIGNATURES_LIMIT,
    Fields,
    Kind,
    Signature,
    Unusable,
    signatures,
)
from mailstead.msgauth.dkim.suspect import find_added_text, find_header_change
from mailstead.msgauth.dkim.verify import Result, body_hashes, verify
from mailstead.server.wiring import House
from mailstead.services.outbound.asking import answer

MESSAGE_LIMIT = 100 * 1024 * 1024  # octets


class Checked(msgspec.Struct, frozen=True):
    """One signature, and what was probably done to the message if it is not good."""

    result: Result
    guess: str


@click.command("dkim")
@click.argument("file", type=click.File("rb"), default="-")
@for_operators
def dkim(file: BinaryIO, as_json: bool) -> None:
    """Verify the DKIM signatures of a message, from FILE or the standard input.

    Asks the DNS for the keys. Where a signature is not good, it says what was probably done to
    the message. Exit code 1 if none is good, 75 if the DNS does not answer.
    """
    header, body = _read(file)
    found = operate(lambda house: _verify(house, header, body))
    verdicts = {one.result.verdict for one in found}
    show(found, "\n".join(map(_sentence, found)) or "The message is not signed.", as_json)
    if Verdict.PASS not in verdicts:
        raise click.exceptions.Exit(TRY_LATER if Verdict.TEMPERROR in verdicts else 1)


@click.command("arc")
@click.argument("file", type=click.File("rb"), default="-")
@for_operators
def arc(file: BinaryIO, as_json: bool) -> None:
    """Validate the ARC chain of a message, from FILE or the standard input: who passed it on.

    Asks the DNS for the keys. Exit code 1 if the chain is broken.
    """
    header, body = _read(file)
    found = operate(lambda house: _validate(house, header, body))
    show(found, "\n".join(_lines(found)), as_json)
    if found.status is Status.FAIL:
        raise click.exceptions.Exit(1)


def _read(file: BinaryIO) -> tuple[bytes, bytes]:
    return split(ensure_crlf(file.read(MESSAGE_LIMIT)))


# ---------------------------------------------------------------------- DKIM


async def _verify(house: House, header: bytes, body: bytes) -> list[Checked]:
    seen = signatures(header)
    raws = Fields(header).named(Kind.DKIM)[:SIGNATURES_LIMIT]
    hashes = body_hashes(seen)
    hashes.add(body)
    bodies, now = hashes.finish(), house.world.clock.now()
    checked = []
    for one, raw in zip(seen, raws, strict=True):
        said = await _ask(house, one)
        result = verify(one, bodies, said, now)
        checked.append(Checked(result, _guess(one, result, raw, said, header, body)))
    return checked


async def _ask(house: House, one: Signature | Unusable) -> dns.Answer:
    if isinstance(one, Signature):
        return await house.world.resolver.ask(one.question)
    return dns.Answer(dns.Status.NOERROR)


def _guess(
    one: Signature | Unusable,
    result: Result,
    raw: bytes,
    said: dns.Answer,
    header: bytes,
    body: bytes,
) -> str:
    """What was done to the message, as far as trying it out can tell."""
    if not isinstance(one, Signature) or result.cause not in (Cause.BODY, Cause.HEADER):
        return ""
    if result.cause is Cause.HEADER:
        return find_header_change(header, raw, said)
    added = find_added_text(body, one.cover, one.body_hash)
    return f"the last {len(added)} octets of the body were added" if added else ""


def _sentence(checked: Checked) -> str:
    result = checked.result
    who = f"{result.domain or '?'} (s={result.selector or '?'}"
    who += f", {result.algorithm}" if result.algorithm else ""
    who += f", {result.bits} bits)" if result.bits else ")"
    reason = f": {result.reason}" if result.reason else ""
    guess = f"\n  probably {checked.guess}" if checked.guess else ""
    return f"{result.verdict.value:<9} {who}{reason}{guess}"


# ---------------------------------------------------------------------- ARC


async def _validate(house: House, header: bytes, body: bytes) -> Validation:
    found = parse_chain(header)
    hashes = body_hashes(found.messages if isinstance(found, Chain) else [])
    hashes.add(body)
    lookup = validate(found, hashes.finish(), house.world.clock.now())
    return await answer(lookup, house.world.resolver)


def _lines(found: Validation) -> list[str]:
    if found.status is Status.NONE:
        return ["The message has no ARC chain."]
    first = f"{found.status.value}: {found.reason}" if found.reason else found.status.value
    lines = [f"i={one.instance} {one.domain} (s={one.selector})" for one in found.sealers]
    if found.oldest_pass is not None:
        changed = f"only since i={found.oldest_pass}" if found.oldest_pass > 1 else "since i=1"
        lines.append(f"nobody changed the message {changed}")
    return [first, *lines]
