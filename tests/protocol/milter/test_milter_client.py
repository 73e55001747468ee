"""What a filter is sent, and what comes of what it says."""

from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailstead.model.reply import Reply
from mailstead.model.world import Endpoint
from mailstead.protocol.milter import client
from mailstead.protocol.milter import responses as said
from mailstead.protocol.milter.client import (
    Dialogue,
    Failed,
    Filter,
    Heard,
    Judged,
    Keep,
    Lost,
    Send,
    T,
    negotiate,
)
from mailstead.protocol.milter.options import ALL_STEPS, Actions, Macros, Options, Steps

ACTIONS = Actions.ADD_HEADERS | Actions.CHANGE_BODY | Actions.CHANGE_HEADERS
NOTHING_ELSE = Steps(0)
GO, NO = said.Continue(), said.Reject()


def converse(dialogue: Dialogue[T], heard: Iterable[Heard] = ()) -> tuple[T, list[bytes]]:
    """The result, and what was sent or kept; GO is what the filter says after what is given."""
    answers, out = list(heard), []
    try:
        request = next(dialogue)
        while True:
            answer: Heard = None
            match request:
                case Send(data, answered):
                    out += [data] * bool(data)
                    if answered:
                        answer = answers.pop(0) if answers else GO
                case Keep(piece):
                    out.append(b"keep " + piece[:20])
            request = dialogue.send(answer)
    except StopIteration as end:
        return end.value, out


def a_filter(
    steps: Steps = NOTHING_ELSE,
    actions: Actions = ACTIONS,
    version: int = 6,
    **macros: tuple[str, ...],
) -> Filter:
    wanted = {int(stage.removeprefix("stage")): names for stage, names in macros.items()}
    return Filter(Options(version, actions, steps, wanted))


def test_negotiation() -> None:
    agreed = said.Negotiation(6, 0x11, 0x100080, ((2, ("i",)),))
    found, sent = converse(negotiate(), [agreed])
    assert sent == [b"\0\0\0\x0dO\0\0\0\6\0\0\1\xff\0\x1f\xff\xff"]
    assert isinstance(found, Filter)
    steps = Steps.NO_REPLY_HEADER | Steps.LEADING_SPACE
    assert found.options == Options(6, Actions(0x11), steps, {2: ("i",)})


@pytest.mark.parametrize(
    "answer",
    [
        said.Negotiation(1, 0, 0),
        said.Negotiation(7, 0, 0),
        said.Negotiation(6, 0x200, 0),
        said.Negotiation(6, 0, 0x200000),
        GO,
        said.Malformed("x"),
        Lost("closed"),
    ],
)
def test_what_cannot_be_agreed_on(answer: Heard) -> None:
    assert isinstance(converse(negotiate(), [answer])[0], Failed)


@pytest.mark.parametrize(
    ("endpoint", "data"),
    [
        (Endpoint("192.0.2.1", 258), b"mx\x004\x01\x02192.0.2.1\0"),
        (Endpoint("2001:db8::1", 25), b"mx\x006\0\x192001:db8::1\0"),
        (None, b"mx\0U"),
    ],
)
def test_connect(endpoint: Endpoint | None, data: bytes) -> None:
    verdict, sent = converse(a_filter().connect("mx", endpoint))
    assert (verdict, sent) == (GO, [client.packet(b"C", data)])


def test_a_message() -> None:
    one = a_filter()
    sent = []
    for dialogue in (
        one.helo("client"),
        one.mail("<a@example.org>", ["SIZE=1"], Macros({"i": "1"})),
        one.rcpt("<b@example.org>"),
        one.data(),
        one.header([("Subject", b" a\r\n\tb"), ("X", b"")]),
        one.end_of_header(),
        one.body(b"x" * 65536),
    ):
        verdict, out = converse(dialogue)
        sent += [packet[4:20] for packet in out]
        assert verdict == GO
    judged, out = converse(one.end_of_message())
    assert (judged, out) == (Judged(GO), [b"\0\0\0\1E"])
    assert sent == [
        b"Hclient\0",
        b"DMi\x001\0",
        b"M<a@example.org>"[:16],
        b"R<b@example.org>"[:16],
        b"T",
        b"LSubject\0a\n\tb\0",
        b"LX\0\0",
        b"N",
        b"B" + b"x" * 15,
        b"Bx",
    ]
    assert converse(one.quit())[1] == [b"\0\0\0\1Q"]


def test_what_the_filter_does_not_want_is_not_sent() -> None:
    one = a_filter(Steps.NO_HELO | Steps.NO_BODY, version=3)
    assert converse(one.helo("x"), [NO]) == (GO, [])
    assert converse(one.body(b"x"), [NO]) == (GO, [])
    assert converse(one.data(), [NO]) == (GO, [])  # came with version 4


def test_what_the_filter_does_not_answer_is_not_waited_for() -> None:
    one = a_filter(Steps.NO_REPLY_HEADER | Steps.LEADING_SPACE)
    verdict, sent = converse(one.header([("X", b" 1"), ("Y", b"2")]), [NO])
    assert (verdict, sent) == (GO, [b"\0\0\0\6LX\0 1\0", b"\0\0\0\5LY\x002\0"])


@pytest.mark.parametrize(("steps", "answered"), [(NOTHING_ELSE, True), (ALL_STEPS, False)])
def test_whether_an_answer_is_due(steps: Steps, answered: bool) -> None:
    silent = steps & (Steps.NO_REPLY_DATA | Steps.NO_REPLY_BODY)
    assert next(a_filter(silent).data()) == Send(b"\0\0\0\1T", answered)
    assert next(a_filter(silent).body(b"x")) == Send(b"\0\0\0\2Bx", answered)
    assert next(a_filter(silent).end_of_message()) == Send(b"\0\0\0\1E")


def test_the_macros_that_the_filter_wants() -> None:
    one = a_filter(stage2=("j", "{x}"), stage3=())
    told = Macros({"i": "1", "{x}": "y\0" * 9 + "z" * 2000})
    assert converse(one.mail("<>", (), told))[1][0][4:9] == b"DM{x}"
    assert len(converse(one.mail("<>", (), told))[1][0]) == 4 + 2 + 4 + client.MACRO_LIMIT + 1
    assert len(converse(one.rcpt("<a@example.org>", (), told))[1]) == 1


@pytest.mark.parametrize(
    "verdict", [said.Accept(), NO, said.TempFail(), said.Discard(), said.ShutDown()]
)
def test_a_verdict_ends_the_message_but_not_the_connection(verdict: said.Response) -> None:
    one = a_filter()
    assert converse(one.mail("<>"), [verdict])[0] == verdict
    assert converse(one.rcpt("<a@example.org>")) == (verdict, [])
    assert converse(one.end_of_message()) == (Judged(verdict), [])
    assert converse(one.mail("<>"))[0] == GO


@pytest.mark.parametrize("verdict", [said.Accept(), NO, said.Refuse(Reply(554, "5.7.1", "no"))])
def test_a_verdict_on_the_connection_is_for_all_of_it(verdict: said.Response) -> None:
    one = a_filter()
    assert converse(one.connect("mx", None), [verdict])[0] == verdict
    assert converse(one.mail("<>")) == (verdict, [])
    assert converse(one.abort())[1] == []


def test_a_recipient_is_refused_alone() -> None:
    one = a_filter()
    assert converse(one.rcpt("<a@example.org>"), [NO])[0] == NO
    assert converse(one.rcpt("<b@example.org>"))[0] == GO


def test_recipients_that_we_refused() -> None:
    assert converse(a_filter().refused_rcpt("<a@example.org>", "550 5.1.1 no")) == (GO, [])
    told = a_filter(Steps.REFUSED_RCPT).refused_rcpt("<a@example.org>", "550 5.1.1 no")
    assert converse(told, [NO])[0] == GO


def test_skip() -> None:
    one = a_filter()
    assert converse(one.body(b"x" * 200_000), [said.Skip()])[0] == GO
    assert converse(one.body(b"x"))[1] == []
    assert converse(one.end_of_message())[0] == Judged(GO)


def test_changes() -> None:
    changes = [said.AddHeader("X", b"1"), said.Progress(), said.ChangeHeader(1, "Y", b"")]
    body = [said.ReplaceBody(b"new"), said.ReplaceBody(b" body")]
    judged, out = converse(a_filter().end_of_message(), [*changes, *body, said.Accept()])
    expected = (said.AddHeader("X", b" 1"), said.ChangeHeader(1, "Y", b""))
    assert judged == Judged(said.Accept(), expected, new_body=True)
    assert out[1:] == [b"keep new", b"keep  body"]
    one = a_filter(Steps.LEADING_SPACE)
    judged, _ = converse(one.end_of_message(), [said.InsertHeader(0, "X", b"1")])
    assert judged.changes == (said.InsertHeader(0, "X", b"1"),)
    judged, _ = converse(one.end_of_message(), [said.AddHeader("X", b"1"), NO])
    assert judged == Judged(NO)


@pytest.mark.parametrize(
    "heard",
    [
        [said.AddRecipient("<a@example.org>")],
        [said.Quarantine("x")],
        [said.AddHeader("X", b"1")] * (client.MODIFICATIONS_LIMIT + 1),
        [said.AddHeader("X", b"1" * 200_000)] * 2,
        [said.ReplaceBody(b"x" * 2**20)] * 101,
        [said.Progress()] * client.PROGRESS_LIMIT,
        [said.Negotiation(6, 0, 0)],
        [said.Skip()],
        [Lost("closed")],
    ],
)
def test_a_filter_that_fails_at_the_end(heard: list[Heard]) -> None:
    one = a_filter()
    judged, _ = converse(one.end_of_message(), heard)
    assert isinstance(judged.verdict, Failed)
    assert (judged.changes, one.failed) == ((), True)
    assert converse(one.mail("<>"))[1] == []
    assert converse(one.quit())[1] == []


@pytest.mark.parametrize("heard", [said.AddHeader("X", b""), Lost("x"), said.Malformed("x")])
def test_a_filter_that_fails_before(heard: Heard) -> None:
    one = a_filter()
    verdict, _ = converse(one.mail("<>"), [heard])
    assert isinstance(verdict, Failed)
    assert converse(one.rcpt("<a@example.org>")) == (verdict, [])
    assert converse(one.end_of_message()) == (Judged(verdict), [])
    assert converse(one.abort())[1] == []


def test_a_message_is_given_up() -> None:
    one = a_filter()
    assert converse(one.abort())[1] == []
    converse(one.mail("<>"))
    assert converse(one.abort())[1] == [b"\0\0\0\1A"]
    assert converse(one.abort())[1] == []


def test_the_next_client() -> None:
    one = a_filter()
    converse(one.connect("mx", None), [said.Accept()])
    assert converse(one.quit_for_next()) == (True, [b"\0\0\0\1K"])
    assert converse(one.connect("mx", None))[1] != []
    assert converse(a_filter(version=2).quit_for_next()) == (False, [b"\0\0\0\1Q"])


HEARD = st.sampled_from(
    [
        *(GO, NO, said.Skip(), said.Progress(), said.Accept(), said.AddHeader("X", b"1")),
        *(said.ReplaceBody(b"x"), said.Quarantine(""), said.Negotiation(6, 0, 0)),
        *(said.Malformed(""), Lost("")),
    ]
)


@settings(deadline=None, max_examples=100)
@given(st.lists(HEARD, max_size=30))
def test_whatever_a_filter_says_it_ends(heard: list[Heard]) -> None:
    one = a_filter()
    converse(one.mail("<>"), heard[:3])
    converse(one.body(b"x" * 200_000), heard[3:9])
    judged, _ = converse(one.end_of_message(), heard[9:])
    assert isinstance(judged.verdict, Failed) == one.failed
