"""A disk that is full or fails, at each call of a delivery to a real server; nothing is lost.

    script/soak faults [--calls 500] [--points 0]

A round delivers by SMTP and APPEND, small and beyond the spool's size, while packs are made; its
n-th call to the disk fails with ENOSPC or EIO, once or on and on. Holds: each answer is 250, OK,
4xx or NO; when the disk is well again so is the same process; every 250 and OK is there, once and
whole, then and after a kill -9; nothing refused is; no bug of ours in the log. Needs no root.
"""

import argparse
import errno
import imaplib
import json
import os
import re
import shutil
import signal
import smtplib
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from interception import KINDS, Fault, Interceptor, is_possible

from mailstead.server.config import NOWHERE, Config, Listen, format_toml

READER, PASSWORD = "alice@soak.test", "long-secret"
PATIENCE = 20.0  # seconds that a client waits for an answer before the round is a failure
WELL_LIMIT = 5.0  # seconds to the first 250 when the disk is well again
START_LIMIT = 30.0
SMALL, BIG = 3_000, 1_200_000  # octets of a body; the second is spooled
TAIL = 100  # octets at the end of a message that come a moment later
BATCH = 25  # rounds after which all is read and deleted
STARTS = 2  # calls of a start that fail, if only points of the passes are wanted
DATA, SPOOL, LOG = r".*/data\b.*", r".*/data/.* \(deleted\)", r".*/log"
DATABASE = r".*/mailstead\.db(-wal|-shm)?"
PASSES = {  # name -> which calls are counted, of which files
    "all": (KINDS, DATA),
    "spool": (("write",), SPOOL),
    "sync": (("sync",), DATA),
    "open": (("open",), DATA),
    "name": (("name",), DATA),
    "log": (("write",), LOG),
}
ERRORS = (errno.ENOSPC, errno.EIO)
BUGS = re.compile(r"Traceback|Exception ignored|own fault|of ours failed|worker \d+ ")


@dataclass
class Ledger:
    """What the server has promised, and what it has refused."""

    kept: dict[str, int] = field(default_factory=dict)  # id -> octets of its body
    refused: set[str] = field(default_factory=set)
    doubtful: set[str] = field(default_factory=set)  # the answer was not seen
    answers: Counter[str] = field(default_factory=Counter)
    struck: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    messages: int = 0
    rounds: int = 0
    well_again: float = 0.0  # the longest time to a 250

    def next_id(self) -> str:
        """An id that no message has had."""
        self.messages += 1
        return f"m{self.messages}"

    def blame(self, fault: Fault, what: str) -> None:
        """A promise was broken."""
        self.fail(f"{describe(fault)}: {what}")

    def fail(self, line: str) -> None:
        """Told at once, and again at the end."""
        print(f"FAILURE {line}", file=sys.stderr, flush=True)
        self.failures.append(line)


def describe(fault: Fault) -> str:
    """The fault in words."""
    span = "from call" if fault.lasting else "at call"
    names = {calls: name for name, calls in PASSES.items()}
    name = names.get((fault.kinds, fault.files), "start")
    return f"{errno.errorcode[fault.error]} {span} {fault.number} ({name})"


def message(id_: str, octets: int) -> bytes:
    """A message whose octets follow from its id."""
    line = f"{id_} is a line of this message and of no other\r\n"
    body = line * (octets // len(line))
    return f"From: x@client.test\r\nX-Id: {id_}\r\n\r\n{body}".encode()


# ---------------------------------------------------------------------- the server


class Server:
    """The server under test: one worker, its disk calls in our hands."""

    def __init__(self, folder: Path, port: int) -> None:
        self.data, self.log_path = folder / "data", folder / "log"
        self.smtp, self.imap = port, port + 1
        (self.data / "tmp").mkdir(parents=True)
        config = Config(
            hostname="mx.soak.test",
            database=f"sqlite://{self.data / 'mailstead.db'}",
            workers=1,
            listen=self.listen(),
            loopback_clear_text=True,
        )
        self.path = folder / "mailstead.toml"
        self.path.write_text(format_toml(config))
        self.mailstead("domain", "add", "soak.test")
        self.mailstead("account", "add", READER, "--password-stdin", input=PASSWORD + "\n")

    def listen(self) -> Listen:
        """Two ports, no more."""
        smtp, imap = (f"127.0.0.1:{self.smtp}",), (f"127.0.0.1:{self.imap}",)
        return msgspec.structs.replace(NOWHERE, smtp=smtp, imap=imap)

    def mailstead(self, *words: str, input: str = "") -> str:
        """What the command says; it has to be done."""
        program = [sys.executable, "-m", "mailstead", "--config", str(self.path), *words]
        done = subprocess.run(program, input=input, capture_output=True, text=True, check=False)
        if done.returncode:
            raise AssertionError(
                f"{words} exited with {done.returncode}: {done.stdout}{done.stderr}"
            )
        return done.stdout

    def start(self) -> None:
        """Start it, and wait until it answers."""
        if not self.try_start(None):
            raise AssertionError(f"the server did not start: {self.log_path.read_text()}")

    def try_start(self, fault: Fault | None) -> bool:
        """Start it with a fault in the disk; whether it came up."""
        ours, theirs = socket.socketpair()
        script = Path(__file__).with_name("watched_server.py")
        program = [sys.executable, str(script), str(theirs.fileno()), str(self.path)]
        temporary = {"TMPDIR": str(self.data / "tmp"), "SQLITE_TMPDIR": str(self.data / "tmp")}
        with self.log_path.open("ab") as log, ours, theirs:
            self.process = subprocess.Popen(
                program,
                stdout=log,
                stderr=log,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
                env=os.environ | temporary,
            )
            ours.settimeout(START_LIMIT)
            _, (listener,), _, _ = socket.recv_fds(ours, 1, 1)
        self.disk = Interceptor(listener, self.path.parent, fault)
        up = self._wait()
        self.worker = self.workers() if up else ""
        return up

    def _wait(self) -> bool:
        deadline = time.monotonic() + START_LIMIT
        while time.monotonic() < deadline and self.process.poll() is None:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.imap), 1) as one:
                one.recv(1)
                return True
            time.sleep(0.05)
        return False

    def workers(self) -> str:
        """The process ids of the workers."""
        pid = self.process.pid
        return Path(f"/proc/{pid}/task/{pid}/children").read_text().strip()

    def stop(self, number: int) -> int:
        """Its exit code."""
        with suppress(ProcessLookupError):
            if number == signal.SIGKILL:
                os.killpg(self.process.pid, number)
            else:
                self.process.send_signal(number)
        code = self.process.wait(60)
        self.disk.close()
        return code

    def bugs(self, since: int) -> str:
        """What is in the log since then, if it tells of a bug."""
        with self.log_path.open("rb") as log:
            log.seek(since)
            said = log.read().decode("utf-8", "replace")
        return said if BUGS.search(said) else ""


def log_in(server: Server) -> imaplib.IMAP4:
    """A client of the one account."""
    client = imaplib.IMAP4("127.0.0.1", server.imap, timeout=PATIENCE)
    client.login(READER, PASSWORD)
    return client


# ---------------------------------------------------------------------- one round


class Round:
    """Deliveries while one fault is in the disk."""

    def __init__(self, server: Server, ledger: Ledger, fault: Fault, imap: imaplib.IMAP4) -> None:
        self.server, self.ledger, self.fault, self.imap = server, ledger, fault, imap

    def run(self) -> int:
        """Deliver, mend the disk, deliver again; how many calls the fault could have hit."""
        since = self.server.log_path.stat().st_size
        self.server.disk.arm(self.fault)
        try:
            self.deliver_all()
        except (OSError, EOFError, smtplib.SMTPException, imaplib.IMAP4.error) as error:
            self.blame(f"a connection broke: {error!r}")
        seen = self.server.disk.seen
        self.server.disk.disarm()
        self.ledger.struck += self.server.disk.struck
        self.check_health()
        bugs = self.server.bugs(since)
        if bugs and self.fault.files != LOG:  # a log may complain of its own disk
            self.blame(f"a bug of ours in the log:\n{bugs}")
        self.ledger.rounds += 1
        return seen

    def deliver_all(self) -> None:
        with smtplib.SMTP("127.0.0.1", self.server.smtp, timeout=PATIENCE) as smtp:
            smtp.ehlo("client.test")
            for _ in range(3):
                self.send(smtp, SMALL)
            self.append(SMALL)
            self.wait_for_packing()
            self.send(smtp, BIG)
            self.append(BIG)

    def send(self, smtp: smtplib.SMTP, octets: int) -> int:
        """Deliver by SMTP; the code of the last reply."""
        id_ = self.begin()
        code, said = converse(smtp, message(id_, octets))
        if code == 250:
            self.ledger.kept[id_] = octets
        elif 400 <= code < 500:
            self.ledger.refused.add(id_)
        else:
            self.blame(f"SMTP answered {code} {said!r}")
        self.end(id_, f"SMTP {code}")
        return code

    def append(self, octets: int) -> None:
        """The same by IMAP."""
        id_ = self.begin()
        status, said = self.imap.append("INBOX", "", "", message(id_, octets))
        if status == "OK":
            self.ledger.kept[id_] = octets
        elif status == "NO":
            self.ledger.refused.add(id_)
        else:
            self.blame(f"APPEND answered {status} {said!r}")
        self.end(id_, f"APPEND {status}")

    def begin(self) -> str:
        id_ = self.ledger.next_id()
        self.ledger.doubtful.add(id_)
        return id_

    def end(self, id_: str, answer: str) -> None:
        self.ledger.doubtful.discard(id_)
        self.ledger.answers[answer] += 1

    def wait_for_packing(self) -> None:
        """Until what is loose now was packed, or tried: so many steps have begun since."""
        lock = str(self.server.data / "packs/lock")
        enough = self.server.disk.opened[lock] + 6
        deadline = time.monotonic() + PATIENCE
        while self.server.disk.opened[lock] < enough:
            if time.monotonic() > deadline:
                self.blame("packing has stopped")
                return
            time.sleep(0.005)

    def check_health(self) -> None:
        """The disk is well: so is the server, at once, and it is the same process."""
        began = time.monotonic()
        try:
            with smtplib.SMTP("127.0.0.1", self.server.smtp, timeout=PATIENCE) as smtp:
                smtp.ehlo("client.test")
                code = self.send(smtp, SMALL)
            status, _ = self.imap.noop()
        except (OSError, EOFError, smtplib.SMTPException, imaplib.IMAP4.error) as error:
            self.blame(f"not well again: {error!r}")
            return
        took = time.monotonic() - began
        self.ledger.well_again = max(self.ledger.well_again, took)
        if code != 250 or status != "OK" or took > WELL_LIMIT:
            self.blame(f"not well again: {code} and {status} after {took:.1f} s")
        if self.server.workers() != self.server.worker:
            self.blame("the worker is another one now")

    def blame(self, what: str) -> None:
        self.ledger.blame(self.fault, what)


def converse(smtp: smtplib.SMTP, data: bytes) -> tuple[int, bytes]:
    """One transaction; the reply that decided it."""
    for command in ("MAIL FROM:<x@client.test>", f"RCPT TO:<{READER}>", "DATA"):
        code, said = smtp.docmd(command)
        if code not in (250, 354):
            smtp.rset()
            return code, said
    smtp.send(data[:-TAIL])
    time.sleep(0.01)  # so that the tail is a piece of its own, and waits in the spool's buffer
    smtp.send(data[-TAIL:] + b".\r\n")
    return smtp.getreply()


# ---------------------------------------------------------------------- verification


def verify(ledger: Ledger, imap: imaplib.IMAP4, when: str) -> None:
    """Every promise is kept: there, once, whole; and nothing else is there but what is in doubt."""
    seen: Counter[str] = Counter()
    imap.select("INBOX")
    _, (uids,) = imap.uid("SEARCH", "ALL")
    for uid in uids.split():
        _, found = imap.uid("FETCH", uid, "(BODY.PEEK[])")
        octets = found[0][1] if isinstance(found[0], tuple) else b""
        named = re.search(rb"^X-Id: (\S+)", octets, re.MULTILINE)
        id_ = named[1].decode() if named else f"uid {uid!r} without an id"
        seen[id_] += 1
        if id_ in ledger.kept and not octets.endswith(message(id_, ledger.kept[id_])):
            ledger.fail(f"{when}: {id_} is not whole ({len(octets)} octets)")
    wrong = [f"{id_} had its 250 and is lost" for id_ in ledger.kept if not seen[id_]]
    wrong += [f"{id_} was refused and is there" for id_ in ledger.refused if seen[id_]]
    wrong += [f"{id_} is there {count} times" for id_, count in seen.items() if count > 1]
    unknown = set(seen) - set(ledger.kept) - ledger.refused - ledger.doubtful
    wrong += [f"{id_} is there and nobody sent it" for id_ in unknown]
    for what in wrong:
        ledger.fail(f"{when}: {what}")


def clear(ledger: Ledger, imap: imaplib.IMAP4) -> None:
    """Begin anew with an empty mailbox."""
    imap.store("1:*", "+FLAGS.SILENT", r"(\Deleted)")
    imap.expunge()
    for known in (ledger.kept, ledger.refused, ledger.doubtful):
        known.clear()


def settle(server: Server, ledger: Ledger, batch: int) -> None:
    """The end of a batch: all is there, also after a kill, and the store is whole."""
    imap = log_in(server)
    verify(ledger, imap, f"batch {batch}")
    server.stop(signal.SIGKILL)
    server.start()
    imap = log_in(server)
    verify(ledger, imap, f"batch {batch}, after a kill")
    clear(ledger, imap)
    imap.logout()
    try:
        server.mailstead("fsck")
    except AssertionError as error:
        ledger.fail(f"batch {batch}: {error}")


# ---------------------------------------------------------------------- starts


def start_all(server: Server, ledger: Ledger, points: int) -> int:
    """Start with each open of the database's files failing, up to the last; how many starts.

    Either it says that it cannot start, or it takes mail.
    """
    count = 0
    for error in ERRORS:
        for number in range(1, STARTS + 1 if points else 100):
            fault = Fault(("open",), number, error, files=DATABASE)
            if not start_one(server, ledger, fault):
                break
            count += 1
    return count


def start_one(server: Server, ledger: Ledger, fault: Fault) -> bool:
    """Whether there was a call to fail."""
    up = server.try_start(fault)
    server.disk.disarm()
    code = server.process.poll()
    if up:
        answers = [deliver_small(server, ledger) for _ in range(3)]
        if answers[-1] != 250:
            ledger.blame(fault, f"it started, and answers {answers}")
    elif code != 1:
        ledger.blame(fault, f"it neither started nor ended with 1 ({code})")
    ledger.struck += server.disk.struck
    server.stop(signal.SIGKILL)
    return bool(server.disk.struck)


def deliver_small(server: Server, ledger: Ledger) -> int:
    """A message on a connection of its own; the code of the reply."""
    with smtplib.SMTP("127.0.0.1", server.smtp, timeout=PATIENCE) as smtp:
        smtp.ehlo("client.test")
        id_ = ledger.next_id()
        code, _ = converse(smtp, message(id_, SMALL))
    if code == 250:
        ledger.kept[id_] = SMALL
    else:
        ledger.refused.add(id_)
    return code


# ---------------------------------------------------------------------- the plan


def faults(totals: dict[str, int], calls: int, points: int) -> Iterator[Fault]:
    """Every call of every pass, each error, once and lasting; or so many points of each."""
    place = 0
    for name, (kinds, files) in PASSES.items():
        for error in ERRORS:
            for lasting in (False, True):
                limit = min(calls, totals[name])
                numbers: range | list[int] = range(1, limit + 1)
                if points:
                    place += 1  # not the same places in each pass
                    start = place * 7 % max(1, limit // points)
                    numbers = [1 + (start + at * limit // points) % limit for at in range(points)]
                for number in numbers:
                    yield Fault(kinds, number, error, lasting, files)


def count_calls(server: Server, ledger: Ledger, imap: imaplib.IMAP4) -> dict[str, int]:
    """How many calls of each pass a round has."""
    totals = {}
    for name, (kinds, files) in PASSES.items():
        totals[name] = Round(server, ledger, Fault(kinds, 0, files=files), imap).run()
    return totals


def soak(options: argparse.Namespace, folder: Path) -> dict[str, object]:
    """All rounds; figures of what was found."""
    ledger, server = Ledger(), Server(folder, options.port)
    try:
        starts = start_all(server, ledger, options.points)
        server.start()
        imap = log_in(server)
        for _ in range(2):  # the first warms up
            totals = count_calls(server, ledger, imap)
        planned = list(faults(totals, options.calls, options.points))
        print(f"calls of a round: {totals}; {len(planned)} rounds", file=sys.stderr, flush=True)
        for number, fault in enumerate(planned, 1):
            broken = len(ledger.failures)
            Round(server, ledger, fault, imap).run()
            if len(ledger.failures) > broken:
                imap = log_in(server)  # the old connection may be gone
            if number % options.batch == 0 or number == len(planned):
                settle(server, ledger, number // options.batch)
                imap = log_in(server)
                show(number, len(planned), fault, ledger)
            if len(ledger.failures) > options.failures:
                break
        code = server.stop(signal.SIGTERM)
        ledger.failures += [f"it ended with {code}"] if code else []
    finally:
        with suppress(ProcessLookupError, AttributeError):  # gone, or never started
            os.killpg(server.process.pid, signal.SIGKILL)
    return {"starts": starts, **figures(ledger, totals)}


def show(number: int, count: int, fault: Fault, ledger: Ledger) -> None:
    line = f"{number}/{count} {describe(fault)}; {dict(ledger.answers)}"
    print(line, file=sys.stderr, flush=True)


def figures(ledger: Ledger, totals: dict[str, int]) -> dict[str, object]:
    """What `main` prints."""
    return {
        "rounds": ledger.rounds,
        "calls_of_a_round": totals,
        "calls_failed": ledger.struck.total(),
        "struck": dict(ledger.struck.most_common()),
        "answers": dict(ledger.answers),
        "well_again_max_s": round(ledger.well_again, 2),
        "failures": ledger.failures,
    }


def main() -> None:
    """Run, and say what was found; exit code 1 if a promise was broken."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--calls", type=int, default=500, help="of a round, that fail in turn")
    parser.add_argument("--points", type=int, default=0, help="only so many of each pass")
    parser.add_argument("--batch", type=int, default=BATCH, help="rounds between two kills")
    parser.add_argument("--failures", type=int, default=20, help="after which it gives up")
    parser.add_argument("--port", type=int, default=12625)
    options = parser.parse_args()
    if not is_possible():
        sys.exit("this machine cannot lend a process's calls (Linux 5.5 with seccomp is needed)")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by a signal"))  # not without cleaning
    folder = Path(tempfile.mkdtemp(prefix="soak-"))
    try:
        found = soak(options, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(json.dumps(found))
    sys.exit(1 if found["failures"] else 0)


if __name__ == "__main__":
    main()
