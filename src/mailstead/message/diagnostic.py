"""A server's words as people and reports quote them, read back into a reply. Pure.

A Diagnostic-Code field (RFC 3464 section 2.3.6), a line of a bounce in plain text, or what somebody
typed: "smtp; 550-5.7.1 no 550 5.7.1 really", "host mx said: 550 5.1.1 ...", "5.2.2 Mailbox full".
Holds: never raises; what has no code at all has code 0; at most DIAGNOSTIC_LIMIT characters count.
"""

import re

from mailstead.model.reply import Reply

DIAGNOSTIC_LIMIT = 2000  # characters of a diagnostic that are looked at
_SAID_WITHIN = 400  # characters before "said:"; host and address of the peer stand there

_TYPE = re.compile(r"\s{0,20}[A-Za-z][\w.-]{0,40};")
_SAID = re.compile(
    r"(?:said|talk to me|reason|returned|response|was|>|\]|\)):?\s{1,20}['\"]?(?=[45]\d\d[ -])"
    r"|[\s'\"<#](?=[45]\d\d[ -](?:[45]\d\d )?[45]\.\d{1,3}\.\d)",
    re.I,
)
_CODE = re.compile(r"[ <'\"#]{0,5}([2-5]\d\d)(?:[ -]|\Z)")
_ENHANCED = re.compile(r"[ (#]{0,3}([245]\.\d{1,3}\.\d{1,3})(?!\.?\d)[),:]?(?:[ -]|\Z)")
_STATUS = re.compile(r"[245]\.\d{1,3}\.\d{1,3}\Z")
# The codes that begin the further lines of a reply, where the lines were joined.
_INNER = re.compile(r"(?:(?<=\s)|(?<=\A))[45]\d\d[ -](?:[45]\.\d{1,3}\.\d{1,3}(?=\s) ?)?")
_IN_REPLY_TO = re.compile(r"\s*\(in reply to [\w ]{1,40}\)\s*\Z")


def read_reply(words: str, status: str = "") -> Reply:
    """The reply that the words quote; `status` ("5.1.1") helps where they have no code."""
    text = " ".join(words[:DIAGNOSTIC_LIMIT].split())
    if kind := _TYPE.match(text):
        text = text[kind.end() :].lstrip()
    if not _CODE.match(text) and (said := _SAID.search(text, 0, _SAID_WITHIN)):
        text = text[said.end() :]
    text = _IN_REPLY_TO.sub("", text)
    code, text = _take(_CODE, text)
    while code and (again := _CODE.match(text)) and again[1] == code:
        text = text[again.end() :]  # "552 552 5.3.4": quoted by one who quotes
    enhanced, text = _take(_ENHANCED, text)
    if not enhanced and _STATUS.match(status) and not status.endswith(".0.0"):
        enhanced = status
    return Reply(_number(code, enhanced or status), enhanced, join_lines(text))


def join_lines(text: str) -> str:
    """The text of a reply on one line, without the codes that its lines began with."""
    return _INNER.sub("", text).strip()


def _take(pattern: "re.Pattern[str]", text: str) -> tuple[str, str]:
    match = pattern.match(text)
    return (match[1], text[match.end() :]) if match else ("", text)


def _number(code: str, status: str) -> int:
    """The reply code, or the plainest one that goes with the status."""
    if code:
        return int(code)
    return {"5": 550, "4": 450, "2": 250}.get(status[:1], 0)
