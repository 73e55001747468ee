"""The rules about refusals: which words and codes mean what, and what follows from it.

They lie in replies.toml beside this module, for people to read; here they are checked and compiled,
once. Holds: each class has a consequence; a rule may suppress less than its class, never more, so
that no rule about blocks, rates, content or authentication can cost a recipient.
"""

import enum
import functools
import importlib.resources
import re
import tomllib
from typing import Any

import msgspec

RULES_FILE = "replies.toml"


class ReplyClass(enum.StrEnum):
    """What a refusal is about."""

    RECIPIENT_GONE = "recipient-gone"
    RECIPIENT_DISABLED = "recipient-disabled"
    RECIPIENT_OFF = "recipient-off"  # for now
    MAILBOX_FULL = "mailbox-full"
    DOMAIN_GONE = "domain-gone"
    REPUTATION = "reputation"  # ours: we are blocked
    AUTHENTICATION = "authentication"  # ours: they do not believe who we are
    CONTENT = "content"
    RATE_LIMIT = "rate-limit"
    GREYLISTED = "greylisted"
    TOO_LARGE = "too-large"
    POLICY = "policy"  # theirs: who may write to whom
    ROUTING = "routing"
    THEIR_OUTAGE = "their-outage"
    PROTOCOL = "protocol"
    TOO_MANY_RECIPIENTS = "too-many-recipients"
    UNKNOWN = "unknown"


class Blame(enum.StrEnum):
    """Who has to do something about it."""

    RECIPIENT = "recipient"
    OURS = "ours"
    SENDER = "sender"  # of this one message
    THEIRS = "theirs"
    NOBODY = "nobody"
    UNKNOWN = "unknown"


class Suppress(enum.StrEnum):
    """Whether a permanent failure speaks against the address itself."""

    NOW = "now"
    TWICE = "twice"  # after two failures a day apart
    NEVER = "never"


class Consequence(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What follows from a class."""

    blame: Blame
    suppress: Suppress
    status: str  # subject and detail (RFC 3463), for replies without a status code
    advice: str  # to an operator
    slow: bool = False  # leave the site alone for a while
    soft: bool = False  # counts as a soft bounce


class Rule(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    rename={"class_": "class"},
):
    """One rule as the file has it; an empty condition is always true."""

    id: str
    class_: ReplyClass
    provider: str = ""
    code: str = ""
    enhanced: str = ""
    text: tuple[str, ...] = ()
    slow: bool | None = None
    suppress: Suppress | None = None
    advice: str = ""


class Matcher(msgspec.Struct, frozen=True):
    """A rule with its patterns compiled and its consequence filled in."""

    rule: Rule
    consequence: Consequence
    host: "re.Pattern[str] | None"
    code: "re.Pattern[str] | None"
    enhanced: "re.Pattern[str] | None"
    text: "re.Pattern[str] | None"


class Rules(msgspec.Struct, frozen=True):
    """All rules, in the order they are tried, and what follows from each class."""

    consequences: dict[ReplyClass, Consequence]
    matchers: tuple[Matcher, ...]


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    classes: dict[ReplyClass, Consequence]
    providers: dict[str, str]
    provider: tuple[Rule, ...]
    text: tuple[Rule, ...]
    code: tuple[Rule, ...]


@functools.cache
def shipped_rules() -> Rules:
    """The rules that come with Mailstead."""
    file = importlib.resources.files("mailstead.services.outbound") / RULES_FILE
    return parse_rules(file.read_text("utf-8"))


def parse_rules(toml: str) -> Rules:
    """The rules of a file; ValueError says which one is wrong."""
    data: dict[str, Any] = tomllib.loads(toml)
    file = msgspec.convert(data, _File)
    if missing := set(ReplyClass) - set(file.classes):
        raise ValueError(f"no consequence for {', '.join(sorted(missing))}")
    rules = (*file.provider, *file.text, *file.code)
    if len({rule.id for rule in rules}) < len(rules):
        raise ValueError("two rules have the same id")
    return Rules(file.classes, tuple(_matcher(rule, file) for rule in rules))


def _matcher(rule: Rule, file: _File) -> Matcher:
    if rule.provider and rule.provider not in file.providers:
        raise ValueError(f"rule {rule.id}: there is no provider {rule.provider}")
    if not (rule.code or rule.enhanced or rule.text):
        raise ValueError(f"rule {rule.id} has no condition")
    try:
        return Matcher(
            rule,
            _consequence(rule, file.classes[rule.class_]),
            _whole(file.providers.get(rule.provider, "")),
            _whole(rule.code),
            _whole(rule.enhanced),
            _anywhere(rule.text),
        )
    except re.error as error:
        raise ValueError(f"rule {rule.id}: {error}") from error


_STRICTNESS = (Suppress.NEVER, Suppress.TWICE, Suppress.NOW)


def _consequence(rule: Rule, usual: Consequence) -> Consequence:
    suppress = usual.suppress if rule.suppress is None else rule.suppress
    if _STRICTNESS.index(suppress) > _STRICTNESS.index(usual.suppress):
        raise ValueError(f"rule {rule.id} suppresses more than its class {rule.class_.value}")
    return msgspec.structs.replace(
        usual,
        suppress=suppress,
        slow=usual.slow if rule.slow is None else rule.slow,
        advice=rule.advice or usual.advice,
    )


def _whole(pattern: str) -> "re.Pattern[str] | None":
    return re.compile(rf"(?:{pattern})\Z") if pattern else None


def _anywhere(patterns: tuple[str, ...]) -> "re.Pattern[str] | None":
    return re.compile("|".join(f"(?:{one})" for one in patterns)) if patterns else None
