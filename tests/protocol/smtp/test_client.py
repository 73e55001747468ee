"""The client's dialogues: against scripted replies, and against our own server engine."""

from collections.abc import Generator
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailstead.model.address import Address, Domain
from mailstead.model.envelope import NO_WISH, Envelope, Wish
from mailstead.model.reply import Reply
from mailstead.protocol.smtp import replies
from mailstead.protocol.smtp.client import (
    Batch,
    Capabilities,
    Chunks,
    Content,
    MessageFacts,
    RecipientOutcome,
    Stage,
    Stuffer,
    Upgrade,
    ask_about,
    authenticate,
    chunk,
    deliver,
    hello,
    local_hello,
    parse_capabilities,
    quit_session,
    start_tls,
    stuff,
)
from mailstead.protocol.smtp.events import Chunk, Data, HeaderEnd
from mailstead.protocol.smtp.replies import ReplyReader
from mailstead.protocol.smtp.server import ServerOptions, SmtpServer

BOB = Address("bob", Domain("example.net"))
ALICE = Address("alice", Domain("example.org"))
CAROL = Address("carol", Domain("example.org"))
JUERGEN = Address("jürgen", Domain("example.org"))
ENVELOPE = Envelope(BOB, (ALICE, CAROL))
SMALL = MessageFacts(100)

PIPELINING = Capabilities(frozenset({"PIPELINING"}))
PLAIN = Capabilities()
CHUNKING = Capabilities(frozenset({"PIPELINING", "CHUNKING"}))

LOST = replies.CONNECTION_LOST
OK = Reply(250, "2.0.0", "ok")
GO = Reply(354, "", "go")
NO = Reply(550, "5.1.1", "no")
LATER = Reply(451, "4.3.0", "later")
CLOSED = Reply(421, "4.3.2", "closed")
EARLY = Reply(999, "", "the next answer is to a chunk that is not the last")
OUT = "The other server answered out of place: "
ODD = Reply(451, "4.5.0", f"{OUT}250 2.0.0 ok")


def talk(dialogue: Generator[Any, Any, Any], *answers: Reply) -> tuple[list[str], Any]:
    """What was sent, one string per request, and the result; each answer is used once."""
    sent: list[str] = []
    left = list(answers)
    try:
        request = next(dialogue)
        while True:
            match request:
                case Batch(commands, more):
                    sent.append(b"".join(commands).decode().replace("\r\n", "|"))
                    count = len(commands) + more
                    given, left = left[:count], left[count:]
                    request = dialogue.send(given + [LOST] * (count - len(given)))
                case Content():
                    sent.append("CONTENT")
                    request = dialogue.send([])
                case Chunks(ahead):
                    sent.append(f"CHUNKS {ahead}")
                    early = left[:1] == [EARLY]
                    given, left = (left[1:2], left[2:]) if early else ([], left)
                    request = dialogue.send(given)
                case Upgrade():
                    sent.append("UPGRADE")
                    request = dialogue.send([])
    except StopIteration as end:
        assert left == []
        return sent, end.value


MAIL = "MAIL FROM:<bob@example.net>|"
RCPTS = "RCPT TO:<alice@example.org>|RCPT TO:<carol@example.org>|"
ALL = MAIL + RCPTS + "DATA|"


def both(stage: Stage, reply: Reply) -> dict[Address, RecipientOutcome]:
    return {ALICE: RecipientOutcome(stage, reply), CAROL: RecipientOutcome(stage, reply)}


@pytest.mark.rfc("2920 section 3.1")
@pytest.mark.parametrize(
    ("answers", "sent", "expected"),
    [
        ([OK, OK, OK, GO, OK], [ALL, "CONTENT", ".|"], both(Stage.END, OK)),
        ([OK, OK, OK, GO, NO], [ALL, "CONTENT", ".|"], both(Stage.END, NO)),
        ([OK, OK, OK, GO], [ALL, "CONTENT", ".|"], both(Stage.END, LOST)),
        (
            [OK, NO, OK, GO, OK],
            [ALL, "CONTENT", ".|"],
            {ALICE: RecipientOutcome(Stage.RCPT, NO), CAROL: RecipientOutcome(Stage.END, OK)},
        ),
        ([OK, NO, NO, NO, OK], [ALL, "RSET|"], both(Stage.RCPT, NO)),
        ([OK, NO, NO, GO, NO, OK], [ALL, ".|", "RSET|"], both(Stage.RCPT, NO)),
        ([NO, NO, NO, NO], [ALL], both(Stage.MAIL, NO)),
        ([LATER, NO, NO, GO, NO], [ALL, ".|"], both(Stage.MAIL, LATER)),
        ([OK, OK, OK, LATER, OK], [ALL, "RSET|"], both(Stage.DATA, LATER)),
        ([OK, OK, OK, OK, OK], [ALL, "RSET|"], both(Stage.DATA, ODD)),
        ([CLOSED], [ALL], both(Stage.MAIL, CLOSED)),
        ([], [ALL], both(Stage.MAIL, LOST)),
        (
            [OK, OK, CLOSED],
            [ALL],
            {
                ALICE: RecipientOutcome(Stage.DATA, LOST),
                CAROL: RecipientOutcome(Stage.RCPT, CLOSED),
            },
        ),
    ],
)
def test_pipelined(answers, sent, expected):
    assert talk(deliver(ENVELOPE, SMALL, PIPELINING), *answers) == (sent, expected)


UNKNOWN = Reply(500, "5.5.1", "what?")
THROUGH = [MAIL + RCPTS, "CHUNKS 16", ""]


@pytest.mark.rfc("3030 section 2")
@pytest.mark.parametrize(
    ("answers", "sent", "expected"),
    [
        ([OK, OK, OK, OK], THROUGH, both(Stage.END, OK)),
        ([OK, OK, OK, LATER], THROUGH, both(Stage.END, LATER)),
        ([OK, OK, OK, NO, OK], [*THROUGH, "RSET|"], both(Stage.END, NO)),
        ([OK, OK, OK], THROUGH, both(Stage.END, LOST)),
        (
            [OK, OK, OK, GO],
            THROUGH,
            both(Stage.END, msgspec.structs.replace(ODD, text=OUT + "354 go")),
        ),
        ([OK, OK, OK, EARLY, NO, OK], [*THROUGH[:2], "RSET|"], both(Stage.DATA, NO)),
        ([OK, OK, OK, EARLY, LOST], THROUGH[:2], both(Stage.DATA, LOST)),
        (
            [OK, NO, OK, OK],
            THROUGH,
            {ALICE: RecipientOutcome(Stage.RCPT, NO), CAROL: RecipientOutcome(Stage.END, OK)},
        ),
        ([OK, NO, NO, OK], [THROUGH[0], "RSET|"], both(Stage.RCPT, NO)),
        ([NO, NO, NO], [THROUGH[0]], both(Stage.MAIL, NO)),
        # It does not know what it offers: the same again with DATA.
        (
            [OK, OK, OK, UNKNOWN, OK, OK, OK, OK, GO, OK],
            [*THROUGH, "RSET|", ALL, "CONTENT", ".|"],
            both(Stage.END, OK),
        ),
        (
            [OK, OK, OK, EARLY, UNKNOWN, OK, OK, OK, OK, GO, OK],
            [*THROUGH[:2], "RSET|", ALL, "CONTENT", ".|"],
            both(Stage.END, OK),
        ),
    ],
)
def test_chunks(answers, sent, expected):
    assert talk(deliver(ENVELOPE, SMALL, CHUNKING), *answers) == (sent, expected)


@pytest.mark.rfc("3030 section 4.2")
def test_chunks_one_by_one_without_pipelining():
    alone = Capabilities(frozenset({"CHUNKING"}))
    sent = [MAIL, "RCPT TO:<alice@example.org>|", "RCPT TO:<carol@example.org>|", "CHUNKS 0", ""]
    assert talk(deliver(ENVELOPE, SMALL, alone), OK, OK, OK, OK) == (sent, both(Stage.END, OK))


@pytest.mark.rfc("2033 section 4.2")
def test_no_chunks_in_lmtp():
    offered = msgspec.structs.replace(CHUNKING, lmtp=True)
    sent, _ = talk(deliver(ENVELOPE, SMALL, offered), OK, OK, OK, GO, OK, OK)
    assert sent == [MAIL + RCPTS, "DATA|", "CONTENT", ".|"]


LMTP = Capabilities(frozenset({"PIPELINING"}), lmtp=True)
FULL = Reply(452, "4.2.2", "full")


def apart(alice: RecipientOutcome, carol: RecipientOutcome) -> dict[Address, RecipientOutcome]:
    return {ALICE: alice, CAROL: carol}


@pytest.mark.rfc("2033 section 4.2")
@pytest.mark.parametrize(
    ("answers", "sent", "expected"),
    [
        ([OK, OK, OK, GO, OK, OK], [MAIL + RCPTS, "DATA|", "CONTENT", ".|"], both(Stage.END, OK)),
        (
            [OK, OK, OK, GO, OK, FULL],
            [MAIL + RCPTS, "DATA|", "CONTENT", ".|"],
            apart(RecipientOutcome(Stage.END, OK), RecipientOutcome(Stage.END, FULL)),
        ),
        (
            [OK, NO, OK, GO, FULL],
            [MAIL + RCPTS, "DATA|", "CONTENT", ".|"],
            apart(RecipientOutcome(Stage.RCPT, NO), RecipientOutcome(Stage.END, FULL)),
        ),
        (
            [OK, OK, OK, GO, NO],  # the connection breaks before the second reply
            [MAIL + RCPTS, "DATA|", "CONTENT", ".|"],
            apart(RecipientOutcome(Stage.END, NO), RecipientOutcome(Stage.END, LOST)),
        ),
        ([OK, NO, NO, OK], [MAIL + RCPTS, "RSET|"], both(Stage.RCPT, NO)),
        ([NO, NO, NO], [MAIL + RCPTS], both(Stage.MAIL, NO)),
        ([OK, OK, OK, LATER, OK], [MAIL + RCPTS, "DATA|", "RSET|"], both(Stage.DATA, LATER)),
        ([OK, OK, OK, GO, GO, OK], [MAIL + RCPTS, "DATA|", "CONTENT", ".|"], None),
    ],
)
def test_lmtp_has_an_answer_for_each(answers, sent, expected):
    told = talk(deliver(ENVELOPE, SMALL, LMTP), *answers)
    assert told[0] == sent
    if expected is None:
        assert [one.delivered for one in told[1].values()] == [False, True]  # 354 is no yes
    else:
        assert told[1] == expected


@pytest.mark.rfc("2033 section 5")
def test_lmtp_without_pipelining():
    answers = [OK, OK, OK, GO, OK, FULL]
    sent, outcomes = talk(deliver(ENVELOPE, SMALL, Capabilities(lmtp=True)), *answers)
    assert (len(sent), outcomes[CAROL].reply) == (6, FULL)


@pytest.mark.rfc("2033 section 4.1")
@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (Reply(250, "", "x\nPIPELINING"), LMTP),
        (NO, NO),
        (LOST, LOST),
    ],
)
def test_lmtp_says_lhlo_and_nothing_else(answer, expected):
    assert talk(local_hello("mx.example.net"), answer) == (["LHLO mx.example.net|"], expected)


@pytest.mark.rfc("5321 section 3.3")
@pytest.mark.parametrize(
    ("answers", "sent", "expected"),
    [
        (
            [OK, OK, OK, GO, OK],
            [MAIL, *RCPTS[:-1].split("|"), "DATA", "CONTENT", "."],
            both(Stage.END, OK),
        ),
        ([NO], [MAIL], both(Stage.MAIL, NO)),
        (
            [OK, NO, LATER, OK],
            [MAIL, *RCPTS[:-1].split("|"), "RSET"],
            {ALICE: RecipientOutcome(Stage.RCPT, NO), CAROL: RecipientOutcome(Stage.RCPT, LATER)},
        ),
        (
            [OK, NO, OK, NO, OK],
            [MAIL, *RCPTS[:-1].split("|"), "DATA", "RSET"],
            {ALICE: RecipientOutcome(Stage.RCPT, NO), CAROL: RecipientOutcome(Stage.DATA, NO)},
        ),
    ],
)
def test_lockstep(answers, sent, expected):
    said, outcomes = talk(deliver(ENVELOPE, SMALL, PLAIN), *answers)
    assert [line.strip("|") for line in said] == [line.strip("|") for line in sent]
    assert outcomes == expected


def test_content_that_did_not_get_out_whole_is_lost_before_the_end():
    dialogue = deliver(ENVELOPE, SMALL, PIPELINING)
    next(dialogue)
    assert dialogue.send([OK, OK, OK, GO]) == Content()
    with pytest.raises(StopIteration) as end:
        dialogue.send([LOST])
    assert end.value.value == both(Stage.DATA, LOST)


@pytest.mark.parametrize(
    ("stage", "reply", "delivered", "unknown"),
    [
        (Stage.END, OK, True, False),
        (Stage.END, NO, False, False),
        (Stage.END, LOST, False, True),
        (Stage.DATA, LOST, False, False),
        (Stage.RCPT, OK, False, False),
    ],
)
def test_outcome(stage, reply, delivered, unknown):
    outcome = RecipientOutcome(stage, reply)
    assert (outcome.delivered, outcome.unknown) == (delivered, unknown)


class TestWhatThePeerWouldRefuse:
    @pytest.mark.rfc("1870 section 5")
    @pytest.mark.parametrize(("limit", "sent"), [(99, 0), (100, 1), (0, 1)])
    def test_size(self, limit, sent):
        said, outcomes = talk(deliver(ENVELOPE, SMALL, Capabilities(size_limit=limit)))
        assert len(said) == sent
        assert {o.stage for o in outcomes.values()} == {Stage.MAIL if sent else Stage.LOCAL}

    @pytest.mark.rfc("6531 section 3.2")
    @pytest.mark.parametrize(
        ("envelope", "message", "refused"),
        [
            (Envelope(JUERGEN, (ALICE, CAROL)), SMALL, {ALICE, CAROL}),
            (Envelope(BOB, (ALICE, JUERGEN)), SMALL, {JUERGEN}),
            (Envelope(BOB, (ALICE,)), MessageFacts(1, True, True), {ALICE}),
            (Envelope(BOB, (ALICE,)), MessageFacts(1, True, False), set()),
            (Envelope(BOB, (ALICE,), smtputf8=True), SMALL, set()),
            (Envelope(None, (ALICE,)), SMALL, set()),
        ],
    )
    def test_smtputf8(self, envelope, message, refused):
        _, outcomes = (
            talk(deliver(envelope, message, PIPELINING), OK, OK, GO, OK)
            if len(envelope.recipients) > len(refused)
            else talk(deliver(envelope, message, PIPELINING))
        )
        local = {r for r, o in outcomes.items() if o.stage is Stage.LOCAL}
        assert local == refused
        assert {outcomes[r].reply.enhanced for r in local} <= {"5.6.7"}

    @pytest.mark.rfc("9422 section 4.2")
    def test_recipients(self):
        offered = Capabilities(frozenset({"PIPELINING"}), recipients_limit=1)
        _, outcomes = talk(deliver(ENVELOPE, SMALL, offered), OK, OK, GO, OK)
        assert outcomes == {
            ALICE: RecipientOutcome(Stage.END, OK),
            CAROL: RecipientOutcome(Stage.LOCAL, replies.TOO_MANY_RECIPIENTS),
        }


EVERYTHING = Capabilities(frozenset({"SIZE", "8BITMIME", "SMTPUTF8", "PIPELINING"}), 1000)


@pytest.mark.parametrize(
    ("envelope", "message", "offered", "expected"),
    [
        (Envelope(None, (ALICE,)), SMALL, PLAIN, "MAIL FROM:<>"),
        (Envelope(BOB, (ALICE,)), SMALL, EVERYTHING, "MAIL FROM:<bob@example.net> SIZE=100"),
        (
            Envelope(BOB, (ALICE,)),
            MessageFacts(100, True),
            EVERYTHING,
            "MAIL FROM:<bob@example.net> SIZE=100 BODY=8BITMIME",
        ),
        (Envelope(BOB, (ALICE,)), MessageFacts(1, True), PLAIN, "MAIL FROM:<bob@example.net>"),
        (
            Envelope(BOB, (JUERGEN,)),
            SMALL,
            EVERYTHING,
            "MAIL FROM:<bob@example.net> SIZE=100 SMTPUTF8",
        ),
        (
            Envelope(Address('a"b', BOB.domain), (ALICE,)),
            SMALL,
            PLAIN,
            'MAIL FROM:<"a\\"b"@example.net>',
        ),
    ],
)
def test_parameters(envelope, message, offered, expected):
    said, _ = talk(deliver(envelope, message, offered))
    assert said[0].split("|")[0] == expected


@pytest.mark.parametrize("local_part", ["a\r\nRSET", "a\nb", "a\0b"])
def test_no_address_brings_in_a_command(local_part):
    envelope = Envelope(None, (Address(local_part, Domain("example.org")),))
    with pytest.raises(ValueError, match="must not hold"):
        talk(deliver(envelope, SMALL, PLAIN))


class TestSession:
    @pytest.mark.rfc("5321 section 3.2")
    @pytest.mark.parametrize(
        ("answers", "sent", "expected"),
        [
            ([Reply(250, "", "mx\nPIPELINING")], ["EHLO me|"], PIPELINING),
            ([Reply(502, "", "what?"), OK], ["EHLO me|", "HELO me|"], Capabilities()),
            ([NO, NO], ["EHLO me|", "HELO me|"], NO),
            ([CLOSED], ["EHLO me|"], CLOSED),
            ([GO], ["EHLO me|"], GO),
        ],
    )
    def test_hello(self, answers, sent, expected):
        if expected == PIPELINING:
            expected = Capabilities(frozenset({"PIPELINING"}))
        assert talk(hello("me"), *answers) == (sent, expected)

    def test_start_tls(self):
        ready = Reply(220, "2.0.0", "ready")
        assert talk(start_tls(), ready) == (["STARTTLS|", "UPGRADE"], ready)
        assert talk(start_tls(), LATER) == (["STARTTLS|"], LATER)

    def test_quit(self):
        assert talk(quit_session(), OK) == (["QUIT|"], OK)

    @pytest.mark.rfc("4616 section 2")
    def test_authenticate(self):
        ask = Reply(334, "", "")
        assert talk(authenticate(("LOGIN", "PLAIN"), "tim", "tanstaaftanstaaf"), OK) == (
            ["AUTH PLAIN AHRpbQB0YW5zdGFhZnRhbnN0YWFm|"],
            OK,
        )
        assert talk(authenticate(("LOGIN",), "a", "b"), ask, ask, OK) == (
            ["AUTH LOGIN|", "YQ==|", "Yg==|"],
            OK,
        )
        assert talk(authenticate(("LOGIN",), "a", "b"), ask, NO) == (["AUTH LOGIN|", "YQ==|"], NO)
        assert talk(authenticate(("GSSAPI",), "a", "b"))[1].code == 504


@pytest.mark.rfc("5321 section 4.1.1.1")
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mx", Capabilities()),
        ("PIPELINING", Capabilities()),
        ("mx\nsize 1000", Capabilities(frozenset({"SIZE"}), 1000)),
        ("mx\nSIZE", Capabilities(frozenset({"SIZE"}))),
        ("mx\nSIZE x", Capabilities(frozenset({"SIZE"}))),
        ("mx\nSIZE " + "9" * 5000, Capabilities(frozenset({"SIZE"}))),
        ("mx\nAUTH plain LOGIN", Capabilities(frozenset({"AUTH"}), auth=("PLAIN", "LOGIN"))),
        (
            "mx\nLIMITS RCPTMAX=20 MAILMAX=5",
            Capabilities(frozenset({"LIMITS"}), recipients_limit=20, mail_limit=5),
        ),
        ("mx\nLIMITS RCPTMAX=0 XMAILMAX=5", Capabilities(frozenset({"LIMITS"}))),
    ],
)
def test_capabilities(text, expected):
    assert expected == parse_capabilities(Reply(250, "", text))


def test_capabilities_are_bounded():
    reply = Reply(250, "", "mx\n" + "\n".join(f"X{n}" for n in range(1000)))
    assert len(parse_capabilities(reply).keywords) == 100


@pytest.mark.rfc("5321 section 4.5.2")
@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        ([], b""),
        ([b""], b""),
        ([b"a"], b"a\r\n"),
        ([b"a\r\n"], b"a\r\n"),
        ([b"."], b"..\r\n"),
        ([b".", b"."], b"...\r\n"),
        ([b"a\r", b"\n", b".b\r\n"], b"a\r\n..b\r\n"),
        ([b"a\r\n", b".\r\n"], b"a\r\n..\r\n"),
        ([b"a\r\n.\r\n.\r\n"], b"a\r\n..\r\n..\r\n"),
        ([b"a\n.\nb"], b"a\r\n..\r\nb\r\n"),
        ([b"a\r.\rb"], b"a\r\n..\r\nb\r\n"),
        ([b"a\r"], b"a\r\n"),
        ([b"\r\n"], b"\r\n"),
    ],
)
def test_stuff(pieces, expected):
    assert b"".join(stuff(pieces)) == expected


CONTENT = st.lists(
    st.sampled_from([b"\r\n", b"\n", b"\r", b".", b"\r\n.\r\n", b"\r\n\r\n", b"a"]) | st.binary(),
    max_size=30,
)


@settings(deadline=None)
@given(CONTENT, st.booleans())
def test_any_content_arrives_as_it_was_sent(pieces, chunking):
    """Bare line ends become CRLF, a last line gets its CRLF, and nothing else changes."""
    whole = b"".join(pieces)
    expected = b"\r\n".join(whole.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n"))
    if expected and not expected.endswith(b"\r\n"):
        expected += b"\r\n"
    assert expected == through_the_server(pieces, chunking)


def through_the_server(pieces: list[bytes], chunking: bool) -> bytes:
    """Deliver to our own engine, with BDAT or with DATA; what it took."""
    server = SmtpServer(ServerOptions("mx.example.org", chunking=chunking))
    reader, taken, stuffer, held = ReplyReader(), [], Stuffer(dots=not chunking), b""

    def exchange(data: bytes) -> list[Reply]:
        heard = []
        events = server.receive(data)
        while events:
            for event in events:
                match event:
                    case HeaderEnd(piece) | Chunk(piece):
                        taken.append(piece)
                    case Data():
                        heard += reader.receive(server.send(replies.START_DATA))
                    case _:
                        heard += reader.receive(server.send(replies.OK))
            events = server.receive(b"")
        return heard

    exchange(b"EHLO x\r\n")
    offered = parse_capabilities(server.ehlo_reply())
    dialogue = deliver(Envelope(BOB, (ALICE,)), MessageFacts(sum(map(len, pieces)), True), offered)
    try:
        request = next(dialogue)
        while True:
            if isinstance(request, Content):
                for piece in pieces:
                    exchange(stuffer.take(piece))
                exchange(stuffer.end())
                request = dialogue.send([])
            elif isinstance(request, Chunks):
                for piece in pieces:
                    assert exchange(chunk(stuffer.take(piece))) == [replies.OK]
                held = chunk(stuffer.end(), last=True)
                request = dialogue.send([])
            else:
                request = dialogue.send(exchange(held + b"".join(request.commands)))
                held = b""
    except StopIteration as end:
        outcomes = end.value
    assert outcomes == {ALICE: RecipientOutcome(Stage.END, replies.OK)}
    return b"".join(taken)


@pytest.mark.rfc("3461 section 5.2.1")
def test_wishes_are_passed_on_where_they_are_understood():
    wishes = (Wish("SUCCESS,DELAY", "rfc822;alice@example.org"), NO_WISH)
    envelope = Envelope(BOB, (ALICE, CAROL), wishes=wishes, envid="QQ1", ret="HDRS")
    understood = Capabilities(frozenset({"DSN"}))
    for offered, expected in (
        (
            understood,
            [
                "MAIL FROM:<bob@example.net> RET=HDRS ENVID=QQ1",
                f"RCPT TO:<{ALICE}> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;alice@example.org",
                f"RCPT TO:<{CAROL}>",
            ],
        ),
        (PLAIN, ["MAIL FROM:<bob@example.net>", f"RCPT TO:<{ALICE}>", f"RCPT TO:<{CAROL}>"]),
    ):
        said, _ = talk(deliver(envelope, SMALL, offered), OK, OK, OK, GO, OK)
        assert expected == [line.rstrip("|") for line in said[:3]]


UTF8 = Capabilities(frozenset({"SMTPUTF8"}))


@pytest.mark.parametrize(
    ("recipients", "answers", "sent", "expected"),
    [
        ([ALICE], [OK, OK], ["MAIL FROM:<>|", "RCPT TO:<alice@example.org>|"], (OK, [OK])),
        ([ALICE], [NO], ["MAIL FROM:<>|"], (NO, [])),
        ([ALICE], [], ["MAIL FROM:<>|"], (LOST, [])),
        ([ALICE, CAROL], [OK, NO], ["MAIL FROM:<>|", "RCPT TO:<alice@example.org>|"], (OK, [NO])),
        (
            [ALICE, CAROL],
            [OK, OK, LATER],
            ["MAIL FROM:<>|", "RCPT TO:<alice@example.org>|", "RCPT TO:<carol@example.org>|"],
            (OK, [OK, LATER]),
        ),
        (
            [JUERGEN],
            [OK, OK],
            ["MAIL FROM:<> SMTPUTF8|", "RCPT TO:<jürgen@example.org>|"],
            (OK, [OK]),
        ),
        ([ALICE], [OK, GO], ["MAIL FROM:<>|", "RCPT TO:<alice@example.org>|"], None),
    ],
)
def test_asking_sends_nothing(recipients, answers, sent, expected):
    told = talk(ask_about(recipients, UTF8), *answers)
    assert told[0] == sent
    if expected is None:
        assert not told[1][1][0].ok  # a reply out of place is no yes
    else:
        assert told[1] == expected
