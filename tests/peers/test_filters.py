"""Real filters asked by a real server: ClamAV, Rspamd, SpamAssassin through its milter, OpenDKIM.

Each is started with a configuration of the test's own; ClamAV with a signature of its own, for the
EICAR test file only. None of them asks the network.
"""

import base64
import socket
import subprocess
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from .conftest import LocalServer

START_TIMEOUT = 60.0
# In two pieces, so that no scanner takes this file for what it tests with.
EICAR = rb"X5O!P%@AP[4\PZX54(P^)7CC)7}$" + rb"EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"
GTUBE = b"XJS*C4JDBQADN1.NSBN3*2IDNEN*" + b"GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"
HEADER = b"From: <alice@example.test>\r\nTo: <bob@example.net>\r\nSubject: Hello\r\n"


def mail(folder: Path, text: bytes = b"Hi Bob, how are you?\r\n", attachment: bytes = b"") -> Path:
    """A message in a file."""
    path = folder / "mail.eml"
    if not attachment:
        path.write_bytes(HEADER + b"\r\n" + text)
        return path
    encoded = base64.encodebytes(attachment).replace(b"\n", b"\r\n")
    path.write_bytes(
        HEADER
        + b"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n"
        + b"--x\r\nContent-Type: text/plain\r\n\r\n"
        + text
        + b"--x\r\nContent-Type: application/octet-stream; name=a.bin\r\n"
        + b"Content-Transfer-Encoding: base64\r\n\r\n"
        + encoded
        + b"--x--\r\n"
    )
    return path


@contextmanager
def running(ready: str | int, folder: Path, *program: str | Path) -> Iterator[None]:
    """The program, until the block ends; it is there when it listens at that path or port."""
    log = folder / f"{Path(str(program[0])).name}.log"
    with log.open("wb") as out:
        process = subprocess.Popen([str(word) for word in program], stdout=out, stderr=out)
    try:
        deadline = time.monotonic() + START_TIMEOUT
        while not listens(ready):
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"{program[0]} did not start:\n{log.read_text(errors='replace')}")
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait(20)


def listens(ready: str | int) -> bool:
    family = socket.AF_UNIX if isinstance(ready, str) else socket.AF_INET
    with suppress(OSError), socket.socket(family) as probe:
        probe.connect(ready if isinstance(ready, str) else ("127.0.0.1", ready))
        return True
    return False


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def test_clamav(need: Callable[..., None], server: LocalServer, tmp_path: Path) -> None:
    need("clamd", "swaks")
    signatures, path = tmp_path / "signatures", tmp_path / "clamd.sock"
    signatures.mkdir()
    (signatures / "own.hdb").write_text("44d88612fea8a8f36de82e1278abb02f:68:Eicar-Test\n")
    settings = tmp_path / "clamd.conf"
    settings.write_text(
        f"Foreground yes\nLocalSocket {path}\nDatabaseDirectory {signatures}\n"
        "MaxScanTime 5000\nMaxScanSize 50M\nMaxRecursion 10\nStreamMaxLength 10M\n"
    )
    place = ("clamd", f"unix:{path}", "--direction", "both", "--failure", "closed")
    with running(str(path), tmp_path, "/usr/sbin/clamd", "-c", settings):
        server.mailstead("filter", "add", "av", *place)
        assert "nothing" in server.mailstead("filter", "test", "av", str(mail(tmp_path)))
        with pytest.raises(AssertionError, match="Eicar-Test"):
            server.mailstead("filter", "test", "av", str(mail(tmp_path, attachment=EICAR)))
        bomb = BytesIO()
        with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
            for number in range(20):
                archive.writestr(f"{number}.bin", bytes(30_000_000))
        began = time.monotonic()
        server.mailstead("filter", "test", "av", str(mail(tmp_path, attachment=bomb.getvalue())))
        assert time.monotonic() - began < 25
        big = mail(tmp_path, attachment=bytes(12_000_000))
        assert "too big" in server.mailstead("filter", "test", "av", str(big))
        sent = swaks(server, mail(tmp_path, attachment=EICAR))
        assert "550 5.7.1 The message is malware: Eicar-Test" in sent
        assert "250 2.0.0" in swaks(server, mail(tmp_path))
    time.sleep(0.1)
    assert "451 4.7.1" in swaks(server, mail(tmp_path))  # it is gone, and was to be asked


def swaks(server: LocalServer, message: Path) -> str:
    """What the submission of the message by Alice comes to."""
    program = [
        *("swaks", "--server", f"127.0.0.1:{server.submission}", "-tls"),
        *("--auth", "PLAIN", "--auth-user", "alice@example.test", "--auth-password", "secret"),
        *("--from", "alice@example.test", "--to", "alice@example.test", "--data", f"@{message}"),
    ]
    done = subprocess.run(program, capture_output=True, timeout=60, check=False)
    return (done.stdout + done.stderr).decode("utf-8", "replace")


def test_rspamd(need: Callable[..., None], server: LocalServer, tmp_path: Path) -> None:
    need("rspamd")
    port, settings = free_port(), tmp_path / "rspamd.conf"
    settings.write_text(
        f'options {{ pidfile = "{tmp_path}/pid"; tempdir = "{tmp_path}"; filters = "";'
        ' dns { nameserver = ["127.0.0.1:1"]; timeout = 0.1s; retransmits = 1; } }\n'
        'logging { type = "console"; level = "warning"; }\n'
        "actions { reject = 15; add_header = 6; }\n"
        f'worker "normal" {{ bind_socket = "127.0.0.1:{port}"; count = 1; mime = true; }}\n'
    )
    with running(port, tmp_path, "rspamd", "-f", "-i", "-c", settings):
        server.mailstead("filter", "add", "rs", "rspamd", f"http://127.0.0.1:{port}")
        assert "no action" in server.mailstead("filter", "test", "rs", str(mail(tmp_path)))
        with pytest.raises(AssertionError, match="Gtube pattern"):
            server.mailstead("filter", "test", "rs", str(mail(tmp_path, GTUBE + b"\r\n")))


def test_spamassassin(need: Callable[..., None], server: LocalServer, tmp_path: Path) -> None:
    """Through spamass-milter, which asks spamd by spamc."""
    need("spamd", "spamc", "spamass-milter")
    port, path = free_port(), tmp_path / "spamass.sock"
    spamd = ("/usr/sbin/spamd", "-L", "-x", "--port", str(port), "-m", "1", "-i", "127.0.0.1")
    milter = ("/usr/sbin/spamass-milter", "-p", path, "-r", "15", "--", "-p", str(port))
    with running(port, tmp_path, *spamd), running(str(path), tmp_path, *milter):
        server.mailstead("filter", "add", "sa", "milter", f"unix:{path}", "--seconds", "60")
        said = server.mailstead("filter", "test", "sa", str(mail(tmp_path)))
        assert "X-Spam-Checker-Version" in said
        with pytest.raises(AssertionError, match="SpamAssassin"):
            server.mailstead("filter", "test", "sa", str(mail(tmp_path, GTUBE + b"\r\n")))


def test_opendkim(need: Callable[..., None], server: LocalServer, tmp_path: Path) -> None:
    need("opendkim", "swaks")
    pem = rsa.generate_private_key(65537, 2048).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
    (tmp_path / "key.pem").write_bytes(pem)
    path, settings = tmp_path / "opendkim.sock", tmp_path / "opendkim.conf"
    settings.write_text(
        f"Socket local:{path}\nBackground no\nSyslog no\nRequireSafeKeys no\nMode s\n"
        f"Domain example.test\nSelector s1\nKeyFile {tmp_path / 'key.pem'}\n"
    )
    with running(str(path), tmp_path, "/usr/sbin/opendkim", "-f", "-x", settings):
        server.mailstead("filter", "add", "od", "milter", f"unix:{path}", "--direction", "out")
        said = server.mailstead("filter", "test", "od", str(mail(tmp_path)))
        assert "InsertHeader DKIM-Signature" in said
        sent = swaks(server, mail(tmp_path))
        assert "250 2.0.0" in sent
        trace = sent.partition("kept as ")[2].split()[0]
        assert "InsertHeader DKIM-Signature" in server.mailstead("message", "explain", trace)
