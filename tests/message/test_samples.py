"""Messages, real and made up, whole and broken, against the parser of the standard library."""

import email
import email.policy
import tarfile
from collections.abc import Iterator
from email.message import Message
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from mailstead.message import structure
from mailstead.message.header import ensure_crlf, split
from mailstead.message.mime import PART_LIMIT, Part, decode_body, scan
from mailstead.message.text import searchable

TEXT_LIMIT = 200_000


@cache
def samples(archive: Path) -> list[bytes]:
    with tarfile.open(archive) as tar:
        files = [tar.extractfile(member) for member in tar.getmembers() if member.isfile()]
        return [file.read() for file in files if file is not None]


@pytest.fixture(scope="session")
def corpus(shared: Path) -> list[bytes]:
    return samples(shared / "corpora/mime-samples.tar.xz")


def walk(part: Part) -> Iterator[Part]:
    yield part
    for child in part.children:
        yield from walk(child)


def check(message: bytes) -> Part:
    """Do with a message all that delivery does; what must always hold, holds."""
    header, body = split(message)
    part = scan(header, body)
    parts = list(walk(part))
    assert len(parts) <= PART_LIMIT
    for one in parts:
        check_extent(one)
        assert bool(one.children) == (one.is_multipart or one.is_message)
        decode_body(one, body, TEXT_LIMIT)
    assert (part.header_start, part.body_start, part.body_end) == (-1, 0, len(body))
    assert structure.load(structure.dump(part)) == part
    for rendered in (
        structure.envelope(header),
        structure.body_structure(part),
        structure.body(part),
    ):
        assert tokens(rendered) == 1
    found = structure.digest(header, part)
    assert "\0" not in found.subject + found.message_id + found.from_ + "".join(found.references)
    text = "".join(searchable(header, part, body, TEXT_LIMIT))
    assert len(text) <= TEXT_LIMIT
    assert "\0" not in text
    text.encode("utf-8")
    return part


def check_extent(part: Part) -> None:
    at = part.body_start
    if part.header_start >= 0:
        assert part.header_start + part.header_size == part.body_start
    for child in part.children:
        assert at <= child.header_start <= child.body_start <= child.body_end
        assert child.header_size >= 0 <= child.body_size
        at = child.body_end
    assert at <= max(part.body_end, at if part.body_size == 0 else 0) or not part.children


def tokens(rendered: bytes) -> int:
    """How many values there are on the top level, reading as an IMAP client does."""
    at, depth, count = 0, 0, 0
    while at < len(rendered):
        octet = rendered[at : at + 1]
        if octet == b'"':
            at += 1
            while rendered[at : at + 1] != b'"':
                assert rendered[at] < 0x80
                assert rendered[at] not in b"\r\n\0"
                at += 2 if rendered[at : at + 1] == b"\\" else 1
        elif octet == b"{":
            end = rendered.index(b"}\r\n", at)
            size = int(rendered[at + 1 : end])
            at = end + 2 + size
            assert b"\0" not in rendered[end:at]
        elif octet in (b"(", b")"):
            depth += 1 if octet == b"(" else -1
            assert depth >= 0
        else:
            assert octet in b"NIL 0123456789"
        count += depth == 0
        at += 1
    assert (depth, at) == (0, len(rendered))
    return count


def test_samples(corpus):
    assert len(corpus) > 100
    for message in corpus:
        check(ensure_crlf(message))
        check(message)


def well_formed(message: Message) -> bool:
    return not any(part.defects or unlike(part) for part in message.walk())


def unlike(part: Message) -> bool:
    """What the standard library reads in another way than RFC 2045 does, or we mean to."""
    types = part.get_all("Content-Type", [])
    bare = part.is_multipart() != (part.get_content_maintype() in ("multipart", "message"))
    odd = part.get("Content-Transfer-Encoding", "").lower() not in PLAIN
    return bare or odd or len(types) > 1


PLAIN = ("", "7bit", "8bit", "binary", "base64", "quoted-printable")


def theirs(message: Message, default: str = "text/plain") -> object:
    kind = message.get_content_type()
    if message.is_multipart() and kind in ("message/rfc822", "message/global"):
        return kind, [theirs(message.get_payload()[0])]
    if message.get_content_maintype() == "multipart":
        return kind, [theirs(child) for child in message.get_payload()]
    if message.get_content_maintype() == "message":
        return kind  # the standard library reads a header out of all of these
    return kind, message.get_payload(decode=True)


def ours(part: Part, body: bytes) -> object:
    kind = f"{part.type}/{part.subtype}"
    if part.children:
        return kind, [ours(child, body) for child in part.children]
    if part.type == "message":
        return kind
    return kind, decode_body(part, body)


def test_well_formed_samples_are_what_the_standard_library_says(corpus):
    compared = 0
    for sample in corpus:
        message = ensure_crlf(sample)
        reference = email.message_from_bytes(message, policy=email.policy.compat32)
        header, body = split(message)
        if well_formed(reference):
            compared += 1
            assert ours(scan(header, body), body) == theirs(reference)
    assert compared > 50


LINE = ["", "text", "--", "--b", "--n0", "--n1--x", " --n0", ">From x", "a: b", "=41=", "é"]
LINES = st.lists(st.sampled_from(LINE), max_size=4).map("\r\n".join)
LEAF_HEADERS = st.sampled_from(
    [
        "",
        "Content-Type: text/html; charset=utf-8\r\n",
        'Content-Type: image/png;\r\n\tname="n0"\r\nContent-Transfer-Encoding: base64\r\n',
        "Content-Transfer-Encoding: quoted-printable\r\nSubject: x\r\n",
        "content-TYPE: Application/X-Y ; a=b\r\nContent-Disposition: attachment\r\n",
    ]
)


def leaf(header: str, lines: str) -> str:
    return f"{header}\r\n{'QUJD' if 'base64' in header else lines}"


def nest(children: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    multipart = st.builds(
        together,
        st.lists(children, min_size=1, max_size=3),
        st.sampled_from(["mixed", "alternative", "digest"]),
        st.sampled_from(["", "preamble\r\n", "\r\n"]),
        st.sampled_from(["", "\r\n", "\r\nepilogue\r\n"]),
    )
    message = children.map(
        lambda child: "Content-Type: message/rfc822\r\n\r\nSubject: in\r\n" + child
    )
    return multipart | message


def together(children: list[str], subtype: str, preamble: str, epilogue: str) -> str:
    inside = "".join(children)
    number = next(n for n in range(10_000) if f"--n{n}" not in inside)
    parts = "".join(f"--n{number}\r\n{child}\r\n" for child in children)
    head = f'Content-Type: multipart/{subtype}; boundary="n{number}"\r\n\r\n'
    return f"{head}{preamble}{parts}--n{number}--{epilogue}"


MESSAGES = st.recursive(st.builds(leaf, LEAF_HEADERS, LINES), nest, max_leaves=8).map(
    lambda text: ("From: a@b\r\n" + text).encode()
)


@pytest.mark.rfc("2046 section 5.1")
@given(MESSAGES)
@settings(deadline=None, max_examples=200)
def test_generated_messages_are_what_the_standard_library_says(message):
    reference = email.message_from_bytes(message)
    assume(not any(part.defects for part in reference.walk()))
    assert ours(check(message), split(message)[1]) == theirs(reference)


@given(st.data())
@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow])
def test_broken_messages(data):
    message = bytearray(data.draw(MESSAGES))
    for _ in range(data.draw(st.integers(1, 5))):
        at = data.draw(st.integers(0, len(message)))
        until = data.draw(st.integers(at, min(at + 20, len(message))))
        message[at:until] = data.draw(st.sampled_from(BREAKS) | st.binary(max_size=3))
    check(bytes(message))


BREAKS = [
    b"",
    b"\n",
    b"\r",
    b"\r\n",
    b"\r\n\r\n",
    b"\0",
    b"--",
    b'"',
    b"(",
    b";",
    b"=?",
    b":",
    b"*0*=",
]


@given(st.data())
@settings(
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_broken_samples(corpus, data):
    sample = bytearray(data.draw(st.sampled_from(corpus))[:50_000])
    for _ in range(data.draw(st.integers(1, 8))):
        at = data.draw(st.integers(0, len(sample)))
        sample[at : at + 2] = data.draw(st.sampled_from(BREAKS) | st.binary(max_size=3))
    check(bytes(sample[: data.draw(st.integers(0, len(sample)))]))


def deep(levels: int) -> bytes:
    heads = [b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n" % n for n in range(levels)]
    return heads[0] + b"".join(b"--b%d\r\n%b" % (n, heads[n + 1]) for n in range(levels - 1))


def alike(levels: int) -> bytes:
    """Boundaries that all begin like the next one, and many lines that begin like all of them."""
    heads = [
        b"Content-Type: multipart/mixed; boundary=%b\r\n\r\n" % (b"x" * n) for n in range(1, levels)
    ]
    parts = [b"--%b\r\n%b" % (b"x" * n, head) for n, head in enumerate(heads[1:], 1)]
    return heads[0] + b"".join(parts) + b"--%b\r\n" % (b"x" * (levels + 1)) * 50_000


MIXED = b"Content-Type: multipart/mixed; boundary=x\r\n\r\n"

HOSTILE = {
    "nothing": b"",
    "nested parts": deep(1000),
    "nested parts with much in them": deep(200) + b"--b1\r\n\r\n" + b"x\r\n" * 500_000,
    "nested messages": b"Content-Type: message/rfc822\r\n\r\n" * 20_000,
    "boundaries alike": alike(50),
    "many parts": MIXED + b"--x\r\n\r\n" * 200_000,
    "header flood": b"Content-Type: text/plain; a=b\r\n" * 20_000 + b"\r\n",
    "parameter flood": b"Content-Type: text/plain" + b"; a*0*=b; c=d" * 20_000 + b"\r\n\r\n",
    "different parameters": b"Content-Type: a/b" + b"".join(b";p%d=q" % n for n in range(30_000)),
    "open quotes": b'Content-Type: a/b; c="' + b';d="\\"' * 30_000 + b"\r\n\r\n",
    "comments": b"Content-Type: a/b" + b"(" * 100_000 + b'"' * 100_000 + b"\r\n\r\n",
    "addresses": b"".join(b'%b: a@b, "c" <d@e>(\r\n' % n for n in (b"To", b"Cc", b"From")) * 9000,
    "encoded words": b"Subject:" + b" =?utf-8?q?a?=" * 20_000 + b"\r\n\r\n",
    "half encoded words": b"Subject:" + b"=?utf-8?q?" * 30_000 + b"\r\n\r\n",
    "folds": b"Subject:" + b"\r\n " * 80_000 + b"\r\n\r\n",
    "garbage": b"\xff\0x \r\t:--\n" * 100_000,
    "lines": b"\r\n" + b"x\r\n" * 100_000,
    "line ends": MIXED + b"\n\r" * 500_000,
    "almost delimiters": MIXED + b"\r\n--x\r\n" + b"\r\n--x-" * 200_000,
    "padded delimiters": MIXED + (b"\r\n--x" + b" " * 990 + b"y") * 1_000,
    "marks": b"Subject: a" + "\u0316\u0301".encode() * 60_000 + b"\r\n\r\n",
    "replies": b"Subject: " + b"[a]re:(fwd)" * 20_000 + b"\r\n\r\n",
    "references": b"References: " + b"<a@b>" * 50_000 + b"\r\n\r\n",
    "base64": b"Content-Transfer-Encoding: base64\r\n\r\n" + b"=A" * 300_000,
    "quoted": b"Content-Transfer-Encoding: quoted-printable\r\n\r\n" + b"=" * 600_000,
}


@pytest.mark.timeout(20)
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_messages_end_soon(name):
    check(HOSTILE[name])
