"""What dialogues cannot show of NOTIFY: limits, and what it costs."""

import pytest

from mailstead.protocol.imap.notification import Group, Happening, Scope
from mailstead.services.accounts import Login
from mailstead.sessions.imap import notification
from mailstead.sessions.imap.notification import Notification
from mailstead.storage import accounts
from mailstead.testing.house import SimulatedWorld
from mailstead.testing.transcript import compose, open_house

BOTH = frozenset({Happening.MESSAGE_NEW, Happening.MESSAGE_EXPUNGE})
TOO_MUCH = "a NO [NOTIFICATIONOVERFLOW] That is too much to be watched"
ENDED = "* OK [NOTIFICATIONOVERFLOW] Too much to be told; nothing is watched any more"


@pytest.mark.rfc("5465 section 5.8")
async def test_more_mailboxes_than_a_session_may_watch(
    world: SimulatedWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = await open_house(world)
    client, other = await house.log_in("alice"), await house.log_in("alice")
    command = "a NOTIFY SET (personal (MailboxName MessageNew MessageExpunge))"
    monkeypatch.setattr(notification, "WATCHED_LIMIT", 5)
    assert await client.command(command) == [TOO_MUCH]
    monkeypatch.setattr(notification, "WATCHED_LIMIT", 6)
    assert await client.command(command) == ["a OK NOTIFY completed"]
    await other.command("b CREATE Folder")
    assert await client.line() == ENDED
    await other.command("c DELETE Folder")
    await house.deliver("alice", compose("unheard"))
    assert await client.command("d NOOP") == ["d OK Completed"]


@pytest.mark.rfc("5465 section 8")
@pytest.mark.parametrize(
    ("groups", "answer"),
    [
        ("(personal NONE) " * 21, TOO_MUCH),
        ("(mailboxes (" + " ".join(f"x{n}" for n in range(1001)) + ") NONE)", TOO_MUCH),
        ("(personal (" + " ".join(["MailboxName"] * 21) + "))", "a BAD More than 20 events"),
    ],
)
async def test_more_than_one_command_may_ask_for(
    world: SimulatedWorld, groups: str, answer: str
) -> None:
    house = await open_house(world)
    client = await house.log_in("alice")
    assert await client.command(f"a NOTIFY SET {groups.rstrip()}") == [answer]


async def test_mail_of_others_wakes_nobody(world: SimulatedWorld) -> None:
    house = await open_house(world)
    found = await house.house.store.read(lambda tx: accounts.get_account(tx, "alice@example.org"))
    owner = Login(found.id, found.organisation, found.login)
    woken: list[int] = []
    groups = (Group(Scope.PERSONAL, BOTH | {Happening.MAILBOX_NAME}),)
    asked = Notification(house.house.watch, owner, groups, lambda: woken.append(1))
    asked.begin(await house.mailboxes.list_all(found.id))
    await house.deliver("bob", compose("for Bob"))
    bob = await house.log_in("bob")
    await bob.command("a CREATE Folder")
    assert woken == []
    await house.deliver("alice", compose("for Alice"))
    assert woken == [1]
    asked.close()
    await house.deliver("alice", compose("too late"))
    assert woken == [1]
