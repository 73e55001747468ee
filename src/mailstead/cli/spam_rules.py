"""`mailstead spam rule`: what each rule of the filter weighs."""

import click
import msgspec

from mailstead.cli.house import read, write
from mailstead.cli.printing import for_operators, show, table
from mailstead.model.errors import Refusal
from mailstead.services.inbound.rulebook import shipped_rules
from mailstead.spam.rules import WEIGHT_LIMIT
from mailstead.storage import rule_weights


class ShownRule(msgspec.Struct, frozen=True):
    """One rule; `usual` is the weight it comes with."""

    name: str
    weight: float
    usual: float
    sentence: str


@click.group()
def rule() -> None:
    """What each rule of the filter weighs."""


@rule.command("list")
@for_operators
def list_(as_json: bool) -> None:
    """List the rules with their weights; each is about a message that ..."""
    changed = read(rule_weights.find_all)
    found = [
        ShownRule(one.name, changed.get(one.name, one.weight), one.weight, one.sentence)
        for one in shipped_rules().rules.values()
    ]
    cells = [
        (
            one.name,
            f"{one.weight:g}" + (f" (usually {one.usual:g})" if one.weight != one.usual else ""),
            one.sentence,
        )
        for one in found
    ]
    show(found, table(("RULE", "POINTS", "A MESSAGE THAT"), cells), as_json)


@rule.command("set")
@click.argument("name")
@click.argument("points")
@for_operators
def set_(name: str, points: str, as_json: bool) -> None:
    """Let the rule NAME weigh POINTS, 0 to switch it off, "usual" for what it comes with.

    The server sees it within a minute. `mailstead spam replay --rule NAME=POINTS` says before
    which messages that would move.
    """
    known = shipped_rules().rules.get(name)
    if known is None:
        raise Refusal(f"there is no rule {name!r}: mailstead spam rule list", "NONEXISTENT")
    weight = _parse(points)
    write(lambda tx: rule_weights.put(tx, name, weight))
    shown = ShownRule(
        name, known.weight if weight is None else weight, known.weight, known.sentence
    )
    show(shown, f"{name} weighs {shown.weight:g} from now on.", as_json)


def _parse(text: str) -> float | None:
    if text == "usual":
        return None
    try:
        weight = float(text)
    except ValueError as error:
        raise Refusal(f"{text!r} is no number of points, nor usual") from error
    if not -WEIGHT_LIMIT <= weight <= WEIGHT_LIMIT:
        raise Refusal(f"a rule weighs {WEIGHT_LIMIT:g} points at most")
    return weight
