"""dkimpy's chains are validated here, ours by dkimpy; broken in every place, both find it so."""

import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from types import ModuleType, SimpleNamespace

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from mailstead.message.header import split
from mailstead.model.address import Domain
from mailstead.model.dns import Answer, Question, Status
from mailstead.msgauth import authres
from mailstead.msgauth.arc.chain import Chain, parse_chain
from mailstead.msgauth.arc.seal import seal
from mailstead.msgauth.arc.validate import Validation, validate
from mailstead.msgauth.authres import AuthenticationResults, Result
from mailstead.msgauth.dkim.canonical import BodyHash
from mailstead.msgauth.dkim.key import SigningKey
from mailstead.msgauth.dkim.verify import body_hashes

MESSAGE = (
    b"From: Alice <alice@example.test>\r\nTo: list@hop1.example\r\nSubject: Is  it\r\n so?\r\n"
    b"Date: Sat, 21 Nov 2026 12:00:00 +0000\r\nMessage-ID: <1@example.test>\r\n\r\n"
    b"Hello  Bob,\r\n\r\n see you. \r\n\r\n"
)
HOPS = range(1, 6)
Sealing = Callable[[bytes, int], bytes]


@pytest.fixture(scope="module")
def key() -> SigningKey:
    """The key of every host."""
    made = rsa.generate_private_key(65537, 1024)
    pem = made.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    return SigningKey(Domain("hop.example"), "s", pem)


@pytest.fixture(scope="module")
def sealer(dkimpy: ModuleType) -> Iterator[ModuleType]:
    """dkimpy, with a reader of Authentication-Results: it wants a module that is not installed."""

    def read(text: str) -> SimpleNamespace:
        found = authres.parse(text.partition(":")[2].encode())
        assert found is not None
        return SimpleNamespace(authserv_id=found.authserv_id, results=found.results)

    dkimpy.authres = SimpleNamespace(  # type: ignore[attr-defined]
        AuthenticationResultsHeader=SimpleNamespace(parse=read),
        core=SimpleNamespace(SyntaxError=ValueError),
    )
    yield dkimpy
    del dkimpy.authres


def found_by_us(message: bytes, key: SigningKey, missing: int = 0) -> Validation:
    header, body = split(message)
    found = parse_chain(header)
    hashes = body_hashes(found.messages if isinstance(found, Chain) else [])
    hashes.add(body)
    lookup = validate(found, hashes.finish(), datetime.fromtimestamp(time.time(), UTC))
    try:
        question = next(lookup)
        while True:
            question = lookup.send(answer(question, key, missing))
    except StopIteration as end:
        result: Validation = end.value
        return result


def answer(question: Question, key: SigningKey, missing: int) -> Answer:
    if question.name == f"s._domainkey.hop{missing}.example":
        return Answer(Status.NXDOMAIN)
    return Answer(Status.NOERROR, (key.record,))


def found_by_dkimpy(dkimpy: ModuleType, message: bytes, key: SigningKey, missing: int = 0) -> str:
    def look(name: bytes, timeout: int = 5) -> bytes | None:
        gone = name == f"s._domainkey.hop{missing}.example.".encode()
        return None if gone else key.record.encode()

    status, _, _ = dkimpy.arc_verify(message, dnsfunc=look)
    return (status or b"fail").decode()  # None is a chain that its last host gave up


@pytest.fixture
def seal_by_dkimpy(sealer: ModuleType, key: SigningKey) -> Sealing:
    """A host that uses dkimpy."""

    def add(message: bytes, number: int) -> bytes:
        host = f"hop{number}.example".encode()
        status = found_by_us(message, key).status.value.encode()
        stated = b"Authentication-Results: %s; arc=%s; spf=pass smtp.mfrom=a@example.test\r\n"
        fields = sealer.arc_sign(
            stated % (host, status) + message,
            selector=b"s",
            domain=host,
            privkey=key.pem,
            srv_id=host,
            include_headers=[b"from", b"to", b"subject", b"date"],
        )
        return b"".join(fields) + message

    return add


@pytest.fixture
def seal_by_us(key: SigningKey) -> Sealing:
    """A host that uses us."""

    def add(message: bytes, number: int) -> bytes:
        header, body = split(message)
        hashed = BodyHash()
        hashed.add(body)
        host, found = Domain(f"hop{number}.example"), found_by_us(message, key)
        results = AuthenticationResults(host, (Result("arc", found.status.value),))
        own, now = SigningKey(host, "s", key.pem), datetime.fromtimestamp(time.time(), UTC)
        chain = parse_chain(header)
        return seal(header, hashed.finish(), chain, found, results, own, now) + message

    return add


@pytest.fixture(params=["dkimpy", "us", "both"])
def sealing(
    request: pytest.FixtureRequest, seal_by_dkimpy: Sealing, seal_by_us: Sealing
) -> Sealing:
    """Who seals: the same on all hosts, or in turn."""
    turns = {
        "dkimpy": (seal_by_dkimpy, seal_by_dkimpy),
        "us": (seal_by_us, seal_by_us),
        "both": (seal_by_dkimpy, seal_by_us),
    }[request.param]
    return lambda message, number: turns[number % 2](message, number)


def chain(sealing: Sealing, length: int) -> bytes:
    message = MESSAGE
    for number in range(1, length + 1):
        message = sealing(message, number)
    return message


@pytest.mark.parametrize("length", HOPS)
def test_whole_chains(dkimpy: ModuleType, key: SigningKey, sealing: Sealing, length: int) -> None:
    message = chain(sealing, length)
    found = found_by_us(message, key)
    assert (found.status, found.reason, found.oldest_pass) == ("pass", "", 0)
    assert [one.domain for one in found.sealers] == [f"hop{at}.example" for at in HOPS][:length]
    assert found_by_dkimpy(dkimpy, message, key) == "pass"


_FIELDS = ("ARC-Authentication-Results", "ARC-Message-Signature", "ARC-Seal")


def places(message: bytes) -> Iterator[tuple[str, bytes]]:
    """The message with each of its ARC fields changed, removed and doubled."""
    for name in _FIELDS:
        for raw in re.findall(
            rb"^%s:[^\r]*\r\n(?:[ \t][^\r]*\r\n)*" % name.encode(), message, re.M
        ):
            instance = re.search(rb"i=\d", raw)
            assert instance is not None
            what = f"{name} {instance[0].decode()}"
            yield f"{what} changed", message.replace(raw, raw.replace(b"hop", b"hip", 1), 1)
            yield f"{what} removed", message.replace(raw, b"", 1)
            yield f"{what} doubled", message.replace(raw, raw * 2, 1)
            yield f"{what} renumbered", message.replace(raw, raw.replace(b"i=", b"i=1", 1), 1)
    for field in (b"Alice", b"Subject: Is", b"Hello"):
        yield f"{field.decode()} changed", message.replace(field, field + b"x", 1)
    yield "text added", message + b"--\r\n"
    yield "an author added", b"From: eve@example.com\r\n" + message


@pytest.mark.parametrize("length", [1, 2, 5])
def test_broken_chains(dkimpy: ModuleType, key: SigningKey, sealing: Sealing, length: int) -> None:
    for what, broken in places(chain(sealing, length)):
        assert found_by_us(broken, key).status == "fail", what
        assert found_by_dkimpy(dkimpy, broken, key) == "fail", what


@pytest.mark.parametrize("hop", [1, 2, 3])
def test_a_missing_key(dkimpy: ModuleType, key: SigningKey, sealing: Sealing, hop: int) -> None:
    message = chain(sealing, 3)
    assert found_by_us(message, key, missing=hop).status == "fail"
    assert found_by_dkimpy(dkimpy, message, key, missing=hop) == "fail"


def test_white_space_and_trace_fields_break_nothing(
    dkimpy: ModuleType, key: SigningKey, sealing: Sealing
) -> None:
    message = chain(sealing, 3).replace(b"Is  it\r\n so?", b"Is it so? ") + b"\r\n\r\n"
    message = b"Received: by us\r\n" + message.replace(b"ARC-Seal:", b"Arc-Seal:  ")
    assert found_by_us(message, key).status == "pass"
    assert found_by_dkimpy(dkimpy, message, key) == "pass"


def test_a_list_that_changes_the_message(
    dkimpy: ModuleType, key: SigningKey, sealing: Sealing
) -> None:
    """The chain is good as of the list; it is validated before the change, sealed after it."""
    message = chain(sealing, 2)
    assert found_by_us(message, key).status == "pass"
    changed = message.replace(b"Subject: ", b"Subject: [List] ")
    assert found_by_us(changed, key).status == "fail"
    sealed = sealing(changed, 3)
    assert b"cv=fail" in sealed
    assert found_by_us(sealed, key).status == "fail"
    assert found_by_dkimpy(dkimpy, sealed, key) == "fail"
