"""What judging a message costs: CPU time of reading it and of scoring it for one recipient, and
of the whole of it: SPF, DKIM, DMARC, the connection's manners and the verdict too.

Run: .venv/bin/python bench/spam.py HAM SPAM     two folders, one message a file

Every second message is learnt, the others of 10 to 14 KB are judged, all together several times:
in the first round every word is new to the worker. Nothing is asked of the network: for the
whole, messages are signed by example.net (RSA-2048), and the DNS is a dict.
"""

import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path

import uvloop

from mailstead.message.header import ensure_crlf, remove, split
from mailstead.model.address import Domain, parse_address, parse_domain
from mailstead.model.numbers import OrganisationId, TraceId
from mailstead.msgauth.dkim.canonical import BodyHash
from mailstead.msgauth.dkim.key import SigningKey
from mailstead.msgauth.dkim.sign import sign
from mailstead.msgauth.dmarc.check import Dmarc
from mailstead.msgauth.spf.check import Verdict
from mailstead.msgauth.spf.record import Spf
from mailstead.net.clock import SystemClock, ThreadOffload
from mailstead.services.delivery import recipients
from mailstead.services.delivery.recipients import Found
from mailstead.services.filters.asking import Scanned
from mailstead.services.inbound.caller import Caller
from mailstead.services.inbound.evidence import (
    Client,
    Evidence,
    Gathering,
    Setting,
    subjects_of_domains,
)
from mailstead.services.inbound.lists import Lists
from mailstead.services.inbound.manners import Manners
from mailstead.services.inbound.policy import judge
from mailstead.services.inbound.scoring import Scoring, hosts_of
from mailstead.services.inbound.screening import Screened, outcome_of
from mailstead.services.inbound.wishes import KnownWishes
from mailstead.services.metering import NO_METER
from mailstead.services.signing import make_key
from mailstead.services.sorted_mail import messages_in
from mailstead.services.telling import TellingStore
from mailstead.services.training import Training
from mailstead.storage import accounts
from mailstead.storage.packfile import PackFolder
from mailstead.storage.spam_corpus import EVERYBODY
from mailstead.storage.sqlite import SqliteStore
from mailstead.storage.store import Store, Tx
from mailstead.testing.zone import Zone

ALICE = parse_address("alice@example.org")
TYPICAL = range(10_000, 14_000)  # octets
ROUNDS = 5
HOST = "mx.example.org"
EVIDENCE = Evidence(
    Client("192.0.2.7", "mx.example.net", "bob@example.net"),
    Verdict(Spf.PASS, "example.net", "example.net"),
)
BIG = {
    "5 MB of plain text": (b"", b"some words of a long text that goes on and on\r\n" * 110_000),
    "5 MB of HTML": (
        b"Content-Type: text/html\r\n",
        b'<p>some <b>words</b> <a href="http://a.example/x">x</a></p>\r\n' * 85_000,
    ),
    "5 MB of an archive": (
        b"Content-Type: application/zip; name=a.zip\r\nContent-Transfer-Encoding: base64\r\n",
        b"UEsDBBQAAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\r\n" * 66_000,
    ),
}

Message = tuple[bytes, bytes]


async def main(ham: Path, spam: Path) -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as name:
        folder, clock = Path(name), SystemClock()
        store = SqliteStore(folder / "mail.db", clock, packs=PackFolder(folder / "packs"))
        try:
            await measure(store, ham, spam)
        finally:
            await store.close()


async def measure(store: Store, ham: Path, spam: Path) -> None:
    """Teach, then judge."""
    organisation = await store.write(set_up)
    training = Training(store, SystemClock(), HOST)
    asked: list[Message] = []
    for path, is_spam in ((ham, False), (spam, True)):
        found = list(messages_in(path))
        start = time.process_time()
        count = await training.train(organisation, EVERYBODY, found[::2], is_spam)
        taken = (time.process_time() - start) / count
        print(f"learn one of {count} messages: {taken * 1000:.2f} ms")
        asked += [split(ensure_crlf(one)) for one in found[1::2] if len(one) in TYPICAL]
    told = TellingStore(store, lambda trace, entries: None)
    scoring = Scoring(told, SystemClock(), ThreadOffload())
    to = await store.read(lambda tx: recipients.find(tx, ALICE))
    assert isinstance(to, Found)
    for number in range(ROUNDS):
        times = [await cost(scoring, to, one) for one in asked]
        middle, high = statistics.median(times), statistics.quantiles(times, n=20)[-1]
        print(f"round {number}, {len(times)} messages: median {middle:.2f} ms, p95 {high:.2f} ms")
    judging = Judging(told, scoring, to, await make_key(ThreadOffload()))
    signed = [judging.sign(one) for one in asked]
    for number in range(ROUNDS):
        times = [await judging.cost(one) for one in signed]
        middle, high = statistics.median(times), statistics.quantiles(times, n=20)[-1]
        print(f"whole {number}, {len(times)} messages: median {middle:.2f} ms, p95 {high:.2f} ms")
    for title, (header, body) in BIG.items():
        message = b"Subject: big\r\n" + header + b"\r\n", body
        score = min([await cost(scoring, to, message) for _ in range(3)])
        whole = min([await judging.cost(judging.sign(message)) for _ in range(3)])
        print(f"{title}: {score:.1f} ms, the whole {whole:.1f} ms")


def set_up(tx: Tx) -> OrganisationId:
    """One organisation with one account."""
    organisation = accounts.create_organisation(tx, "example.org")
    accounts.create_domain(tx, organisation, parse_domain("example.org"))
    accounts.create_account(tx, ALICE, "")
    return organisation


async def cost(scoring: Scoring, to: Found, message: Message) -> float:
    """Milliseconds of CPU, of all threads."""
    start = time.process_time()
    read = await scoring.read(*message)
    await scoring.score(read, EVIDENCE, [to], SystemClock().now())
    return (time.process_time() - start) * 1000


class Judging:
    """All that is done with a message from outside but taking it and filing it."""

    def __init__(self, store: TellingStore, scoring: Scoring, to: Found, pem: bytes) -> None:
        self._scoring, self._to, self._zone = scoring, to, Zone()
        self._wishes = KnownWishes(store, SystemClock())
        self._lists = Lists(store, SystemClock(), NO_METER)
        self._key = SigningKey(Domain("example.net"), "m1", pem)
        self._zone["TXT", self._key.name] = self._key.record
        self._zone["TXT", "example.net"] = "v=spf1 ip4:192.0.2.0/24 -all"
        self._zone["TXT", "_dmarc.example.net"] = "v=DMARC1; p=reject; rua=mailto:d@example.net"
        self._zone["PTR", "7.2.0.192.in-addr.arpa"] = "mx.example.net"
        self._zone["A", "mx.example.net"] = "192.0.2.7"

    def sign(self, message: Message) -> Message:
        """The message as example.net would send it."""
        header = b"From: Bob <bob@example.net>\r\n" + remove(message[0], ("From",))
        hashed = BodyHash()
        hashed.add(message[1])
        field = sign(header, hashed.finish(), self._key, SystemClock().now())
        return field + header, message[1]

    async def cost(self, message: Message) -> float:
        """Milliseconds of CPU, of all threads."""
        caller = Caller(EVIDENCE.client.address, self._lists, self._zone)
        await caller.known(asyncio.get_running_loop().time() + 1)  # asked once a connection
        start = time.process_time()
        await self._judge(message, caller)
        return (time.process_time() - start) * 1000

    async def _judge(self, message: Message, caller: Caller) -> Screened:
        header, body = message
        setting = Setting(HOST, self._zone, self._lists, caller)
        gathering, now = Gathering(header, EVIDENCE.client, setting), SystemClock().now()
        gathering.add(body)
        read = await self._scoring.read(header, body)
        (wishes,) = await self._wishes.find([self._to])
        hosted = await self._wishes.host_any(gathering.authors)
        links = subjects_of_domains(hosts_of(read))
        evidence = await gathering.finish(now, Manners("mx.example.net"), links, hosted=hosted)
        assert evidence.dmarc is not None
        assert evidence.dmarc.result is Dmarc.PASS, evidence
        (scored,) = await self._scoring.score(read, evidence, [self._to], now)
        outcome_of(judge(evidence, wishes), evidence, self._to, scored, TraceId("t"))
        screened = Screened(evidence, HOST, [self._to], None, (), Scanned(header))
        screened.stamp(header)
        return screened


if __name__ == "__main__":
    uvloop.run(main(Path(sys.argv[1]), Path(sys.argv[2])))
