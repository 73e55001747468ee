"""What is odd about a message, and what the shipped rules make of it."""

import io
import time
import zipfile
from base64 import encodebytes
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailstead.message.header import ensure_crlf, split
from mailstead.message.mime import scan
from mailstead.spam.features import NOTHING_KNOWN, Circumstances, features
from mailstead.spam.lookalikes import know
from mailstead.spam.rules import apply_rules
from mailstead.spam.score import add_up
from mailstead.spam.sight import look
from mailstead.spam.tokens import tokens

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
PLAIN = """\
From: Bob <bob@example.net>
To: alice@example.org
Subject: Lunch
Date: Sun, 22 Nov 2026 11:00:00 +0000
Message-ID: <1@example.net>
"""


def sight_of(message):
    header, body = split(ensure_crlf(message))
    return look(header, scan(header, body), body)


def of(message, rules, circumstances=NOTHING_KNOWN):
    text = message.encode() if isinstance(message, str) else message
    return features(sight_of(text), circumstances, rules.names)


def score_of(message, rules, circumstances=NOTHING_KNOWN):
    sight = sight_of(message)
    found = features(sight, circumstances, rules.names)
    return add_up(apply_rules(rules, found, tokens(sight)))


def changed(field, value):
    """The plain message with another value of a field; None: without it."""
    lines = [line for line in PLAIN.splitlines() if not line.startswith(f"{field}:")]
    if value is not None:
        lines.append(f"{field}: {value}")
    return "\n".join(lines) + "\n\nNoon?\n"


def html(text):
    return PLAIN + f"MIME-Version: 1.0\nContent-Type: text/html; charset=utf-8\n\n{text}\n"


def with_file(name, data=b"hello", kind="application/octet-stream"):
    return (
        PLAIN.encode()
        + b"MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=x\n\n"
        + b"--x\nContent-Type: text/plain\n\nHello\n--x\n"
        + f'Content-Type: {kind}; name="{name}"\n'.encode()
        + b"Content-Transfer-Encoding: base64\n\n"
        + encodebytes(data)
        + b"--x--\n"
    )


def test_a_plain_message_has_nothing_odd(rules):
    found = of(PLAIN + "\nNoon?\n", rules, Circumstances(now=NOW))
    assert set(found) == set()


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("Date", None, "date-missing"),
        ("Date", "yesterday", "date-odd"),
        ("Date", "Sun, 29 Nov 2026 11:00:00 +0000", "date-ahead"),
        ("Date", "Sun, 1 Nov 2026 11:00:00 +0000", "date-behind"),
        ("Message-ID", None, "message-id-missing"),
        ("Message-ID", "123", "message-id-odd"),
        ("From", None, "from-missing"),
        ("From", "nobody", "from-odd"),
        ("From", "bob@example.net", "from-nameless"),
        ("From", '"service@bank.example" <x@example.net>', "from-shows-another"),
        ("From", "P\u0430yp\u0430l <x@example.net>", "from-mixed-scripts"),
        ("From", "PayPal Service <x@example.net>", "from-claims-name"),
        ("From", "Bob <x@paypa1.com>", "from-looks-like"),
        ("From", "Bob <x@payqal.com>", "from-is-nearly"),
        ("From", "Bob <x@paypal-safe.example>", "from-borrows-name"),
        ("From", "Bob <bob12345@example.net>", "from-digits"),
        ("From", "Bob <bob@gmail.com>", "from-freemail"),
        ("Reply-To", "x@elsewhere.example", "reply-to-elsewhere"),
        ("Reply-To", "x@gmail.com", "reply-to-freemail"),
        ("Reply-To", " ,", "reply-to-odd"),
        ("To", None, "to-missing"),
        ("To", "undisclosed-recipients:;", "to-undisclosed"),
        ("To", ", ".join(f"a{n}@example.org" for n in range(30)), "to-many"),
        ("To", "bob@example.net", "to-is-from"),
        ("Subject", None, "subject-empty"),
        ("Subject", "BUY THIS NOW", "subject-capitals"),
        ("Subject", "Buy!!", "subject-marks"),
        ("Subject", "Win $1000", "subject-money"),
        ("Subject", "Offer            xkd93", "subject-gap"),
        ("Subject", "V i a g r a", "subject-spaced"),
        ("Subject", "Re: offer", "subject-fake-reply"),
        ("Subject", "=?iso-8859-1?b?SGVsbG8=?=", "subject-needless-code"),
        ("Subject", "Vi\u200bagra", "subject-silent-letters"),
        ("Subject", "\U0001d415\U0001d422\U0001d41a", "subject-fancy-letters"),
        ("Subject", "Vi\u0430gra", "subject-mixed-scripts"),
        ("X-Mailer", "Microsoft Outlook Express 6.0", "mailer-forged"),
        ("X-Priority", "1", "priority-high"),
        ("List-Id", "<x.example.net>", "list"),
        ("In-Reply-To", "<2@example.org>", "reply"),
        ("Subject ", "twice", "field-twice"),
    ],
)
def test_header(field, value, expected, rules):
    assert expected in of(changed(field, value), rules, Circumstances(now=NOW))


@pytest.mark.parametrize(
    "author",
    [
        "PayPal <service@mail.paypal.com>",
        "Amazon <order@amazon.nl>",
        "Chase Example <chase@example.net>",
        "Bob at Example <bob@gmail.com>",
    ],
)
def test_innocent_authors(author, rules):
    found = of(changed("From", author), rules, Circumstances(now=NOW))
    assert set(found) <= {"from-freemail"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<html><p>Hello</p></html>", "html-only"),
        ("<html><img src=cid:1></html>", "html-picture-only"),
        (
            "<html>Hi <div hidden>" + "poem " * 20 + "</div></html>",
            "html-hidden-text",
        ),
        ("<html>vi<!-- x -->agra</html>", "html-cut-words"),
        ("<html><script>x()</script></html>", "html-script"),
        ("<html><form action=http://a.example/><input></form></html>", "html-form"),
        ("<p>Hello</p>", "html-fragment"),
        ("<html>vi\u00adagra</html>", "text-silent-letters"),
        ("<html>\u0440aypal</html>", "text-mixed-scripts"),
        ("<html>" + "BUY THIS NOW " * 10 + "</html>", "text-shouts"),
        ("<a href='http://192.0.2.7/x'>", "link-number"),
        ("<a href='http://3232235777/x'>", "link-number"),
        ("<a href='http://bank.example@192.0.2.7/'>", "link-login"),
        ("<a href='http://a.example:8081/'>", "link-port"),
        ("<a href='http://%77%77.example/'>", "link-escaped"),
        ("<a href='http://xn--pypal-4ve.com/'>", "link-mixed-scripts"),
        ("<a href='http://xn--pypal-4ve.com/'>", "link-looks-like"),
        ("<a href='https://bit.ly/x'>", "link-shortener"),
        ("<a href='https://a.example/?u=http%3a%2f%2fb.example'>", "link-redirects"),
        ("<a href='https://a.example/setup.exe'>", "link-program"),
        ("<a href='javascript:x()'>", "link-script"),
        ("<a href='https://evil.example/'>https://www.bank.com/login</a>", "link-text-differs"),
        ("".join(f"<a href=http://a.host{n}.example>" for n in range(20)), "link-many-hosts"),
    ],
)
def test_text(text, expected, rules):
    assert expected in of(html(text), rules)


@pytest.mark.parametrize(
    "text",
    [
        "<a href='https://mail.bank.example/'>https://www.bank.example/</a>",
        "<a href='https://a.example/'>News.com</a>",
        "<a href='https://www.paypal.com/'>PayPal</a>",
        "<html>na\u00efve \u0434\u043e\u043c \u03b1\u03b2</html>",
        "<html>\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645</html>",  # spelling
    ],
)
def test_innocent_text(text, rules):
    found = set(of(html(text), rules))
    assert found <= {"html-only", "html-fragment", "link"}


def archive(name, data=b"x", encrypted=False):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr(name, data)
    octets = bytearray(buffer.getvalue())
    octets[6] |= encrypted
    return bytes(octets)


@pytest.mark.parametrize(
    ("name", "data", "expected"),
    [
        ("setup.exe", b"x", "file-program"),
        ("invoice.pdf.exe", b"x", "file-two-endings"),
        ("invoice.pdf", b"MZ\x90", "file-disguised-program"),
        ("invoice.iso", b"x", "file-wrapping"),
        ("invoice.docm", b"x", "file-macros"),
        ("invoice.html", b"x", "file-web-page"),
        ("invoice\u202efdp.exe", b"x", "file-name-turned"),
        ("invoice.pdf         .scr", b"x", "file-name-gap"),
        ("a.zip", archive("invoice.js"), "archive-program"),
        ("a.zip", archive("invoice.pdf", encrypted=True), "archive-encrypted"),
        ("a.zip", archive("zeros", bytes(20_000_000)), "archive-bomb"),
    ],
)
def test_files(name, data, expected, rules):
    assert expected in of(with_file(name, data), rules)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (b"".join(b"X-%d: a\n" % n for n in range(1000)) + b"\n", "fields-many"),
        (
            b"Content-Type: multipart/mixed; boundary=x\n\n" + b"--x\n\nhello\n" * 1000,
            "parts-many",
        ),
    ],
)
def test_what_is_too_much(message, expected, rules):
    assert expected in of(message, rules)


def test_innocent_files(rules):
    for name, data in (
        ("report.pdf", b"%PDF"),
        ("a.zip", archive("report.pdf")),
        ("v1.2.txt", b""),
    ):
        assert set(of(with_file(name, data), rules)) == {"files"}


def test_who_imitates_us(rules):
    ours = Circumstances(known=know(["mailstead.example"]))
    found = of(changed("From", "Boss <boss@rnailstead.example>"), rules, ours)
    assert found["from-looks-like"] == "rnailstead.example for mailstead.example"


@pytest.mark.parametrize(
    ("circumstances", "expected"),
    [
        (Circumstances(dmarc="fail"), "dmarc-fail"),
        (Circumstances(spf="softfail", dkim="none"), "spf-softfail"),
        (Circumstances(spf="temperror"), ""),
        (Circumstances(reverse_path="x@elsewhere.example"), "path-elsewhere"),
    ],
)
def test_circumstances(circumstances, expected, rules):
    found = set(of(PLAIN + "\nNoon?\n", rules, circumstances))
    assert found == ({expected} if expected else set()) | ({"dkim-none"} & found)


def test_details_hold_no_content(rules):
    """They are kept in the journal."""
    message = html("<div hidden>" + "secret " * 20 + "</div><a href=http://a.example/secret.exe>")
    message = message.replace("Lunch", "SECRET SECRET!! $1")
    assert "secret" not in " ".join(of(message, rules).values()).lower()


HOSTILE = {
    "bomb": with_file("a.zip", archive("zeros", bytes(20_000_000)) * 50),
    "fields": b"".join(b"X-%d: a\r\n" % n for n in range(100_000)) + b"\r\nhello",
    "one field": b"Subject: " + b"a b " * 500_000 + b"\r\n\r\n",
    "from": b"From: " + b"a1" * 500_000 + b"@b.example\r\n\r\n",
    "name": b"From: " + b"a" * 250_000 + b" <a@b.example>\r\n\r\n",
    "parts": b"Content-Type: multipart/mixed; boundary=x\r\n\r\n"
    + b"--x\r\nContent-Type: application/x; name=a.exe\r\n\r\nMZ\r\n" * 50_000,
    "deep": b"".join(
        b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n)
        for n in range(3000)
    ),
    "nested": b"Content-Type: message/rfc822\r\n\r\n" * 30_000,
    "anchors": b"Content-Type: text/html\r\n\r\n" + b"<a href=//a.b>http://a." * 100_000,
    "capitals": b"\r\n" + b"AB " * 1_000_000,
    "one capital": b"\r\n" + b"A" * 5_000_000,
    "silent": b"\r\n" + "a\u200b".encode() * 1_000_000,
    "mixed": b"\r\n" + "a\u0430".encode() * 1_000_000,
    "hosts": b"\r\n" + b"".join(b"http://xn--a%d.example/ " % n for n in range(100_000)),
    "dots": b"Content-Type: text/html\r\n\r\n<a href=http://" + b"a." * 1_000_000 + b">a.b</a>",
    "quadratic": b"Content-Type: text/html\r\n\r\n" + b"<a <!-- <div style='" * 300_000,
    "base64": b"Content-Transfer-Encoding: base64\r\n\r\n" + b"AAAA" * 1_500_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile(name, rules):
    """The whole judgement of what was made to take long, with a clear verdict at the end."""
    start = time.process_time()
    score = score_of(HOSTILE[name], rules)
    assert time.process_time() - start < 2
    assert score.total == round(sum(part.weight for part in score.parts), 2)


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_never_raises(rules, header, body):
    features(look(header, scan(header, body), body), NOTHING_KNOWN, rules.names)


FIELDS = st.sampled_from(
    ["Subject", "From", "To", "Reply-To", "Date", "Message-ID", "Content-Type", "X-Mailer"]
)


@given(
    st.lists(st.tuples(FIELDS, st.text(alphabet='aA1@<>.,;="?/*: !$\tü\u0430\u200b', max_size=60)))
)
def test_fields_never_raise(rules, values):
    header = "".join(f"{name}: {value}\r\n" for name, value in values).encode() + b"\r\n"
    score_of(header, rules)
