"""Who is woken by what, in this process and in others."""

from collections.abc import Callable

from mailstead.model.numbers import AccountId, MailboxId, OrganisationId
from mailstead.services.watch import Watch

ALICE, BOB, CAROL = AccountId(1), AccountId(2), AccountId(3)
OURS, THEIRS = OrganisationId(7), OrganisationId(8)


class Wire:
    """A bus that reaches every other process at once."""

    def __init__(self, others: list["Wire"]) -> None:
        self.others = others
        self.hear: Callable[[bytes], None] = lambda topic: None
        others.append(self)

    def publish(self, topic: bytes) -> None:
        for other in self.others:
            if other is not self:
                other.hear(topic)

    def subscribe(self, hear: Callable[[bytes], None]) -> None:
        self.hear = hear


def two_processes() -> tuple[Watch, Watch]:
    wires: list[Wire] = []
    watches = Watch(Wire(wires)), Watch(Wire(wires))
    for watch in watches:
        watch.start()
    return watches


def test_names_wake_those_who_see_them_in_all_processes() -> None:
    here, there = two_processes()
    woken: list[str] = []
    here.add_names(ALICE, OURS, lambda: woken.append("alice here"))
    there.add_names(ALICE, OURS, lambda: woken.append("alice there"))
    there.add_names(BOB, OURS, lambda: woken.append("bob"))
    there.add_names(CAROL, THEIRS, lambda: woken.append("carol"))
    here.wake_names({ALICE})
    assert woken == ["alice here", "alice there"]
    woken.clear()
    here.wake_names({CAROL}, OURS)
    assert sorted(woken) == ["alice here", "alice there", "bob", "carol"]


def test_who_has_gone_is_woken_no_more() -> None:
    here, there = two_processes()
    woken: list[str] = []

    def hear() -> None:
        woken.append("alice")

    here.add_names(ALICE, OURS, hear)
    here.add(MailboxId(5), hear)
    there.wake([MailboxId(5), MailboxId(6)])
    here.remove_names(ALICE, OURS, hear)
    here.remove(MailboxId(5), hear)
    there.wake([MailboxId(5)])
    there.wake_names({ALICE}, OURS)
    assert woken == ["alice"]
