"""What dkimpy and opendkim sign is verified here, and broken in every way as they find it broken.

A thousand messages in all forms and algorithms, each with a change that a relay, a list or a
forger may make. All three say of each whether it is good; where one of the others differs, the
reason stands in DIFFERENCES.
"""

import base64
import importlib.util
import random
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from types import ModuleType

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from mailstead.message.header import split
from mailstead.model.dns import Answer, Question, Status
from mailstead.msgauth.dkim.failure import Verdict
from mailstead.msgauth.dkim.signature import Signature, signatures
from mailstead.msgauth.dkim.verify import body_hashes, verify

DOMAIN = "example.test"
FORMS = [(a, b) for a in ("simple", "relaxed") for b in ("simple", "relaxed")]
ALGORITHMS = ("rsa-sha256", "ed25519-sha256")
COUNT = 1000
BATCH = 200  # files in one run of opendkim


class Keys(msgspec.Struct, frozen=True):
    """One key for each algorithm; its selector is the algorithm's."""

    pem: dict[str, bytes]
    raw: dict[str, bytes]  # base64 of the secret, as dkimpy wants Ed25519
    records: dict[str, str]


def make_keys() -> Keys:
    """New ones."""
    small, short = rsa.generate_private_key(65537, 1024), ed25519.Ed25519PrivateKey.generate()
    pem = {
        "rsa-sha256": small.private_bytes(
            Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()
        ),
        "ed25519-sha256": short.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
    }
    der = small.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    public = short.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return Keys(
        pem=pem,
        raw={"ed25519-sha256": base64.b64encode(short.private_bytes_raw())},
        records={
            "rsa-sha256": f"v=DKIM1; k=rsa; p={base64.b64encode(der).decode()}",
            "ed25519-sha256": f"v=DKIM1; k=ed25519; p={base64.b64encode(public).decode()}",
        },
    )


@pytest.fixture(scope="module")
def keys() -> Keys:
    """The keys of example.test."""
    return make_keys()


@pytest.fixture(scope="module")
def nacl(dkimpy: ModuleType) -> None:
    """What dkimpy needs for Ed25519; Debian's, as dkimpy itself."""
    folder = Path("/usr/lib/python3/dist-packages/nacl")
    spec = importlib.util.spec_from_file_location(
        "nacl", folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["nacl"] = module
    spec.loader.exec_module(module)
    importlib.import_module("nacl.signing")
    importlib.import_module("nacl.encoding")
    dkimpy.nacl = module  # type: ignore[attr-defined]


# ---------------------------------------------------------------------- messages

_WORDS = ("a", "Hello", "tab\tbed", "two  spaces", " ", "\t", "", "\N{SNOWMAN}", "=?utf-8?q?x?=")
_NAMES = ("Subject", "subject", "X-Other", "To", "CC", "List-Id", "References", "Content-Type")


def generate(chance: random.Random) -> bytes:
    """A message with all that canonical forms are about."""
    lines = ["From: Alice <alice@example.test>", "Date: Sat, 21 Nov 2026 12:00:00 +0000"]
    lines += ["Subject: The  first\r\n\t and  only", "To: bob@example.test"]
    for _ in range(chance.randrange(8)):
        folds = "".join(f"\r\n\t {text(chance)}x" for _ in range(chance.randrange(3)))
        lines.append(f"{chance.choice(_NAMES)}: y{text(chance)}{folds}")
    chance.shuffle(lines)
    body = "Hello  Bob,\r\n" + "".join(text(chance) + "\r\n" for _ in range(chance.randrange(8)))
    body += "Bye, Alice\r\n" + "\r\n" * chance.randrange(3)
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()


def text(chance: random.Random) -> str:
    return " ".join(chance.choice(_WORDS) for _ in range(chance.randrange(5)))


def signed_by_dkimpy(dkimpy: ModuleType, keys: Keys, count: int) -> Iterator[bytes]:
    chance = random.Random(6376)
    kinds = list(product(FORMS, ALGORITHMS, (False, True)))
    for number in range(count):
        form, algorithm, length = kinds[number % len(kinds)]
        message = generate(chance)
        signer = dkimpy.DKIM(message, signature_algorithm=algorithm.encode())
        field = signer.sign(
            selector=algorithm.encode(),
            domain=DOMAIN.encode(),
            privkey=keys.raw.get(algorithm, keys.pem[algorithm]),
            canonicalize=(form[0].encode(), form[1].encode()),
            length=length,
        )
        yield field + message


class Opendkim:
    """The program in test mode, with many files at once."""

    def __init__(self, folder: Path, keys: Keys) -> None:
        self.folder = folder
        for algorithm, pem in keys.pem.items():
            (folder / f"{algorithm}.pem").write_bytes(pem)

    def sign(
        self,
        messages: list[bytes],
        form: tuple[str, str],
        algorithm: str,
        more: str = "",
        *options: str,
    ) -> list[bytes]:
        """The messages with their signatures."""
        settings = (
            f"Mode s\nDomain {DOMAIN}\nSelector {algorithm}\nKeyFile {algorithm}.pem\n"
            f"Canonicalization {'/'.join(form)}\nSignatureAlgorithm {algorithm}\n{more}"
        )
        output = self._run(settings, messages, *options)
        values = re.findall(r"hname='DKIM-Signature' hvalue='(.*?)'$", output, re.S | re.M)
        assert len(values) == len(messages), output
        fields = [f"DKIM-Signature: {value}\n".replace("\n", "\r\n").encode() for value in values]
        return [field + message for field, message in zip(fields, messages, strict=True)]

    def verify(self, messages: list[bytes], records: dict[str, str]) -> list[str]:
        """What it says of each: "succeeded", or why not."""
        lines = [f"{name}._domainkey.{DOMAIN} {text}\n" for name, text in records.items()]
        (self.folder / "keys").write_text("".join(lines))
        output = self._run("Mode v\nTestPublicKeys keys\n", messages)
        said = re.findall(r"^opendkim: (\d+)\.eml: ((?:verif|message not).*)$", output, re.M)
        verdicts = {int(number): words for number, words in said}
        return [verdicts.get(number, "") for number in range(len(messages))]

    def _run(self, settings: str, messages: list[bytes], *options: str) -> str:
        (self.folder / "conf").write_text(settings + "RequireSafeKeys no\n")
        names = [f"{number}.eml" for number in range(len(messages))]
        for name, message in zip(names, messages, strict=True):
            (self.folder / name).write_bytes(message)
        program = ["/usr/sbin/opendkim", *options, "-vv", "-x", "conf", "-t", ",".join(names)]
        done = subprocess.run(
            program, cwd=self.folder, capture_output=True, timeout=120, check=False
        )
        return (done.stdout + done.stderr).decode("utf-8", "replace")


def signed_by_opendkim(opendkim: Opendkim, count: int) -> Iterator[bytes]:
    chance = random.Random(6377)
    # Its Ed25519 signatures of simple headers are not good, not even by its own word.
    kinds = [(a, b) for a, b in product(FORMS, ALGORITHMS) if a[0] == "relaxed" or "rsa" in b]
    for form, algorithm in kinds:
        messages = [generate(chance) for _ in range(count // len(kinds) + 1)]
        yield from opendkim.sign(messages, form, algorithm)


# ---------------------------------------------------------------------- what happens to them


def replaced(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    def change(message: bytes) -> bytes:
        assert old in message, (old, message)
        return message.replace(old, new, 1)

    return change


def on_top(field: bytes) -> Callable[[bytes], bytes]:
    return lambda message: field + message


def at_end(lines: bytes) -> Callable[[bytes], bytes]:
    return lambda message: message + lines


def below(field: bytes) -> Callable[[bytes], bytes]:
    return replaced(b"\r\n\r\n", b"\r\n" + field + b"\r\n")


def flipped_value(message: bytes) -> bytes:
    """One character of b= is another."""
    match = re.search(rb"[;\s]b=\s*\S\S\S", message)
    assert match is not None
    at = match.end()
    return message[:at] + (b"A" if message[at : at + 1] != b"A" else b"B") + message[at + 1 :]


CHANGES: dict[str, Callable[[bytes], bytes]] = {
    "nothing": lambda message: message,
    "a field is changed": replaced(b"Alice <alice", b"Mallory <alice"),
    "a field is folded otherwise": replaced(b"The  first\r\n\t and  only", b"The first and only"),
    "a field's name is in capitals": replaced(b"Date: Sat", b"DATE: Sat"),
    "a field is removed": replaced(b"To: bob@example.test\r\n", b""),
    "a field that nobody signed is added": on_top(b"X-Spam: no\r\n"),
    "a trace field is added": on_top(b"Received: by relay.example; now\r\n"),
    "a subject is added on top": on_top(b"Subject: Buy\r\n"),
    "a subject is added below": below(b"Subject: Buy\r\n"),
    "an author is added on top": on_top(b"From: eve@example.com\r\n"),
    "an author is added below": below(b"From: eve@example.com\r\n"),
    "the body is changed": replaced(b"Hello  Bob", b"Hello  Eve"),
    "white space in the body is changed": replaced(b"Hello  Bob,", b"Hello Bob, \t"),
    "empty lines are added": at_end(b"\r\n\r\n"),
    "text is added": at_end(b"--\r\nSent by a list\r\n"),
    "the body is cut": replaced(b"Bye, Alice\r\n", b""),
    "the value is changed": flipped_value,
    "a tag is added": replaced(b"DKIM-Signature: v=1;", b"DKIM-Signature: v=1; z=x;"),
    "a tag is there twice": replaced(b"DKIM-Signature: v=1;", b"DKIM-Signature: v=1; v=1;"),
    "the version is another": replaced(b"DKIM-Signature: v=1;", b"DKIM-Signature: v=2;"),
    "the field is folded": replaced(b"DKIM-Signature: v=1;", b"DKIM-Signature: v=1;\r\n "),
}
RECORDS: dict[str, Callable[[str], str]] = {
    "the key is as it was": lambda record: record,
    "the key is another": lambda record: record,  # see records()
    "the key is revoked": lambda record: re.sub("p=.*", "p=", record),
    "the key is missing": lambda record: "",
    "the record is damaged": lambda record: record.replace("p=", "p=%%"),
    "the record has no version": lambda record: record.removeprefix("v=DKIM1; "),
    "the record's version is not first": lambda record: (
        record.removeprefix("v=DKIM1; ") + "; v=DKIM1"
    ),
    "the record has a tag twice": lambda record: record + "; n=1; n=2",
    "the record has another version": lambda record: record.replace("DKIM1", "DKIM2"),
    "the key is for SHA-1": lambda record: record.replace("p=", "h=sha1; p="),
    "the key is for SHA-256": lambda record: record.replace("p=", "h=sha1:sha256; p="),
    "the key is for mail": lambda record: record.replace("p=", "s=email; p="),
    "the key is for other things": lambda record: record.replace("p=", "s=other; p="),
    "the key is being tested": lambda record: record.replace("p=", "t=y; p="),
    "the key is for the very domain": lambda record: record.replace("p=", "t=s; p="),
}


def records(what: str, keys: Keys, others: Keys) -> dict[str, str]:
    source = others if what == "the key is another" else keys
    changed = {name: RECORDS[what](text) for name, text in source.records.items()}
    return {name: text for name, text in changed.items() if text}


# ---------------------------------------------------------------------- what the three say


def ours(message: bytes, zone: dict[str, str], now: datetime) -> bool:
    header, body = split(message)
    seen = signatures(header)
    hashes = body_hashes(seen)
    hashes.add(body)
    bodies = hashes.finish()
    return any(verify(one, bodies, ask(one, zone), now).verdict is Verdict.PASS for one in seen)


def ask(one: object, zone: dict[str, str]) -> Answer:
    question = one.question if isinstance(one, Signature) else Question("TXT", "")
    text = zone.get(question.name.partition(".")[0])
    return Answer(Status.NOERROR, (text,)) if text else Answer(Status.NXDOMAIN)


def theirs(dkimpy: ModuleType, message: bytes, zone: dict[str, str]) -> bool:
    def look(name: bytes, timeout: int = 5) -> bytes | None:
        text = zone.get(name.decode().partition(".")[0])
        return text.encode() if text else None

    return bool(dkimpy.verify(message, dnsfunc=look))


# What all three say of each change: G all good, B all bad, GB it depends on the form.
EXPECTED = {
    "nothing": "G",
    "a field is changed": "B",
    "a field is folded otherwise": "GB",
    "a field's name is in capitals": "GB",
    "a field is removed": "B",
    "a field that nobody signed is added": "G",
    "a trace field is added": "G",
    "a subject is added on top": "G",  # the lowest one was signed (RFC 6376 section 5.4.2)
    "a subject is added below": "B",
    "an author is added on top": "B",
    "an author is added below": "B",
    "the body is changed": "B",
    "white space in the body is changed": "GB",
    "empty lines are added": "G",
    "text is added": "GB",  # good with l= only
    "the body is cut": "B",
    "the value is changed": "B",
    "a tag is added": "B",
    "a tag is there twice": "B",
    "the version is another": "B",
    "the field is folded": "GB",
    "the key is as it was": "G",
    "the key is another": "B",
    "the key is revoked": "B",
    "the key is missing": "B",
    "the record is damaged": "B",
    "the record has no version": "G",
    "the record's version is not first": "B",
    "the record has a tag twice": "B",
    "the record has another version": "B",
    "the key is for SHA-1": "B",
    "the key is for SHA-256": "G",
    "the key is for mail": "G",
    "the key is for other things": "B",
    "the key is being tested": "G",
    "the key is for the very domain": "G",
    "it has expired": "B",
}
# Where another differs from us, and why we do not follow it.
DIFFERENCES = {
    ("dkimpy", "the key is for SHA-1"): "it does not look at h= (RFC 6376 section 6.1.2, 6.)",
    ("dkimpy", "the record is damaged"): "it passes over what is no base64 (section 6.1.2, 5.)",
    ("opendkim", "the record is damaged"): "the same",
    ("opendkim", "the record has a tag twice"): "that spoils any list (section 3.2)",
    ("dkimpy", "the record's version is not first"): "it has to be (section 3.6.1)",
    ("opendkim", "the record's version is not first"): "the same",
    ("opendkim", "an author is added on top"): "two From fields are forbidden, and people see the"
    " other one (RFC 6376 section 8.15, RFC 5322 section 3.6)",
}


class Judges:
    """All three, asked about the same messages."""

    def __init__(self, dkimpy: ModuleType, opendkim: Opendkim) -> None:
        self.dkimpy, self.opendkim = dkimpy, opendkim
        self.now = datetime.fromtimestamp(time.time(), UTC)

    def judge(self, what: str, messages: list[bytes], zone: dict[str, str]) -> None:
        """They agree, but where it is known that they do not, and say what is expected."""
        own = [ours(message, zone, self.now) for message in messages]
        found = "".join(letter for good, letter in ((True, "G"), (False, "B")) if good in own)
        assert found == EXPECTED[what], what
        said = {
            "dkimpy": [theirs(self.dkimpy, message, zone) for message in messages],
            "opendkim": [words.endswith("succeeded") for words in self._opendkim(messages, zone)],
        }
        for name, verdicts in said.items():
            differ = [m for m, a, b in zip(messages, own, verdicts, strict=True) if a != b]
            assert bool(differ) == ((name, what) in DIFFERENCES), (name, what, differ[:1])

    def _opendkim(self, messages: list[bytes], zone: dict[str, str]) -> list[str]:
        said = []
        for at in range(0, len(messages), BATCH):
            said += self.opendkim.verify(messages[at : at + BATCH], zone)
        return said


@pytest.fixture(scope="module")
def opendkim(tmp_path_factory: pytest.TempPathFactory, keys: Keys) -> Opendkim:
    """The program, with the keys."""
    return Opendkim(tmp_path_factory.mktemp("opendkim"), keys)


@pytest.fixture
def judges(dkimpy: ModuleType, nacl: None, opendkim: Opendkim, need: Callable[..., None]) -> Judges:
    """Everybody who has a say."""
    need("opendkim")
    return Judges(dkimpy, opendkim)


@pytest.fixture(scope="module")
def messages(dkimpy: ModuleType, nacl: None, keys: Keys, opendkim: Opendkim) -> list[bytes]:
    """A thousand signed messages, in an order that mixes all kinds."""
    made = [
        *signed_by_dkimpy(dkimpy, keys, COUNT // 2),
        *signed_by_opendkim(opendkim, COUNT // 2),
    ]
    random.Random(1).shuffle(made)
    return made


def test_a_thousand_messages_are_good(judges: Judges, keys: Keys, messages: list[bytes]) -> None:
    assert len(messages) >= COUNT
    judges.judge("nothing", messages, keys.records)


@pytest.mark.parametrize("what", list(CHANGES)[1:])
def test_changes(judges: Judges, keys: Keys, messages: list[bytes], what: str) -> None:
    some = messages[:: len(CHANGES) // 2]
    judges.judge(what, [CHANGES[what](message) for message in some], keys.records)


@pytest.mark.parametrize("what", RECORDS)
def test_keys(judges: Judges, keys: Keys, messages: list[bytes], what: str) -> None:
    judges.judge(what, messages[:40], records(what, keys, make_keys()))


def test_expired(judges: Judges, keys: Keys, opendkim: Opendkim) -> None:
    some = [generate(random.Random(number)) for number in range(10)]
    expired = opendkim.sign(some, FORMS[3], "rsa-sha256", "SignatureTTL 60\n", "-F", "1700000000")
    judges.judge("it has expired", expired, keys.records)
    then = datetime.fromtimestamp(1700000030, UTC)
    assert all(ours(message, keys.records, then) for message in expired)
