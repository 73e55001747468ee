"""What judging a message costs: CPU time of reading it and of scoring it for one recipient.

Run: .venv/bin/python bench/spam.py HAM SPAM     two folders, one message a file

Every second message is learnt, the others of 10 to 14 KB are judged, all together several times:
in the first round every word is new to the worker. Nothing is asked of the network.
"""

import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path

from mailstead.message.header import ensure_crlf, split
from mailstead.model.address import parse_address, parse_domain
from mailstead.model.numbers import OrganisationId
from mailstead.msgauth.spf.check import Verdict
from mailstead.msgauth.spf.record import Spf
from mailstead.net.clock import SystemClock, ThreadOffload
from mailstead.services.delivery import recipients
from mailstead.services.delivery.recipients import Found
from mailstead.services.inbound.evidence import Client, Evidence
from mailstead.services.inbound.scoring import Scoring
from mailstead.services.sorted_mail import messages_in
from mailstead.services.telling import TellingStore
from mailstead.services.training import Training
from mailstead.storage import accounts
from mailstead.storage.packfile import PackFolder
from mailstead.storage.spam_corpus import EVERYBODY
from mailstead.storage.sqlite import SqliteStore
from mailstead.storage.store import Store, Tx

ALICE = parse_address("alice@example.org")
TYPICAL = range(10_000, 14_000)  # octets
ROUNDS = 5
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
    training = Training(store, SystemClock(), "mx.example.org")
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
    for title, (header, body) in BIG.items():
        message = b"Subject: big\r\n" + header + b"\r\n", body
        print(f"{title}: {min([await cost(scoring, to, message) for _ in range(3)]):.1f} ms")


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


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2])))
