"""`mailstead spam`: what the filter makes of mail, how it is taught, and what is kept back."""

from datetime import timedelta
from pathlib import Path
from typing import BinaryIO

import click
import msgspec

from mailstead.cli.house import operate, read, write
from mailstead.cli.printing import for_operators, show, table
from mailstead.cli.spam_lists import allow, block, listed, unlist
from mailstead.cli.spam_quarantine import quarantine
from mailstead.cli.spam_rules import rule
from mailstead.cli.spam_thresholds import threshold
from mailstead.cli.suppression import find_organisation
from mailstead.message.header import ensure_crlf, split
from mailstead.model.errors import Refusal
from mailstead.model.numbers import AccountId, OrganisationId
from mailstead.server.wiring import House
from mailstead.services.explain import format_time
from mailstead.services.inbound.rulebook import sentence_of
from mailstead.services.inbound.scoring import Tested
from mailstead.services.replay import Change, Replayed, replay
from mailstead.services.sorted_mail import MESSAGE_LIMIT, messages_in
from mailstead.storage import accounts, spam_corpus
from mailstead.storage.spam_corpus import EVERYBODY, Corpus
from mailstead.storage.store import WRITE_LIMIT, Tx

CLUES_SHOWN = 20


@click.group()
def spam() -> None:
    """What the filter makes of mail, and how it is taught."""


for command in (threshold, rule, allow, block, unlist, listed, quarantine):
    spam.add_command(command)


class Whose(msgspec.Struct, frozen=True):
    """Whose lessons: of an account, or of all of an organisation."""

    organisation: OrganisationId
    account: AccountId = EVERYBODY


def find_whose(tx: Tx, organisation: str, account: str) -> Whose:
    """By their names; the first organisation if nothing is named."""
    if account:
        found = accounts.get_account(tx, account)
        return Whose(found.organisation, found.id)
    return Whose(find_organisation(tx, organisation))


# ---------------------------------------------------------------------- teach


class Trained(msgspec.Struct, frozen=True):
    """What was learnt."""

    messages: int
    kind: str


@spam.command()
@click.argument("path", type=click.Path(exists=True, path_type=Path))
@click.option("--spam/--ham", "is_spam", required=True, help="What all of these messages are.")
@click.option("--organisation", default="", help="Teach this organisation; else the first.")
@click.option("--account", default="", help="Teach only this account.")
@for_operators
def train(path: Path, is_spam: bool, organisation: str, account: str, as_json: bool) -> None:
    """Learn sorted mail: a folder with a message a file, an mbox, or one message.

    A message that is learnt twice counts twice. It takes a few hundred of each kind until the
    filter knows more than its rules; the running server uses it at once.
    """

    async def work(house: House) -> int:
        whose = await house.store.read(lambda tx: find_whose(tx, organisation, account))
        found = messages_in(path)
        return await house.training.train(whose.organisation, whose.account, found, is_spam)

    kind = "spam" if is_spam else "ham"
    count = operate(work)
    show(Trained(count, kind), f"Learnt {count} messages as {kind}.", as_json)


@spam.command()
@click.option("--organisation", default="", help="Of this organisation; else the first.")
@click.option("--account", default="", help="Only what was learnt for this account.")
@for_operators
def forget(organisation: str, account: str, as_json: bool) -> None:
    """Forget everything that was learnt: the filter is new again."""
    whose = read(lambda tx: find_whose(tx, organisation, account))
    gone = 0
    while some := write(
        lambda tx: spam_corpus.forget(tx, whose.organisation, whose.account, WRITE_LIMIT)
    ):
        gone += some
    show(Trained(gone, "forgotten"), f"Forgot {gone} tokens.", as_json)


class ShownCorpus(msgspec.Struct, frozen=True):
    """What one corpus has learnt."""

    organisation: str
    account: str
    ham: int
    spam: int
    lessons: int


@spam.command()
@for_operators
def stats(as_json: bool) -> None:
    """Show what was learnt, for whom."""
    found = read(_stats)
    titles = ("ORGANISATION", "ACCOUNT", "HAM", "SPAM", "LESSONS")
    cells = [
        (one.organisation, one.account or "(all)", one.ham, one.spam, one.lessons) for one in found
    ]
    text = table(titles, cells) if found else "Nothing was learnt yet: the rules decide alone."
    show(found, text, as_json)


def _stats(tx: Tx) -> list[ShownCorpus]:
    names = dict(tx.rows("SELECT id, name FROM organisation"))
    logins = dict(tx.rows("SELECT id, login FROM account"))

    def shown(organisation: OrganisationId, corpus: Corpus) -> ShownCorpus:
        return ShownCorpus(
            names.get(organisation, ""),
            logins.get(corpus.account, ""),
            corpus.totals.ham,
            corpus.totals.spam,
            corpus.generation,
        )

    return [shown(organisation, corpus) for organisation, corpus in spam_corpus.list_all(tx)]


# ---------------------------------------------------------------------- look


@spam.command("test")
@click.argument("file", type=click.File("rb"), default="-")
@click.option("--organisation", default="", help="As this organisation's mail is judged.")
@click.option("--account", default="", help="As this account's mail is judged.")
@for_operators
def test_(file: BinaryIO, organisation: str, account: str, as_json: bool) -> None:
    """Say what the filter makes of the message in FILE, with every reason and every clue.

    Who brings a message is not in a file: `mailstead check message` knows that, too.
    """
    header, body = split(ensure_crlf(file.read(MESSAGE_LIMIT)))

    async def work(house: House) -> Tested:
        whose = await house.store.read(lambda tx: find_whose(tx, organisation, account))
        return await house.site.scoring.test(
            header, body, whose.organisation, whose.account, house.world.clock.now()
        )

    tested = operate(work)
    show(tested, "\n".join(_lines(tested)), as_json)


def _lines(tested: Tested) -> list[str]:
    lines = [f"{tested.score.total:g} points, without what is known of who brings it."]
    for part in tested.score.parts:
        detail = f" ({part.detail})" if part.detail else ""
        lines.append(f"  {part.weight:+.2f} {part.rule}: {sentence_of(part.rule)}{detail}")
    totals = tested.totals
    if not tested.clues:
        lines.append(f"Nothing it says was learnt ({totals.ham} ham, {totals.spam} spam).")
        return lines
    lines.append(f"What was learnt says spam with {tested.probability:.1%}; it told by:")
    lines += [f"  {weight:+.2f} {words}" for words, weight in tested.clues[:CLUES_SHOWN]]
    return lines


# ---------------------------------------------------------------------- what would change


@spam.command("replay")
@click.option("--days", type=click.IntRange(1, 365), default=7, help="The mail of so many days.")
@click.option("--junk", type=float, default=None, help="With this threshold for Junk.")
@click.option("--refuse", type=float, default=None, help="With this threshold for refusing.")
@click.option("--rule", "weights", multiple=True, help="NAME=POINTS; repeatable.")
@for_operators
def replay_(
    days: int, junk: float | None, refuse: float | None, weights: tuple[str, ...], as_json: bool
) -> None:
    """List messages of the last days that would have gone elsewhere, and change nothing.

    The last column is what people said of the message since, by moving it.
    """
    change = Change(junk, refuse, dict(map(_weight, weights)))

    async def work(house: House) -> Replayed:
        since = house.world.clock.now() - timedelta(days=days)
        return await replay(house.store, since, change)

    found = operate(work)
    titles = ("TIME (UTC)", "MESSAGE", "FROM", "TO", "POINTS", "WAS", "WOULD BE", "PEOPLE SAY")
    cells = [
        (
            format_time(one.at),
            one.trace,
            one.reverse_path or "<>",
            ", ".join(one.recipients),
            f"{one.total:g} -> {one.new_total:g}",
            one.before,
            one.after,
            one.people,
        )
        for one in found.moved
    ]
    text = f"{len(found.moved)} of {found.judged} judgements would be others."
    show(found, f"{table(titles, cells)}\n\n{text}" if cells else text, as_json)


def _weight(text: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    try:
        return name, float(value)
    except ValueError as error:
        raise Refusal(f"{text}: write it as no-date=2.5") from error
