"""opendkim as a filter of ours: it signs a message, and verifies what it has signed."""

import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from mailstead.model.address import Domain
from mailstead.model.world import Endpoint
from mailstead.msgauth.dkim.key import SigningKey
from mailstead.protocol.milter.client import (
    Dialogue,
    Failed,
    Filter,
    Judged,
    Keep,
    Lost,
    Send,
    T,
    negotiate,
)
from mailstead.protocol.milter.edit import change_header
from mailstead.protocol.milter.options import Macros
from mailstead.protocol.milter.responses import (
    AddHeader,
    ChangeHeader,
    Continue,
    InsertHeader,
    Response,
    ResponseReader,
)

START_TIMEOUT = 30.0
FIELDS = [
    ("From", b" Alice <alice@example.test>"),
    ("To", b" bob@example.test,\r\n\t carol@example.test"),
    ("SUBJECT", b"  two  spaces\tand \r\n  a fold"),
    ("X-Empty", b""),
]
HEADER = b"".join(name.encode() + b":" + value + b"\r\n" for name, value in FIELDS) + b"\r\n"
BODY = b"A line, " * 20 + b"\r\n" + b"Big.  \r\n" * 20_000 + b"\r\n\r\n"


class Talk:
    """A driver of dialogues over a socket."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(30)
        self._socket.connect(str(path))
        self._reader = ResponseReader()
        self._heard: list[Response] = []

    def __call__(self, dialogue: Dialogue[T]) -> T:
        try:
            request = next(dialogue)
            while True:
                request = dialogue.send(self._do(request))
        except StopIteration as end:
            result: T = end.value
            return result

    def _do(self, request: Send | Keep) -> Response | Lost | None:
        assert isinstance(request, Send)
        self._socket.sendall(request.data)
        if not request.answered:
            return None
        while not self._heard:
            data = self._socket.recv(65536)
            if not data:
                return Lost("closed")
            self._heard = self._reader.receive(data)
        return self._heard.pop(0)

    def close(self) -> None:
        self._socket.close()


@contextmanager
def opendkim(folder: Path, *settings: str) -> Iterator[Path]:
    """A filter of that configuration, listening at this path."""
    path, file, log = folder / "milter", folder / "opendkim.conf", folder / "opendkim.log"
    lines = [f"Socket local:{path}", "Background no", "Syslog no", "RequireSafeKeys no", *settings]
    file.write_text("\n".join(lines) + "\n")
    with log.open("wb") as out:
        program = ["/usr/sbin/opendkim", "-f", "-x", file]
        process = subprocess.Popen(program, stdout=out, stderr=out)
    try:
        _wait(process, path, log)
        yield path
    finally:
        process.terminate()
        process.wait(20)
        path.unlink(missing_ok=True)


def _wait(process: "subprocess.Popen[bytes]", path: Path, log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while process.poll() is None and time.monotonic() < deadline:
        with suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
            probe.connect(str(path))
            return
        time.sleep(0.05)
    pytest.fail(f"opendkim did not start:\n{log.read_text()}")


def send(path: Path, fields: list[tuple[str, bytes]], client: str) -> Judged:
    """What the filter makes of the message, after another one that was given up."""
    talk = Talk(path)
    one = talk(negotiate())
    assert isinstance(one, Filter)
    talk(one.connect("client.example.test", Endpoint(client, 40000)))
    assert talk(one.helo("client.example.test")) == Continue()
    assert talk(one.mail("<mallory@example.test>")) == Continue()
    talk(one.abort())
    stages: list[Dialogue[object]] = [
        one.mail("<alice@example.test>", ["SIZE=1000"], Macros({"i": "job1"})),
        one.rcpt("<bob@example.test>"),
        one.data(),
        one.header(fields),
        one.end_of_header(),
        one.body(BODY),
    ]
    assert [talk(stage) for stage in stages] == [Continue()] * len(stages)
    judged = talk(one.end_of_message(Macros({"i": "job1"})))
    talk(one.quit())
    talk.close()
    return judged


def changed(judged: Judged, header: bytes) -> bytes:
    assert not isinstance(judged.verdict, Failed), judged.verdict
    edits = [
        change
        for change in judged.changes
        if isinstance(change, AddHeader | InsertHeader | ChangeHeader)
    ]
    return change_header(header, edits)


def test_opendkim_signs_and_verifies(
    need: Callable[..., None], tmp_path: Path, dkimpy: ModuleType
) -> None:
    need("opendkim")
    made = rsa.generate_private_key(65537, 2048)
    pem = made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    key = SigningKey(Domain("example.test"), "s1", pem)
    (tmp_path / "key.pem").write_bytes(pem)
    (tmp_path / "keys").write_text(f"{key.name} {key.record}\n")
    signing = ("Mode s", "Domain example.test", "Selector s1", f"KeyFile {tmp_path / 'key.pem'}")
    with opendkim(tmp_path, *signing, "Canonicalization simple/simple") as path:
        signed = changed(send(path, FIELDS, "127.0.0.1"), HEADER)
    assert signed.startswith(b"DKIM-Signature: v=1;")
    assert signed.endswith(HEADER)
    record = key.record.encode()
    assert dkimpy.verify(signed + BODY, dnsfunc=lambda name, timeout=5: record)

    (value,) = signed[: -len(HEADER)].removesuffix(b"\r\n").split(b"DKIM-Signature:")[1:]
    verifying = ("Mode v", f"TestPublicKeys {tmp_path / 'keys'}", "AuthservID mx.example.test")
    with opendkim(tmp_path, *verifying) as path:
        fields = [("DKIM-Signature", value), *FIELDS]
        good = changed(send(path, fields, "192.0.2.1"), signed)
        fields[2] = ("To", b" mallory@example.test")
        bad = changed(send(path, fields, "192.0.2.1"), signed)
    assert b"dkim=pass" in good.partition(b"DKIM-Signature:")[0]
    assert b"Authentication-Results: mx.example.test;" in good
    assert b"dkim=fail" in bad.partition(b"DKIM-Signature:")[0]
