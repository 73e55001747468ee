"""ENVELOPE, BODYSTRUCTURE, BODY and the digest."""

from datetime import UTC, datetime

import msgspec
import pytest

from mailstead.message import structure
from mailstead.message.header import split
from mailstead.message.mime import scan


def crlf(text: str) -> bytes:
    return text.replace("\n", "\r\n").encode("latin-1")


@pytest.mark.rfc("9051 section 7.5.2")
@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", "(NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL)"),
        (
            "Date: Fri, 21 Nov 1997 09:55:06 -0600\n"
            "Subject: =?utf-8?q?a?=\n b\n"
            "From: Ann Lee <ann@example.org>\n"
            "To: bob@example.net, carol@example.net\n"
            "Message-ID: <1@example.org>\n",
            '("Fri, 21 Nov 1997 09:55:06 -0600" "=?utf-8?q?a?= b" '
            + '(("Ann Lee" NIL "ann" "example.org")) ' * 3
            + '((NIL NIL "bob" "example.net")(NIL NIL "carol" "example.net"))'
            + ' NIL NIL NIL "<1@example.org>")',
        ),
        (  # sender and reply-to of their own, or empty; source route; two fields of one name
            "From: a@b\nSender: c@d\nReply-To:\nTo: <@r:e@f>\nCc: g@h\nCc: i@j\n"
            "Subject:\nIn-Reply-To: <x> <y>\nSubject: second\nBcc:\n",
            '(NIL "" ((NIL NIL "a" "b")) ((NIL NIL "c" "d")) ((NIL NIL "a" "b")) '
            '((NIL "@r" "e" "f")) ((NIL NIL "g" "h")(NIL NIL "i" "j")) NIL "<x> <y>" NIL)',
        ),
        (  # groups
            "To: Friends: a@b;, empty:;\n",
            "(NIL NIL NIL NIL NIL "
            '((NIL NIL "Friends" NIL)(NIL NIL "a" "b")(NIL NIL NIL NIL)'
            '(NIL NIL "empty" NIL)(NIL NIL NIL NIL)) NIL NIL NIL NIL)',
        ),
        (  # quoting, literals, what has no form at all
            'Subject: "a\\b"\nFrom: "A \\"q\\"" <a>\nMessage-ID: caf\xe9\nDate: a\0b\rc\n',
            '({4}\r\nab\rc "\\"a\\\\b\\"" (("A \\"q\\"" NIL "a" "")) '
            + '(("A \\"q\\"" NIL "a" "")) ' * 2
            + "NIL NIL NIL NIL {4}\r\ncaf\xe9)",
        ),
        ("Subjects: x\nX-Subject: y\n  Subject: z\n", "(" + "NIL " * 9 + "NIL)"),
    ],
)
def test_envelope(header, expected):
    header = header.replace("\n", "\r\n") + "\r\n"
    assert structure.envelope(header.encode("latin-1")).decode("latin-1") == expected


MIXED = """\
Content-Type: multipart/mixed; boundary=x

--x
Content-Type: text/plain; charset=utf-8; name="a\\"b"
Content-Transfer-Encoding: quoted-printable
Content-ID: <1>
Content-MD5: m

two
lines
--x
Content-Type: image/png
Content-Disposition: attachment; filename="p.png"
Content-Language: en, de
Content-Location: http://example.org/
Content-Description: picture
Content-Transfer-Encoding: base64

AAAA
--x
Content-Type: message/rfc822
Content-Disposition: inline

Subject: in

text
--x--
"""


@pytest.mark.rfc("9051 section 7.5.2")
@pytest.mark.parametrize(
    ("message", "body", "extension"),
    [
        (
            "\nhello\n",
            '("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 7 1',
            " NIL NIL NIL NIL)",
        ),
        (
            "Content-Type: application/pdf\nContent-Disposition: attachment\n\nhello",
            '("application" "pdf" NIL NIL NIL "7bit" 5',
            ' NIL ("attachment" NIL) NIL NIL)',
        ),
        (
            "Content-Type: text/plain; name=\xe9\n\n",
            '("text" "plain" ("name" {1}\r\n\xe9 "charset" "us-ascii") NIL NIL "7bit" 0 0',
            " NIL NIL NIL NIL)",
        ),
    ],
)
def test_simple_body_structures(message, body, extension):
    part = scan(*split(crlf(message)))
    assert structure.body(part).decode("latin-1") == body + ")"
    assert structure.body_structure(part).decode("latin-1") == body + extension


@pytest.mark.rfc("9051 section 7.5.2")
def test_body_structure_of_a_multipart():
    text = '"text" "plain" ("charset" "utf-8" "name" "a\\"b") "<1>" NIL "quoted-printable" 10 2'
    image = '"image" "png" NIL NIL "picture" "base64" 4'
    inner = '"text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 4 1'
    nils = "NIL " * 8
    message = f'"message" "rfc822" NIL NIL NIL "7bit" 19 (NIL "in" {nils[:-1]})'
    part = scan(*split(crlf(MIXED)))
    expected = (
        f'(({text} "m" NIL NIL NIL)'
        f'({image} NIL ("attachment" ("filename" "p.png")) ("en" "de") "http://example.org/")'
        f'({message} ({inner} NIL NIL NIL NIL) 3 NIL ("inline" NIL) NIL NIL)'
        ' "mixed" ("boundary" "x") NIL NIL NIL)'
    )
    assert structure.body_structure(part).decode() == expected
    assert structure.body(part).decode() == (f'(({text})({image})({message} ({inner}) 3) "mixed")')


def test_what_is_dumped_is_loaded():
    part = scan(*split(crlf(MIXED)))
    assert structure.load(structure.dump(part)) == part
    with pytest.raises(msgspec.DecodeError):
        structure.load(b"\xc1")


@pytest.mark.rfc("5256 section 2.1")
@pytest.mark.parametrize(
    ("subject", "expected"),
    [
        ("", ""),
        ("Hello", "hello"),
        ("Re: Hello", "hello"),
        ("re: FW: fwd : Hello  (fwd)(FWD) ", "hello"),
        ("[list] Re: [other] Hello", "hello"),
        ("Re[2]: Hello", "hello"),
        ("Re [2] : Hello", "hello"),
        ("[list]", "[list]"),
        ("Re: [list]", "[list]"),
        ("[a] [b]", "[b]"),
        ("[Fwd: Re: Hello]", "hello"),
        ("[fwd: [fwd: Hello (fwd)]]", "hello"),
        ("Regarding: Hello", "regarding: hello"),
        ("Re Hello", "re hello"),
        ("a\t b", "a b"),
        ("Straße ÜBER", "strasse über"),
        ("Re: " * 5000 + "x", None),
        ("[" * 5000, None),
        ("[a]" * 5000, None),
        ("[fwd:" * 5000, None),
        ("(fwd)" * 5000, ""),
    ],
)
def test_base_subject(subject, expected):
    found = structure.base_subject(subject)
    assert found == (found if expected is None else expected)


@pytest.mark.rfc("5256 section 3")
def test_digest():
    header = crlf(
        "Message-ID: (c) <1@example.org>\n"
        "In-Reply-To: message of bob <0@example.org> x\n"
        "References: <a@b>\n <c@d> junk <e@f>\n"
        "Subject: =?utf-8?q?Re=3A_Gr=C3=BC=C3=9Fe?=\n"
        "Date: Fri, 21 Nov 1997 09:55:06 +0000\n"
        "From: Ann <Ann@example.org>, bob@example.net\n"
        "To: friends: Carol@example.org;\n\n"
    )
    expected = structure.Digest(
        message_id="1@example.org",
        in_reply_to="0@example.org",
        references=("a@b", "c@d", "e@f"),
        subject="Re: Grüße",
        base_subject="grüsse",
        sent=datetime(1997, 11, 21, 9, 55, 6, tzinfo=UTC),
        from_="ann",
        to="carol",
        cc="",
        has_attachment=False,
    )
    assert structure.digest(header, scan(header, b"")) == expected


def test_digest_is_bounded():
    header = crlf(
        f"Message-ID: <{'m' * 5000}>\nSubject: {'s' * 90000}\nFrom: {'f' * 5000}@x\n"
        "References: " + "".join(f"<{n}@x>" for n in range(5000)) + "\n\n"
    )
    found = structure.digest(header, scan(header, b""))
    assert len(found.message_id) == structure.MESSAGE_ID_LIMIT
    assert len(found.subject) == len(found.base_subject) == structure.SUBJECT_LIMIT
    assert len(found.from_) == structure.SORT_KEY_LIMIT
    assert len(found.references) == structure.REFERENCES_LIMIT
    assert (found.references[0], found.references[-1]) == ("0@x", "4999@x")


def parts(*fields: str, subtype: str = "mixed") -> str:
    return f"Content-Type: multipart/{subtype}; boundary=x\n\n" + "".join(
        f"--x\n{field}\n\nx\n" for field in fields
    )


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("\nhello", False),
        ("Content-Type: text/html\n\n", False),
        ("Content-Type: application/pdf\n\n", True),
        ("Content-Type: application/pdf\nContent-Disposition: inline\n\n", False),
        ("Content-Type: text/plain; name=a.txt\n\n", True),
        ("Content-Disposition: attachment\n\n", True),
        (parts("", "Content-Type: text/html", subtype="alternative"), False),
        (parts("", "Content-Type: image/png"), True),
        (parts("", "Content-Type: image/png\nContent-ID: <1>", subtype="related"), False),
        (parts("", "Content-Type: application/pgp-signature; name=s", subtype="signed"), False),
        (parts("", "Content-Type: message/delivery-status", subtype="report"), False),
        (parts("", "Content-Type: message/rfc822"), True),
    ],
)
def test_has_attachment(message, expected):
    header, body = split(crlf(message))
    assert structure.digest(header, scan(header, body)).has_attachment == expected
