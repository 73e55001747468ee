"""The SMTP server engine: bytes in, events out. Commands are tables; content is in test_content."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailstead.model.address import Address, Domain
from mailstead.model.envelope import BodyType
from mailstead.model.reply import Reply
from mailstead.protocol.smtp import grammar, replies
from mailstead.protocol.smtp.events import (
    Auth,
    AuthResponse,
    Chunk,
    ChunkTaken,
    Data,
    Declined,
    Event,
    Expn,
    HeaderEnd,
    Helo,
    Help,
    Mail,
    Malformed,
    MessageEnd,
    MessageRefused,
    Noop,
    Quit,
    Rcpt,
    Rset,
    StartTls,
    Vrfy,
)
from mailstead.protocol.smtp.server import (
    AUTH_LINE_LIMIT,
    COMMAND_LINE_LIMIT,
    ServerOptions,
    SmtpServer,
)

OPTIONS = ServerOptions("mx.example.org", size_limit=1000)
SUBMISSION = ServerOptions(
    "mx.example.org", tls_available=True, auth_mechanisms=("PLAIN", "LOGIN"), size_limit=1000
)
BOB = Address("bob", Domain("example.net"))
ALICE = Address("alice", Domain("example.org"))

HELLO = b"EHLO client.example\r\n"
MAIL = b"MAIL FROM:<bob@example.net>\r\n"
RCPT = b"RCPT TO:<alice@example.org>\r\n"
ENVELOPE = HELLO + MAIL + RCPT


def answer(event: Event) -> Reply | None:
    """What a house that agrees to everything replies."""
    match event:
        case HeaderEnd() | Chunk():
            return None
        case Malformed(reply) | Declined(reply) | MessageRefused(reply) | ChunkTaken(reply):
            return reply
        case Data():
            return replies.START_DATA
        case StartTls():
            return replies.START_TLS
        case Auth():
            return replies.challenge(b"")
        case AuthResponse(None):
            return replies.AUTH_CANCELLED
        case AuthResponse():
            return replies.AUTH_OK
        case _:
            return replies.OK


def play(
    server: SmtpServer, data: bytes, answer: Callable[[Event], Reply | None] = answer
) -> list[Event]:
    """All events of the bytes, each answered."""
    heard = []
    events = server.receive(data)
    while events:
        for event in events:
            heard.append(event)
            if (reply := answer(event)) is not None:
                server.send(reply)
        events = server.receive(b"")
    return heard


def last(data: bytes, options: ServerOptions = OPTIONS) -> Event:
    return play(SmtpServer(options), data)[-1]


@pytest.mark.rfc("5321 appendix D.1")
def test_a_typical_transaction():
    text = b"EHLO bar.com\r\nMAIL FROM:<Smith@bar.com>\r\nRCPT TO:<Jones@foo.com>\r\n"
    text += b"RCPT TO:<Green@foo.com>\r\nDATA\r\nBlah blah blah...\r\n...etc.\r\n.\r\nQUIT\r\n"
    assert play(SmtpServer(OPTIONS), text) == [
        Helo("bar.com", True),
        Mail(Address("Smith", Domain("bar.com"))),
        Rcpt(Address("Jones", Domain("foo.com"))),
        Rcpt(Address("Green", Domain("foo.com"))),
        Data(),
        HeaderEnd(b"Blah blah blah...\r\n..etc.\r\n"),
        MessageEnd(),
        Quit(),
    ]


@pytest.mark.rfc("5321 appendix D.2")
def test_an_aborted_transaction_leaves_nothing():
    server = SmtpServer(OPTIONS)
    events = play(server, ENVELOPE + b"RSET\r\n" + RCPT + b"DATA\r\n" + MAIL + b"QUIT\r\n")
    assert events[3:] == [
        Rset(),
        Malformed(replies.MAIL_FIRST),
        Malformed(replies.MAIL_FIRST),
        Mail(BOB),
        Quit(),
    ]
    assert server.closing


@pytest.mark.rfc("2920 section 3.2")
def test_one_reply_is_owed_at_a_time():
    server = SmtpServer(OPTIONS)
    assert server.receive(ENVELOPE) == [Helo("client.example", True)]
    assert server.receive(b"NOOP\r\n") == []
    assert server.buffered == len(MAIL + RCPT + b"NOOP\r\n")
    server.send(server.ehlo_reply())
    assert server.receive(b"") == [Mail(BOB)]


@pytest.mark.rfc("5321 section 4.1.4")
@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (MAIL, Malformed(replies.EHLO_FIRST)),
        (RCPT, Malformed(replies.MAIL_FIRST)),
        (HELLO + RCPT, Malformed(replies.MAIL_FIRST)),
        (HELLO + b"DATA\r\n", Malformed(replies.MAIL_FIRST)),
        (HELLO + MAIL + b"DATA\r\n", Malformed(replies.NO_RECIPIENTS)),
        (HELLO + MAIL + MAIL, Malformed(replies.NESTED_MAIL)),
        (ENVELOPE + HELLO + RCPT, Malformed(replies.MAIL_FIRST)),  # EHLO is a RSET, too
        (HELLO + b"HELO x\r\n" + MAIL, Mail(BOB)),
        (ENVELOPE + b"DATA\r\n.\r\n" + RCPT, Malformed(replies.MAIL_FIRST)),
        (ENVELOPE + b"DATA\r\n.\r\n" + MAIL, Mail(BOB)),
        (ENVELOPE + b"DATA now\r\n", Malformed(replies.NO_ARGUMENT_ALLOWED)),
        (b"RSET now\r\n", Malformed(replies.NO_ARGUMENT_ALLOWED)),
        (b"QUIT now\r\n", Malformed(replies.NO_ARGUMENT_ALLOWED)),
        (b"NOOP whatever\r\n", Noop()),
        (b"vrfy alice\r\n", Vrfy("alice")),
        (b"VRFY\r\n", Malformed(replies.ARGUMENT_NEEDED)),
        (b"EXPN staff\r\n", Expn("staff")),
        (b"HELP MAIL\r\n", Help("MAIL")),
        (b"EHLO\r\n", Malformed(replies.BAD_CLIENT_NAME)),
        (b"EHLO " + b"x" * 256 + b"\r\n", Malformed(replies.BAD_CLIENT_NAME)),
        (b"EHLO a\x01b\r\n", Malformed(replies.BAD_CLIENT_NAME)),
        (b"HELO [192.0.2.1]\r\n", Helo("[192.0.2.1]", False)),
        (b"LHLO x\r\n", Malformed(replies.UNKNOWN_COMMAND)),
        (b"STARTTLS\r\n", Malformed(replies.NOT_OFFERED)),
        (HELLO + b"AUTH PLAIN\r\n", Malformed(replies.NOT_OFFERED)),
        (b"\r\n", Malformed(replies.UNKNOWN_COMMAND)),
        (b"XYZZY\r\n", Malformed(replies.UNKNOWN_COMMAND)),
        (b"NOOP \xff\r\n", Malformed(replies.NOT_UTF8)),
        (b"NOOP\n", Malformed(replies.BARE_NEWLINE)),
        (b"\n", Malformed(replies.BARE_NEWLINE)),
        (b"NOOP\rQUIT\r\n", Malformed(replies.BARE_NEWLINE)),
        (b"NOOP\r\r\n", Malformed(replies.BARE_NEWLINE)),
        (b"NOOP\0\r\n", Malformed(replies.UNKNOWN_COMMAND)),
    ],
)
def test_order_and_syntax(data, expected):
    assert expected == last(data)


def test_refused_commands_change_nothing():
    server = SmtpServer(OPTIONS)
    play(server, HELLO)
    assert play(server, MAIL, lambda _: replies.AUTH_REQUIRED) == [Mail(BOB)]
    assert play(server, MAIL) == [Mail(BOB)]
    assert play(server, RCPT, lambda _: replies.UNKNOWN_RECIPIENT) == [Rcpt(ALICE)]
    assert play(server, b"DATA\r\n") == [Malformed(replies.NO_RECIPIENTS)]
    assert play(server, RCPT + b"DATA\r\n", lambda _: replies.OK)[-1] == Data()  # no 354
    assert play(server, b"NOOP\r\n") == [Noop()]


@pytest.mark.parametrize("request_line", [b"GET / HTTP/1.1\r\n", b"POST /x HTTP/1.1\r\n"])
def test_other_protocols_are_hung_up_on(request_line):
    server = SmtpServer(OPTIONS)
    assert play(server, request_line + ENVELOPE) == [Malformed(replies.NOT_SMTP)]
    assert server.closing


@pytest.mark.rfc("5321 section 3.8")
def test_after_421_nothing_is_heard():
    server = SmtpServer(OPTIONS)
    assert server.send(replies.SHUTTING_DOWN).startswith(b"421 4.3.2 ")
    assert server.closing
    assert server.receive(ENVELOPE) == []


@pytest.mark.rfc("5321 section 4.5.3.1.4")
@pytest.mark.parametrize("length", [COMMAND_LINE_LIMIT - 1, COMMAND_LINE_LIMIT])
def test_longest_command_line(length):
    text = "x" * (length - len("NOOP \r\n"))
    assert last(f"NOOP {text}\r\n".encode()) == Noop()


@pytest.mark.rfc("5321 section 4.5.3.1.9")
@pytest.mark.parametrize("excess", [1, 2, 3, 100, 10_000])
@pytest.mark.parametrize("block", [1, 1000, 10**6])
def test_too_long_lines_are_passed_over(excess, block):
    text = b"NOOP " + b"x" * (COMMAND_LINE_LIMIT + excess - 7) + b"\r\nNOOP\r\n"
    server = SmtpServer(OPTIONS)
    events = []
    for start in range(0, len(text), block):
        events += play(server, text[start : start + block])
        assert server.buffered <= COMMAND_LINE_LIMIT
    assert events == [Malformed(replies.LINE_TOO_LONG), Noop()]


class TestEhlo:
    @pytest.mark.rfc("5321 section 4.1.1.1")
    def test_everything_offered(self):
        options = ServerOptions(
            "mx.example.org",
            size_limit=1000,
            tls_available=True,
            auth_mechanisms=("PLAIN", "LOGIN"),
            recipients_limit=100,
            mail_limit=5,
        )
        server = SmtpServer(options)
        plain = server.ehlo_reply()
        server.start_tls()
        assert plain == Reply(
            250,
            "",
            "mx.example.org\nPIPELINING\nSIZE 1000\n8BITMIME\nENHANCEDSTATUSCODES\nSMTPUTF8\n"
            "CHUNKING\nSTARTTLS\nLIMITS RCPTMAX=100 MAILMAX=5",
        )
        assert server.ehlo_reply().text.split("\n")[-2:] == [
            "AUTH PLAIN LOGIN",
            "LIMITS RCPTMAX=100 MAILMAX=5",
        ]
        assert "STARTTLS" not in server.ehlo_reply().text

    def test_little_offered(self):
        options = ServerOptions("mx.example.org", smtputf8=False, chunking=False)
        assert SmtpServer(options).ehlo_reply().text.split("\n") == [
            "mx.example.org",
            "PIPELINING",
            "SIZE 52428800",
            "8BITMIME",
            "ENHANCEDSTATUSCODES",
        ]
        assert last(HELLO + b"BDAT 1\r\n", options) == Malformed(replies.NOT_OFFERED)


class TestMailParameters:
    @pytest.mark.parametrize(
        ("argument", "expected"),
        [
            (b"FROM:<> SIZE=1000", Mail(None, 1000)),
            (b"FROM:<> SIZE=1001", Declined(replies.TOO_BIG)),
            (b"FROM:<> BODY=8bitmime", Mail(None, None, BodyType.EIGHT_BIT_MIME)),
            (b"FROM:<> SMTPUTF8", Mail(None, smtputf8=True)),
            (b"FROM:<> FROTZ=1", Malformed(grammar.UNKNOWN_PARAMETER)),
        ],
    )
    @pytest.mark.rfc("1870 section 6.1")
    def test_parameters(self, argument, expected):
        assert expected == last(HELLO + b"MAIL " + argument + b"\r\n")

    @pytest.mark.rfc("6531 section 3.5")
    def test_smtputf8_holds_for_one_transaction(self):
        server = SmtpServer(OPTIONS)
        utf8 = "RCPT TO:<jürgen@example.org>\r\n".encode()
        events = play(server, HELLO + MAIL[:-2] + b" SMTPUTF8\r\n" + utf8 + b"RSET\r\n")
        assert events[2] == Rcpt(Address("jürgen", Domain("example.org")))
        assert play(server, MAIL + utf8)[-1] == Malformed(replies.NON_ASCII_ADDRESS)


class TestLimits:
    @pytest.mark.rfc("5321 section 4.5.3.1.10")
    def test_recipients_beyond_the_limit_are_put_off(self):
        options = ServerOptions("mx.example.org", recipients_limit=2)
        events = play(SmtpServer(options), ENVELOPE + RCPT + RCPT + b"DATA\r\n")
        assert events[3:] == [Rcpt(ALICE), Declined(replies.TOO_MANY_RECIPIENTS), Data()]

    @pytest.mark.rfc("9422 section 4.1")
    def test_transactions_beyond_the_limit_end_the_session(self):
        options = ServerOptions("mx.example.org", mail_limit=2)
        server = SmtpServer(options)
        assert play(server, HELLO + (MAIL + b"RSET\r\n") * 2 + MAIL)[-1] == Declined(
            replies.TOO_MANY_MESSAGES
        )
        assert server.closing


class TestStartTls:
    @pytest.mark.rfc("3207 section 4.2")
    def test_bytes_in_the_clear_are_dropped(self):
        server = SmtpServer(SUBMISSION)
        assert play(server, HELLO + b"STARTTLS\r\n" + MAIL)[-1] == StartTls()
        assert play(server, RCPT) == []
        server.start_tls()
        assert server.receive(b"") == []
        assert play(server, MAIL) == [Malformed(replies.EHLO_FIRST)]
        assert play(server, b"STARTTLS\r\n") == [Malformed(replies.TLS_ACTIVE)]

    def test_half_a_line_in_the_clear_is_dropped(self):
        server = SmtpServer(SUBMISSION)
        play(server, b"STARTTLS\r\nMAIL FROM:<eve@exam")
        server.start_tls()
        assert play(server, HELLO) == [Helo("client.example", True)]

    @pytest.mark.parametrize("early", [b"MAIL FROM:<eve@exam", MAIL, HELLO + MAIL, b"x" * 20_000])
    def test_bytes_that_came_along_are_dropped(self, early):
        server = SmtpServer(SUBMISSION)
        assert server.receive(b"STARTTLS\r\n" + early) == [StartTls()]
        server.send(replies.START_TLS)
        server.start_tls()
        assert server.buffered == 0
        assert play(server, b"HELO x\r\n") == [Helo("x", False)]

    def test_a_refused_starttls_changes_nothing(self):
        server = SmtpServer(SUBMISSION)
        play(server, HELLO + b"STARTTLS\r\n", lambda e: replies.TLS_UNAVAILABLE)
        assert play(server, b"NOOP\r\n") == [Noop()]

    def test_an_argument_is_refused(self):
        assert last(b"STARTTLS now\r\n", SUBMISSION) == Malformed(replies.NO_ARGUMENT_ALLOWED)


class TestAuth:
    @pytest.mark.rfc("4954 section 4")
    @pytest.mark.parametrize(
        ("data", "expected"),
        [
            (b"AUTH PLAIN\r\n", Malformed(replies.EHLO_FIRST)),
            (HELLO + b"AUTH PLAIN AGEAYg==\r\n", Auth("PLAIN", b"\0a\0b")),
            (HELLO + b"AUTH plain =\r\n", Auth("PLAIN", b"")),
            (HELLO + b"AUTH PLAIN !!!\r\n", Malformed(replies.BAD_BASE64)),
            (HELLO + b"AUTH PLAIN AGEAYg\r\n", Malformed(replies.BAD_BASE64)),
            (HELLO + b"AUTH CRAM-MD5\r\n", Malformed(replies.UNKNOWN_MECHANISM)),
            (HELLO + b"AUTH\r\n", Malformed(replies.UNKNOWN_MECHANISM)),
            (HELLO + MAIL + b"AUTH PLAIN\r\n", Malformed(replies.IN_TRANSACTION)),
            (HELLO + b"AUTH PLAIN\r\nAGEAYg==\r\n", AuthResponse(b"\0a\0b")),
            (HELLO + b"AUTH PLAIN\r\n\r\n", AuthResponse(b"")),
            (HELLO + b"AUTH PLAIN\r\n*\r\n", AuthResponse(None)),
            (HELLO + b"AUTH PLAIN\r\n**\r\n", Malformed(replies.BAD_BASE64)),
            (HELLO + b"AUTH PLAIN\r\n**\r\nNOOP\r\n", Noop()),
            (HELLO + b"AUTH PLAIN\r\n*\r\nNOOP\r\n", Noop()),
            (HELLO + b"AUTH PLAIN\r\nAAAA\n", Malformed(replies.BARE_NEWLINE)),
            (
                HELLO + b"AUTH PLAIN\r\nAGEAYg==\r\nAUTH PLAIN\r\n",
                Malformed(replies.LOGGED_IN_ALREADY),
            ),
        ],
    )
    def test_exchange(self, data, expected):
        server = SmtpServer(SUBMISSION, tls=True)
        assert expected == play(server, data)[-1]

    def test_not_in_the_clear(self):
        assert last(HELLO + b"AUTH PLAIN AGEAYg==\r\n", SUBMISSION) == Malformed(
            replies.MUST_STARTTLS
        )

    def test_a_wrong_password_lets_try_again(self):
        server = SmtpServer(SUBMISSION, tls=True)
        play(server, HELLO)
        auth = b"AUTH PLAIN AGEAYg==\r\n"
        assert (
            play(server, auth * 2, lambda _: replies.AUTH_FAILED) == [Auth("PLAIN", b"\0a\0b")] * 2
        )

    def test_long_responses(self):
        server = SmtpServer(SUBMISSION, tls=True)
        play(server, HELLO + b"AUTH PLAIN\r\n")
        text = b"A" * (AUTH_LINE_LIMIT - 4)
        assert play(server, text + b"\r\n")[0] == AuthResponse(b"\0" * (len(text) // 4 * 3))
        server = SmtpServer(SUBMISSION, tls=True)
        play(server, HELLO + b"AUTH PLAIN\r\n")
        assert play(server, text + b"AAAA\r\nNOOP\r\n") == [
            Malformed(replies.LINE_TOO_LONG),
            Noop(),
        ]


class TestLmtp:
    LMTP = ServerOptions("mx.example.org", lmtp=True, size_limit=1000)

    @pytest.mark.rfc("2033 section 4.2")
    def test_one_reply_per_accepted_recipient(self):
        server = SmtpServer(self.LMTP)
        play(server, b"LHLO x\r\n" + MAIL + RCPT)
        play(server, RCPT, lambda _: replies.UNKNOWN_RECIPIENT)
        play(server, RCPT + b"DATA\r\n")
        assert server.receive(b"a\r\n.\r\nNOOP\r\n") == [HeaderEnd(b"a\r\n"), MessageEnd()]
        server.send(replies.OK)
        assert server.receive(b"") == []
        server.send(replies.MAILBOX_FULL)
        assert server.receive(b"") == [Noop()]

    @given(
        st.lists(st.integers(1, 30), max_size=60),
        st.lists(st.booleans(), min_size=4, max_size=4),
    )
    def test_however_the_octets_come(self, sizes, taken):
        """As many replies are owed as recipients were taken, and nothing gets out of step."""
        content = b"DATA\r\na: b\r\n\r\n..\r\n.\r\n" if any(taken) else b""
        data = b"LHLO x\r\n" + MAIL + RCPT * 4 + content + b"NOOP\r\n"
        server, answers, seen, owed = SmtpServer(self.LMTP), iter(taken), [], []
        while data:
            size = sizes.pop() if sizes else len(data)
            events, data = server.receive(data[:size]), data[size:]
            while events:
                seen += events
                owed += [server.owed] * isinstance(events[-1], MessageEnd)
                for _ in range(server.owed):
                    server.send(_reply_to(events[-1], answers))
                events = server.receive(b"")
        commands = [type(one) for one in seen if not isinstance(one, HeaderEnd | Chunk)]
        message = [Data, MessageEnd] if any(taken) else []
        assert commands == [Helo, Mail, *[Rcpt] * 4, *message, Noop]
        assert owed == [sum(taken)] * any(taken)

    @pytest.mark.rfc("2033 section 4.1")
    @pytest.mark.parametrize("verb", [b"HELO", b"EHLO"])
    def test_only_lhlo(self, verb):
        assert last(verb + b" x\r\n", self.LMTP) == Malformed(replies.UNKNOWN_COMMAND)
        assert last(b"LHLO x\r\n", self.LMTP) == Helo("x", True)


def _reply_to(event, answers):
    if isinstance(event, Rcpt):
        return replies.RECIPIENT_OK if next(answers) else replies.UNKNOWN_RECIPIENT
    return replies.START_DATA if isinstance(event, Data) else replies.OK
