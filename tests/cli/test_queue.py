"""Mail that waits to leave, as an operator sees and changes it; and the stories of messages."""

import asyncio
import os
import socket
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from mailstead.cli import printing
from mailstead.model.entries import Accepted, Attempted, Connected, Refused
from mailstead.model.numbers import OrganisationId, TraceId
from mailstead.server.config import load
from mailstead.server.wiring import House, open_house
from mailstead.storage.blobs import MemoryBody
from mailstead.storage.plan import (
    Enqueue,
    JournalRow,
    Plan,
    Postpone,
    QueuedRecipient,
)

TRACE = "7f3k0000000a"
BOB, CAROL = "bob@example.net", "carol@example.com"


async def _enqueue(house: House) -> None:
    """One message for two recipients, tried once for the first; and a refused connection."""
    now = house.world.clock.now()
    story = (
        Connected(at=now, peer="192.0.2.7:1", role="submission", helo="evil\x1b[2J\nname"),
        Accepted(at=now, reverse_path="alice@example.org", recipients=(BOB, CAROL), size=30),
    )
    recipients = tuple(
        QueuedRecipient(one, "smtp", one.partition("@")[2], now + timedelta(hours=1))
        for one in (BOB, CAROL)
    )
    enqueue = Enqueue(b"Subject: Hello\r\n\r\n", "alice@example.org", recipients)
    organisation = OrganisationId(1)
    body = MemoryBody(b"Hi!\r\n")
    plan = Plan((enqueue,), TraceId(TRACE), organisation, body, story, arrival=True)
    applied = await house.store.apply(plan)
    first = applied.enqueued[0].queue_ids[0]
    reply = "450 4.2.1 busy\x1b]0;title\x07"
    tried = Attempted(
        at=now,
        recipient=BOB,
        attempt=1,
        outcome="deferred",
        reply=reply,
        due=now + timedelta(hours=1),
        queue_id=first,
    )
    step = Postpone(first, now + timedelta(hours=1), 1, reply)
    await house.store.apply(Plan((step,), TraceId(TRACE), organisation, None, (tried,)))
    refused = Refused(at=now, stage="rcpt", reply="550 5.1.1 Nobody", recipient="x@example.org")
    house.store.note(JournalRow(TraceId("other"), organisation, (refused,), arrival=True))


@pytest.fixture
def filled(mailstead: Any) -> Any:
    """The command line of a server with two recipients in its queue."""

    async def work() -> None:
        async with open_house(load(mailstead.config), lambda trace, entries: None) as house:
            await _enqueue(house)

    asyncio.run(work())
    return mailstead


def waiting(shell: Any, *options: str) -> dict[str, Any]:
    """Recipient -> what `queue list --json` says of it."""
    return {one["recipient"]: one for one in shell("queue", "list", "--json", *options).json()}


def test_the_list(filled: Any) -> None:
    found = waiting(filled)
    assert list(found) == [BOB, CAROL]
    one = found[BOB]
    assert (
        one["trace"],
        one["reverse_path"],
        one["state"],
        one["attempts"],
        one["lane"],
    ) == (TRACE, "alice@example.org", "waiting", 1, "example.net")
    lines = filled("queue", "list").out.splitlines()
    titles = "ID MESSAGE FROM TO AGE TRIES NEXT (UTC) LAST REPLY"
    assert " ".join(lines[0].split()) == titles
    assert "450 4.2.1 busy" in lines[1]
    assert "\x1b" not in "".join(lines)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--to", BOB), [BOB]),
        (("--to", "@example.com"), [CAROL]),
        (("--to", "@example"), []),
        (("--lane", "example.net"), [BOB]),
        (("--from", "alice@example.org"), [BOB, CAROL]),
        (("--from", "eve@example.org"), []),
        (("--trace", TRACE), [BOB, CAROL]),
        (("--held",), []),
        (("--not-held",), [BOB, CAROL]),
        (("--limit", "1"), [BOB]),
        (("--id", "1", "--id", "2"), [BOB, CAROL]),
        (("--id", "2"), [CAROL]),
        (("--id", "2", "--to", BOB), []),
    ],
)
def test_filters(filled: Any, options: tuple[str, ...], expected: list[str]) -> None:
    assert expected == list(waiting(filled, *options))


def test_hold_and_release(filled: Any) -> None:
    assert filled("queue", "hold", "--to", BOB).out == "1 recipient held.\n"
    assert waiting(filled)[BOB]["state"] == "held"
    assert list(waiting(filled, "--held")) == [BOB]
    assert "mailstead queue release --id 1" in filled("queue", "show", "1").out
    ran = filled("queue", "release", "--all", "--json")
    assert ran.json() == {"change": "released", "recipients": 1}
    assert waiting(filled)[BOB]["state"] == "waiting"


def test_retry_makes_it_due(filled: Any) -> None:
    before = waiting(filled)
    assert filled("queue", "retry", "--id", "1").code == 0
    after = waiting(filled)
    assert after[BOB]["due"] < before[BOB]["due"]
    assert after[CAROL]["due"] == before[CAROL]["due"]


def test_reroute_and_back(filled: Any) -> None:
    assert filled("queue", "reroute", "mx.example.org:2525", "--to", BOB).code == 0
    assert waiting(filled)[BOB]["route"] == "mx.example.org:2525"
    assert filled("queue", "reroute", "--usual", "--to", BOB).code == 0
    assert waiting(filled)[BOB]["route"] == ""


def test_drop(filled: Any) -> None:
    assert filled("queue", "drop", "--to", BOB).code == 2
    assert filled("queue", "drop", "--to", BOB, "--yes").out == "1 recipient dropped.\n"
    assert list(waiting(filled)) == [CAROL]
    assert filled("queue", "drop", "--all", "--yes").code == 0
    assert filled("queue", "list").out == "The queue is empty.\n"


def test_expires(filled: Any) -> None:
    assert filled("queue", "expire", "--to", BOB).code == 2
    assert filled("queue", "expire", "--to", BOB, "--yes").out == "1 recipient expired.\n"
    told = filled("message", "explain", TRACE).out
    assert f"An operator gave {BOB} up before its time" in told
    assert set(waiting(filled)) == {CAROL}


def test_rules_that_hold(filled: Any) -> None:
    assert filled("queue", "rules", "list").out == "No rules.\n"
    assert filled("queue", "rules", "add").code == 2
    assert filled("queue", "rules", "add", "--to", "nobody").code == 2
    ran = filled("queue", "rules", "add", "--to", "@Example.NET", "--reason", "looks like spam")
    assert ran.out == "Rule 1: such mail is held from now on.\n"
    (rule,) = filled("queue", "rules", "list", "--json").json()
    assert (rule["recipient"], rule["organisation"]) == ("@example.net", 0)
    assert "looks like spam" in filled("queue", "rules", "list").out
    assert filled("queue", "rules", "remove", "1").code == 0
    assert filled("queue", "rules", "remove", "1").code == 1


def test_finds_by_stream_and_source(filled: Any) -> None:
    assert set(waiting(filled, "--organisation", "example.org")) == {BOB, CAROL}
    assert waiting(filled, "--stream", "news") == waiting(filled, "--source", "new") == {}


def test_drop_with_a_notice(filled: Any) -> None:
    assert filled("queue", "drop", "--to", BOB, "--yes", "--notify").code == 0
    inbox = filled("account", "show", "alice@example.org", "--json").json()["mailboxes"][0]
    assert (inbox["name"], inbox["messages"]) == ("INBOX", 1)


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("show", "99"), 1, "mailstead queue list"),
        (("show", "x"), 2, "not a valid integer"),
        (("retry",), 2, "--all"),
        (("retry", "--all", "--id", "1"), 2, "--all"),
        (("retry", "--id", "99"), 1, "mailstead queue list --id 99"),
        (("hold", "--to", "no body@x"), 1, "mailstead queue list --to 'no body@x'"),
        (("release", "--id", "1"), 1, "is so already"),
        (("reroute", "--id", "1"), 2, "mx.example.net:25"),
        (("reroute", "mx.example.org:99999", "--id", "1"), 1, "mx.example.net:25"),
        (("drop", "--id", "1"), 2, "--yes"),
        (("drop", "--id", "99", "--yes"), 1, "mailstead queue list"),
    ],
)
def test_refusals_teach(filled: Any, arguments: tuple[str, ...], code: int, says: str) -> None:
    ran = filled("queue", *arguments)
    assert code == ran.code
    assert says in " ".join(ran.err.split())
    assert list(waiting(filled)) == [BOB, CAROL]


def test_show_with_the_header(filled: Any) -> None:
    assert "Subject: Hello\n" in filled("queue", "show", "1", "--header").out
    assert filled("queue", "show", "1", "--header", "--json").json()["header"] == (
        "Subject: Hello\n\n"
    )


def test_a_change_wakes_the_server(filled: Any) -> None:
    """A server listens on a datagram socket in the folder `bus`."""
    folder = load(filled.config).folder / "bus"
    here = Path.cwd()
    os.chdir(folder)  # a socket's path has at most 107 octets
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
            server.bind("1.sock")
            server.settimeout(10)
            os.chdir(here)
            filled("queue", "retry", "--id", "1")
            assert server.recv(100) == b"queue"
    finally:
        os.chdir(here)


# ---------------------------------------------------------------------- messages


def test_the_newest_messages(filled: Any) -> None:
    found = filled("message", "list", "--json").json()
    assert [(one["trace"], one["outcome"]) for one in found] == [
        ("other", "refused"),
        (TRACE, "deferred, queued"),
    ]
    assert [one["trace"] for one in filled("message", "list", "--limit", "1", "--json").json()] == [
        "other"
    ]
    assert TRACE in filled("message", "list").out


@pytest.mark.parametrize("id_", [TRACE, "1", "#2"])
def test_a_story(filled: Any, id_: str) -> None:
    ran = filled("message", "explain", id_)
    assert ran.code == 0
    lines = ran.out.splitlines()
    assert lines[0] == f"Message {TRACE}, times in UTC"
    assert "it called itself evil\ufffd[2J name" in ran.out
    assert "mailstead queue retry --id 1" in ran.out
    assert "mailstead queue show --id 2" in ran.out
    assert "\x1b" not in ran.out


def test_a_story_for_programs(filled: Any) -> None:
    found = filled("message", "explain", TRACE, "--json").json()
    assert [entry["what"] for entry in found["entries"]] == [
        "connected",
        "accepted",
        "queued",
        "queued",
        "attempted",
    ]
    assert len(found["lines"]) == 5
    assert found["lines"][4]["next"] == "mailstead queue retry --id 1"


@pytest.mark.parametrize("id_", ["nothing", "", "99", "#99", "#", "\u0663", "9" * 30])
def test_unknown_messages(filled: Any, id_: str) -> None:
    ran = filled("message", "explain", id_)
    assert (ran.code, "mailstead message list" in ran.err) == (1, True)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--from", "alice@example.org"), [TRACE]),
        (("--from", "<ALICE@example.org>", "--to", CAROL, "--since", "1h"), [TRACE]),
        (("--from", "<>"), ["other"]),
        (("--to", "x@example.org"), ["other"]),
        (("--to", "nobody"), []),
        (("--since", "1w"), ["other", TRACE]),
        (("--since", "999999w", "--until", "2026-01-01T00:00"), []),
        (("--until", "5m"), []),
        (("--message-id", "x@y"), []),
    ],
)
def test_messages_are_found(filled: Any, options: tuple[str, ...], expected: list[str]) -> None:
    found = filled("message", "list", "--json", *options).json()
    assert expected == [one["trace"] for one in found]
    assert filled("message", "explain", *options).code == (0 if expected else 1)


def test_the_newest_match_is_explained_and_older_ones_are_named(filled: Any) -> None:
    ran = filled("message", "explain", "--since", "1h")
    assert ran.out.startswith("Message other,")
    assert f"mailstead message explain {TRACE}" in ran.err


def test_a_recipient_that_has_left_the_queue_is_explained(filled: Any) -> None:
    assert filled("queue", "drop", "--id", "1", "--yes").code == 0
    ran = filled("message", "explain", "#1")
    assert ran.out.startswith(f"Message {TRACE},")


@pytest.mark.parametrize(
    "arguments",
    [(), (TRACE, "--since", "1h"), ("--since", "yesterday"), ("--until", "1"), ("--since", "-1h")],
)
def test_unclear_questions(filled: Any, arguments: tuple[str, ...]) -> None:
    assert filled("message", "explain", *arguments).code == 2


def test_operators_changes_are_in_the_story(filled: Any) -> None:
    filled("queue", "hold", "--to", BOB)
    text = filled("message", "explain", TRACE).out
    assert f"An operator held {BOB} back" in text
    assert "mailstead queue release --id 1" in text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain \u00fc", "plain \u00fc"),
        ("\x1b[31m", "\ufffd[31m"),
        ("a\tb\rc\x00\x7f\x9b", "a\ufffdb\ufffdc\ufffd\ufffd\ufffd"),
        ("line\nline", "line\nline"),
        ("\u202etxt", "\ufffdtxt"),
        ("half \ud800", "half ?"),
    ],
)
def test_strangers_cannot_steer_the_terminal(text: str, expected: str) -> None:
    assert expected == printing.clean(text)


def test_a_cell_is_one_line() -> None:
    assert printing.table(("A", "B"), [("x\ny", 1)]) == "A    B\nx y  1"
