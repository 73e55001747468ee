"""Exim and Postfix as our next hop: they are understood, and what they are asked for is done."""

import email
import email.policy
import imaplib
import os
import re
import shutil
import smtplib
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from email.message import EmailMessage
from pathlib import Path

import pytest

from mailstead.server.certificates import own_pair

from .waiting import answers, free_port, wait_for

EXIM = Path("/var/cache/mailstead-peers/exim4/usr/sbin/exim4")  # script/ci-setup puts it there
ALICE = "alice@example.org"
BODY = b".\r\n..dots\r\nGr\xc3\xbc\xc3\x9fe\r\n" + b"x" * 900 + b"\r\nend\r\n"

Run = Callable[..., str]
Missing = Callable[[str], None]


class Hop:
    """The next hop: takes mail for next.test but for gone@ and, until it is opened, slow@."""

    def __init__(self, folder: Path, back: int, tls: bool) -> None:
        self.folder, self.back, self.tls = folder, back, tls
        self.port, self.gate = free_port(), folder / "open"

    def arrived(self) -> list[bytes]:
        """What lies in its mailbox, as it came."""
        new = self.folder / "mail/new"
        files = sorted(new.iterdir()) if new.is_dir() else []
        return [file.read_bytes().replace(b"\n", b"\r\n") for file in files]

    def open(self) -> None:
        """Take mail for slow@ from now on."""
        self.gate.write_text("slow@next.test OK\n")


class Exim(Hop):
    """Exim, from where it was unpacked."""

    chunked = r"<= alice@example\.org .* K S="

    def log(self) -> str:
        return (self.folder / "log/mainlog").read_text()

    def start(self) -> None:
        for name in ("spool", "log", "mail"):
            (self.folder / name).mkdir()
            shutil.chown(self.folder / name, "Debian-exim")
        config = self.folder / "exim.conf"
        config.write_text(self._config())
        program = [str(EXIM), "-C", str(config), "-bdf", "-oX", f"127.0.0.1.{self.port}"]
        with (self.folder / "out").open("wb") as out:
            self.process = subprocess.Popen(program, stdout=out, stderr=out)
        wait_for(lambda: answers("127.0.0.1", self.port), "Exim's start")

    def _config(self) -> str:
        pair = own_pair(self.folder / "tls", ["mx.next.test"], datetime.now(UTC))  # noqa: TID251
        shutil.copy(pair.certificate, self.folder / "pair.pem")
        with (self.folder / "pair.pem").open("ab") as both:
            both.write(pair.key.read_bytes())
        shutil.chown(self.folder / "pair.pem", "Debian-exim")
        return f"""exim_path = {EXIM}
primary_hostname = mx.next.test
spool_directory = {self.folder}/spool
log_file_path = {self.folder}/log/%slog
keep_environment =
host_lookup =
rfc1413_hosts =
dsn_advertise_hosts = *
smtputf8_advertise_hosts = *
tls_advertise_hosts = {"*" if self.tls else ""}
tls_certificate = {self.folder}/pair.pem
acl_smtp_rcpt = rcpt
begin acl
rcpt:
  deny local_parts = gone
    message = 550 5.1.1 No such user here
  defer local_parts = slow
    condition = ${{if exists{{{self.gate}}}{{no}}{{yes}}}}
    message = 451 4.3.0 Come back later
  accept domains = next.test
  deny message = 550 5.7.1 Not for us
begin routers
here:
  driver = accept
  domains = next.test
  transport = mailbox
back:
  driver = manualroute
  route_list = * 127.0.0.1::{self.back}
  self = send
  transport = smtp
begin transports
mailbox:
  driver = appendfile
  directory = {self.folder}/mail
  maildir_format
  user = Debian-exim
  envelope_to_add
smtp:
  driver = smtp
  allow_localhost
"""

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(10)


class Postfix(Hop):
    """Postfix, with a configuration and a spool of its own."""

    chunked = r" bdat=[1-9]"

    def log(self) -> str:
        return (self.folder / "log").read_text()

    def start(self) -> None:
        for name in ("spool", "data", "mail"):
            (self.folder / name).mkdir()
        shutil.chown(self.folder / "data", "postfix")
        shutil.chown(self.folder / "mail", "nobody")
        self.gate.write_text("slow@next.test 451 4.3.0 Come back later\n")
        (self.folder / "main.cf").write_text(self._config())
        master = Path("/etc/postfix/master.cf").read_text().splitlines()
        lines = [line for line in master if not line.startswith(("smtp      inet", "#"))]
        unchrooted = [
            " ".join([*line.split()[:4], "n", *line.split()[5:]]) if line[:1].isalpha() else line
            for line in lines
        ]
        service = f"127.0.0.1:{self.port} inet n - n - - smtpd"
        (self.folder / "master.cf").write_text("\n".join([service, *unchrooted, ""]))
        self.do("start")
        wait_for(lambda: answers("127.0.0.1", self.port), "Postfix's start")

    def _config(self) -> str:
        pair = own_pair(self.folder / "tls", ["mx.next.test"], datetime.now(UTC))  # noqa: TID251
        return f"""compatibility_level = 3.6
queue_directory = {self.folder}/spool
data_directory = {self.folder}/data
myhostname = mx.next.test
mydestination =
mynetworks =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
maillog_file = {self.folder}/log
maillog_file_prefixes = {self.folder}
virtual_mailbox_domains = next.test
virtual_mailbox_base = {self.folder}
virtual_mailbox_maps = static:mail/
virtual_uid_maps = static:65534
virtual_gid_maps = static:65534
relayhost = [127.0.0.1]:{self.back}
smtpd_peername_lookup = no
smtpd_recipient_restrictions = check_recipient_access texthash:{self.gate},
  check_recipient_access inline:{{ {{gone@next.test = 550 5.1.1 No such user here}} }},
  reject_unauth_destination
smtpd_tls_security_level = {"may" if self.tls else "none"}
smtpd_tls_received_header = yes
smtpd_tls_cert_file = {pair.certificate}
smtpd_tls_key_file = {pair.key}
alias_maps =
alias_database =
"""

    def do(self, what: str) -> None:
        done = subprocess.run(
            ["postfix", "-c", str(self.folder), what], check=False, capture_output=True
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def open(self) -> None:
        """A `reload` would leave our session as it was."""
        super().open()
        self.do("stop")
        self.do("start")
        wait_for(lambda: answers("127.0.0.1", self.port), "Postfix's second start")

    def stop(self) -> None:
        self.do("stop")


class Server:
    """A `mailstead serve` for example.org with the account alice; next.test goes to the hop."""

    def __init__(self, folder: Path, hop: int, smtp: int, run: Run) -> None:
        self.smtp, self.submission, self.imap = smtp, free_port(), free_port()
        self.run_program = run
        folder.mkdir()
        self.config = folder / "mailstead.toml"
        self.config.write_text(
            f"""hostname = "mx.example.org"
database = "sqlite://{folder}/mailstead.db"
loopback_clear_text = true
routes = {{ "next.test" = "127.0.0.1:{hop}" }}
[listen]
smtp = ["127.0.0.1:{self.smtp}"]
submission = ["127.0.0.1:{self.submission}"]
submissions = []
imap = ["127.0.0.1:{self.imap}"]
imaps = []
pop3 = []
pop3s = []
operator = []
"""
        )
        self.mailstead("domain", "add", "example.org")
        self.mailstead("account", "add", ALICE, "--password-stdin", input="long-secret\n")
        program = [sys.executable, "-m", "mailstead", "--config", str(self.config), "serve"]
        self.log = folder / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(program, stderr=log)
        wait_for(lambda: answers("127.0.0.1", self.imap), "our start")

    def mailstead(self, *words: str, input: str | None = None) -> str:
        program = [sys.executable, "-m", "mailstead", "--config", str(self.config)]
        return self.run_program(*program, *words, input=input)

    def submit(
        self, to: str, mail: str = "BODY=8BITMIME", rcpt: str = "", body: bytes = BODY
    ) -> bytes:
        """A message of Alice's; its octets."""
        header = f"From: {ALICE}\r\nTo: {to}\r\nSubject: Gr\u00fc\u00dfe\r\n\r\n"
        if "SMTPUTF8" not in mail:
            header = f"From: {ALICE}\r\nTo: {to}\r\nSubject: Hello\r\n\r\n"
        message = header.encode() + body
        with smtplib.SMTP("127.0.0.1", self.submission) as client:
            client.login(ALICE, "long-secret")
            client.sendmail(ALICE, [to], message, mail.split(), rcpt.split())
        return message

    def inbox(self) -> list[EmailMessage]:
        """Everything that Alice has."""
        with imaplib.IMAP4("127.0.0.1", self.imap) as client:
            client.login(ALICE, "long-secret")
            if client.select("INBOX")[1] == [b"0"]:
                return []
            found = client.fetch("1:*", "(BODY.PEEK[])")[1]
        octets = [one[1] for one in found if isinstance(one, tuple)]
        return [email.message_from_bytes(one, policy=email.policy.default) for one in octets]

    def outcomes(self) -> list[str]:
        """What the log says came of attempts."""
        lines = self.log.read_text().splitlines()
        return [line.partition(" outcome=")[2].split()[0] for line in lines if " outcome=" in line]

    def stop(self) -> None:
        self.process.terminate()
        assert self.process.wait(20) == 0, self.log.read_text()


class Pair:
    """We, and whom we pass mail on to."""

    def __init__(self, hop: Exim | Postfix, server: Server) -> None:
        self.hop, self.server = hop, server


KINDS: dict[str, type[Exim | Postfix]] = {"exim": Exim, "postfix": Postfix}


@pytest.fixture
def meet(
    need: Callable[..., None], missing: Missing, run: Run, tmp_path: Path
) -> Iterator[Callable[[str, bool], Pair]]:
    """Starts both; the hop is of a kind, and offers TLS or not."""
    if os.geteuid() != 0:
        pytest.skip("the next hop changes its user, which needs root")
    folder = Path("/tmp/mailstead-next-hop-test")  # others than root have to get there
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)

        def start(kind: str, tls: bool) -> Pair:
            if kind == "exim" and not EXIM.exists():
                missing("Exim")
            if kind == "postfix":
                need("postfix")
            hop = KINDS[kind](folder, free_port(), tls)
            hop.start()
            stack.callback(hop.stop)
            server = Server(tmp_path / "server", hop.port, hop.back, run)
            stack.callback(server.stop)
            return Pair(hop, server)

        yield start


@pytest.fixture(params=KINDS)
def pair(request: pytest.FixtureRequest, meet: Callable[[str, bool], Pair]) -> Pair:
    """Both, with TLS."""
    return meet(request.param, True)


def without_trace(message: bytes) -> bytes:
    """From its From field on, without the fields that we add to what has none."""
    header, _, body = message[message.index(b"From: ") :].partition(b"\r\n\r\n")
    lines = [line for line in header.split(b"\r\n") if not line.startswith((b"Date:", b"Message-"))]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def test_mail_arrives_inside_tls(pair: Pair) -> None:
    sent = pair.server.submit("bob@next.test")
    (arrived,) = wait_for(pair.hop.arrived, "the arrival")
    assert without_trace(arrived) == sent
    assert b"TLS" in arrived.partition(b"From: ")[0]
    assert "TLSv1.3" in pair.server.mailstead("message", "explain", "--to", "bob@next.test")


@pytest.mark.parametrize("kind", KINDS)
def test_mail_arrives_where_there_is_no_tls(meet: Callable[[str, bool], Pair], kind: str) -> None:
    pair = meet(kind, False)
    sent = pair.server.submit("bob@next.test")
    (arrived,) = wait_for(pair.hop.arrived, "the arrival")
    assert without_trace(arrived) == sent
    assert b"TLS" not in arrived.partition(b"DKIM-Signature")[0]


@pytest.mark.rfc("3030 section 2")
def test_mail_arrives_in_chunks(pair: Pair) -> None:
    """Both offer CHUNKING; what is bigger than a chunk goes in several."""
    small = pair.server.submit("bob@next.test")
    wait_for(lambda: len(pair.hop.arrived()) == 1, "the small one")
    big = pair.server.submit("bob@next.test", body=BODY * 300)
    wait_for(lambda: len(pair.hop.arrived()) == 2, "the big one")
    arrived = sorted(map(without_trace, pair.hop.arrived()), key=len)
    assert arrived == [small, big]
    pair.server.stop()  # Postfix tells it at the end of a session
    wait_for(lambda: re.search(pair.hop.chunked, pair.hop.log()), "its log")


@pytest.mark.rfc("3461 section 5.2.1")
def test_the_hop_tells_what_it_was_asked_to_tell(pair: Pair) -> None:
    pair.server.submit(
        "bob@next.test",
        "BODY=8BITMIME RET=HDRS ENVID=QQ314",
        "NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;robert@next.test",
    )
    (told,) = wait_for(pair.server.inbox, "the DSN")
    about, one = told.get_payload()[1].get_payload()
    assert "mx.next.test" in about["Reporting-MTA"]
    assert about["Original-Envelope-Id"] == "QQ314"
    assert one["Action"] in ("delivered", "relayed")
    assert one["Original-Recipient"].replace(" ", "") == "rfc822;robert@next.test"


@pytest.mark.rfc("6531 section 3.2")
def test_addresses_in_utf8(pair: Pair) -> None:
    sent = pair.server.submit("gr\u00fcn@next.test", "SMTPUTF8 BODY=8BITMIME")
    (arrived,) = wait_for(pair.hop.arrived, "the arrival")
    assert without_trace(arrived) == sent
    assert "gr\u00fcn@next.test".encode() in arrived.partition(b"From: ")[0]


def test_what_is_put_off_is_taken_later(pair: Pair) -> None:
    sent = pair.server.submit("slow@next.test")
    wait_for(lambda: pair.server.outcomes() == ["deferred"], "the deferral")
    assert "451 4.3.0 " in pair.server.mailstead("queue", "list")
    assert pair.hop.arrived() == []
    pair.hop.open()
    pair.server.mailstead("queue", "retry", "--all")
    (arrived,) = wait_for(pair.hop.arrived, "the arrival")
    assert without_trace(arrived) == sent
    wait_for(lambda: pair.server.outcomes() == ["deferred", "relayed"], "the end")
    assert pair.server.inbox() == []


FLUFL = """
import email, sys
from flufl.bounce import all_failures
temporary, permanent = all_failures(email.message_from_binary_file(sys.stdin.buffer))
print(sorted(temporary), sorted(permanent))
"""


@pytest.mark.rfc("3464 section 2")
def test_others_can_read_our_dsn(pair: Pair, missing: Missing, run: Run) -> None:
    """Python's email package, and flufl.bounce, which reads those of everybody for Mailman."""
    if not Path("/usr/lib/python3/dist-packages/flufl/bounce").is_dir():
        missing("python3-flufl.bounce")
    pair.server.submit("gone@next.test")
    (told,) = wait_for(pair.server.inbox, "the DSN")
    assert told.get_content_type() == "multipart/report"
    _, status, returned = told.iter_parts()
    about, one = status.get_payload()
    assert about["Reporting-MTA"] == "dns; mx.example.org"
    assert (one["Action"], one["Status"]) == ("failed", "5.1.1")
    assert one["Remote-MTA"] is not None
    assert one["Diagnostic-Code"].startswith("smtp; 550 5.1.1 ")
    assert one["Diagnostic-Code"].endswith("No such user here")
    assert "Subject: Hello" in returned.as_string()
    read = run("/usr/bin/python3", "-c", FLUFL, input=told.as_bytes())
    assert read.strip() == "[] [b'gone@next.test']"
