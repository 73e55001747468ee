"""What is odd about a message, or what speaks for it: the facts that rules give weights to.

Each feature has a name and, where that helps a reader, a detail; rules.toml says what it weighs
and what it means. Facts that the message itself does not hold come as Circumstances.
Not here: weights (rules), what was learnt (bayes), files (attachments), links (links).
Holds: never raises; time is linear in what `sight` left of the message; a detail has addresses,
hosts and counts, and no content of the message, since it is kept.
"""

import re
from collections.abc import Iterator
from datetime import datetime, timedelta

import msgspec

from mailstead.message.addresses import HeaderAddress, mailboxes
from mailstead.message.dates import parse_date
from mailstead.message.header import decode
from mailstead.spam.attachments import of_attachments
from mailstead.spam.links import of_likeness, of_links
from mailstead.spam.lookalikes import Known, know, main_domain, mixes_scripts, skeleton
from mailstead.spam.names import Names
from mailstead.spam.sight import FIELD_LIMIT, PART_LIMIT, Sight

DETAIL_LIMIT = 100  # characters of one detail

NOBODY = know(())
Features = dict[str, str]  # name -> detail
Found = Iterator[tuple[str, str]]


class Circumstances(msgspec.Struct, frozen=True):
    """What is known about a message from elsewhere; what is empty is not known.

    The results are the words of RFC 8601; `known` are names that may be imitated beyond those
    everybody knows: domains hosted here, and those of people one writes to.
    """

    now: datetime | None = None
    spf: str = ""
    dkim: str = ""
    dmarc: str = ""
    reverse_path: str | None = None
    known: Known = NOBODY


NOTHING_KNOWN = Circumstances()


def features(sight: Sight, circumstances: Circumstances, names: Names) -> Features:
    """All that was found, the first detail of each."""
    found: Features = {}
    for step in (
        _of_fields(sight, circumstances.now),
        _of_people(sight, circumstances, names),
        _of_subject(sight),
        _of_programs(sight),
        _of_pages(sight),
        of_attachments(sight, names),
        of_links(sight, circumstances.known, names),
        _of_circumstances(circumstances),
    ):
        for name, detail in step:
            found.setdefault(name, detail[:DETAIL_LIMIT])
    return found


# ---------------------------------------------------------------------- header

DAYS_AHEAD = timedelta(days=1)  # that a Date may be ahead of us: time zones, wrong clocks
DAYS_BEHIND = timedelta(days=15)  # queues give up before
MANY_RECIPIENTS = 20
_LONE = ("from", "date", "subject", "message-id", "to", "reply-to", "mime-version")


def _of_fields(sight: Sight, now: datetime | None) -> Found:
    values = sight.values
    if "date" not in values:
        yield "date-missing", ""
    elif (date := parse_date(values["date"][0])) is None:
        yield "date-odd", decode(values["date"][0])
    elif now is not None and date > now + DAYS_AHEAD:
        yield "date-ahead", decode(values["date"][0])
    elif now is not None and date < now - DAYS_BEHIND:
        yield "date-behind", decode(values["date"][0])
    if "message-id" not in values:
        yield "message-id-missing", ""
    elif not _MESSAGE_ID.match(values["message-id"][0]):
        yield "message-id-odd", decode(values["message-id"][0])
    for name in _LONE:
        if len(values.get(name, ())) > 1:
            yield "field-twice", name
    for name in ("subject", "from", "to"):
        if name in values and not values[name][0].isascii() and not _is_utf8(values[name][0]):
            yield "field-raw", name
    if sum(map(len, values.values())) >= FIELD_LIMIT:
        yield "fields-many", f"{FIELD_LIMIT} or more"
    if len(sight.parts) >= PART_LIMIT:
        yield "parts-many", f"{PART_LIMIT} or more"
    if "mime-version" not in values and "content-type" in values:
        yield "mime-version-missing", ""


_MESSAGE_ID = re.compile(rb"<[^<>@\s]{1,400}@[^<>@\s]{1,400}>\Z")


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode("utf-8")
    except UnicodeDecodeError:
        return len(value) > 990  # it may be cut
    return True


def _of_people(sight: Sight, circumstances: Circumstances, names: Names) -> Found:
    if not sight.authors:
        yield (
            ("from-odd", decode(sight.first("from")))
            if sight.first("from")
            else (
                "from-missing",
                "",
            )
        )
        return
    author = sight.authors[0]
    domain = _domain_of(author)
    if not _NAME.match(domain):
        yield "from-odd", author.addr_spec
    yield from _of_name(author, domain, names)
    yield from of_likeness(domain, circumstances.known, names, "from")
    if domain in names.freemail:
        yield "from-freemail", domain
    if _DIGITS.search(decode(author.local_part[:64])):
        yield "from-digits", author.addr_spec
    yield from _of_reply_to(sight, author, domain, names)
    yield from _of_recipients(sight, author)
    path = circumstances.reverse_path
    if path and main_domain(path.rpartition("@")[2].lower()) != main_domain(domain):
        yield "path-elsewhere", path


_NAME = re.compile(r"[\w-]{1,63}(?:\.[\w-]{1,63}){1,10}\Z|\[[0-9a-fA-F.:]{3,60}\]\Z")
_DIGITS = re.compile(r"\d{4,}[a-z]*\Z|[a-z]\d+[a-z]+\d+[a-z]*\d", re.I)
_ADDRESS = re.compile(r"[\w.+-]{1,64}@([\w-]{1,63}(?:\.[\w-]{1,63}){1,5})")


def _domain_of(author: HeaderAddress) -> str:
    return decode(author.domain).lower().rstrip(".")


def _of_name(author: HeaderAddress, domain: str, names: Names) -> Found:
    """The name beside the address of From: what most clients show of it."""
    name = author.display_name[:200]
    if not name:
        yield "from-nameless", ""
        return
    shown = _ADDRESS.search(name)
    if shown and main_domain(shown[1].lower()) != main_domain(domain):
        yield "from-shows-another", shown[0]
    if mixes_scripts(name) or any(map(mixes_scripts, name.split())):
        yield "from-mixed-scripts", ""
    for word in _PLAIN_WORD.findall(name)[:10]:
        brand = names.brands.get(skeleton(word))
        if brand is not None and not names.is_of(brand, domain):
            yield "from-claims-name", f"{brand} from {domain}"


_PLAIN_WORD = re.compile(r"[^\W_]{3,30}")


def _of_reply_to(sight: Sight, author: HeaderAddress, domain: str, names: Names) -> Found:
    value = sight.first("reply-to")
    if not value:
        return
    found = mailboxes(value)
    if not found:
        yield "reply-to-odd", decode(value)
        return
    elsewhere = _domain_of(found[0])
    if main_domain(elsewhere) == main_domain(domain):
        return
    yield "reply-to-elsewhere", found[0].addr_spec
    if elsewhere in names.freemail:
        yield "reply-to-freemail", found[0].addr_spec


_UNDISCLOSED = re.compile(r"undisclosed|unlisted|recipient", re.I)


def _of_recipients(sight: Sight, author: HeaderAddress) -> Found:
    value = sight.first("to")
    if not value and not sight.first("cc"):
        yield "to-missing", ""
        return
    found = mailboxes(value)
    if not found and _UNDISCLOSED.search(decode(value)):
        yield "to-undisclosed", ""
    if len(found) >= MANY_RECIPIENTS:
        yield "to-many", str(len(found))
    if len(found) == 1 and found[0].addr_spec.lower() == author.addr_spec.lower():
        yield "to-is-from", author.addr_spec
    if found and not found[0].domain:
        yield "to-odd", ""


# ---------------------------------------------------------------------- subject

_FEW_LETTERS = 8  # of which capitals say nothing
_REPLY = re.compile(r"(?:re|aw|sv|antw)\s*:", re.I)
_GAP = re.compile(r"\s{6,}\S{2,}\s*\Z")
_SPACED = re.compile(r"(?:\b[^\W\d_][ ._*-]){4,}")
_MARKED = re.compile(r"!!|\?\?|\$\$|[!?]\s*[!?]|\*\*|~~|>>")
_MONEY = re.compile(r"[$€£]\s?\d|\d\s?%|\bfree\b|\bcash\b|\bmillions?\b", re.I)
_FANCY = re.compile("[\u2460-\u24ff\U0001d400-\U0001d7ff\U0001f110-\U0001f189\uff01-\uff5e]{2}")


def _of_subject(sight: Sight) -> Found:
    subject = sight.subject[:500]
    if not subject.strip():
        yield "subject-empty", ""
        return
    letters = sum(map(str.isalpha, subject))
    if letters >= _FEW_LETTERS and sum(map(str.isupper, subject)) * 4 >= letters * 3:
        yield "subject-capitals", ""
    if _MARKED.search(subject):
        yield "subject-marks", ""
    if _MONEY.search(subject):
        yield "subject-money", ""
    if _GAP.search(subject):
        yield "subject-gap", ""
    if _SPACED.search(subject):
        yield "subject-spaced", ""
    values = sight.values
    if _REPLY.match(subject) and "references" not in values and "in-reply-to" not in values:
        yield "subject-fake-reply", ""
    raw = sight.first("subject")
    if b"=?" in raw and subject.isascii() and b"?utf-8?" not in raw.lower():
        yield "subject-needless-code", ""
    if not subject.isascii():
        yield from _of_letters(subject, "subject")


def _of_letters(text: str, where: str) -> Found:
    """Letters that are chosen so that people read one thing, and programs another."""
    if _HIDDEN_LETTER.search(text):
        yield f"{where}-silent-letters", ""
    if _FANCY.search(text):
        yield f"{where}-fancy-letters", ""
    if "\u202e" in text:
        yield f"{where}-turned", ""
    if _GREEK_OR_CYRILLIC.search(text) and any(map(mixes_scripts, _MIXED.findall(text)[:20])):
        yield f"{where}-mixed-scripts", ""


# Between letters of scripts that have no use for such marks.
_HIDDEN_LETTER = re.compile(
    "[\u00ad\u200b-\u200d\u2060\ufeff](?<=[A-Za-z\u00c0-\u024f\u0400-\u04ff].)"
    "(?=[A-Za-z\u00c0-\u024f\u0400-\u04ff])"
)
_GREEK_OR_CYRILLIC = re.compile("[\u0370-\u058f]")
_MIXED = re.compile("\\b(?=\\w*[a-zA-Z])(?=\\w*[\u0370-\u058f])\\w{3,30}")


# ---------------------------------------------------------------------- programs and lists


def _of_programs(sight: Sight) -> Found:
    values = sight.values
    mailer = sight.first("x-mailer")
    if "x-mimeole" not in values and _OUTLOOK.search(mailer):
        yield "mailer-forged", decode(mailer)
    if mailer and _BULK_MAILER.search(mailer):
        yield "mailer-bulk", decode(mailer)
    if "x-priority" in values and values["x-priority"][0][:1] in (b"1", b"2"):
        yield "priority-high", ""
    is_list = "list-id" in values or "list-post" in values
    if is_list:
        yield "list", ""
    if "list-unsubscribe" in values:
        yield "list-unsubscribe", ""
    if "in-reply-to" in values or "references" in values:
        yield "reply", ""
        if _REPLY.match(sight.subject) or any(text.startswith(">") for text in sight.texts):
            yield "reply-quotes", ""
    if "user-agent" in values:
        yield "user-agent", ""
    for value in values.get("received", [])[:4]:
        clause = value.partition(b" by ")[0]
        if b"may be forged" in clause:
            yield "received-forged", decode(clause)
        if _LITERAL_HELO.match(clause):
            yield "received-literal", decode(clause)


_OUTLOOK = re.compile(rb"Microsoft Outlook(?: Express|,)")  # they name their MIME engine, too
_BULK_MAILER = re.compile(
    rb"bulk|mass ?mail|the bat!|group ?mail|stealth|advanced mail|jmail", re.I
)
_LITERAL_HELO = re.compile(rb"from \[?\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}\]?[ (]")


# ---------------------------------------------------------------------- text and HTML

SHORT_TEXT = 200  # characters that are little text for a page with pictures
HIDDEN_TEXT = 40  # characters of hidden text that are no preview line of a newsletter
_SCRIPTING = ("script", "iframe", "object", "embed", "applet")


def _of_pages(sight: Sight) -> Found:
    html = [page for page in sight.pages if page.traits]
    plain = any(page.shown.strip() for page in sight.pages if not page.traits)
    if html and not plain:
        yield "html-only", ""
    if not sight.pages:
        yield "text-missing", ""
    elif not html and not plain:
        yield "text-empty", ""
    for page in html:
        shown = len(page.shown)
        if "img" in page.traits and shown < SHORT_TEXT:
            yield "html-picture-only", str(shown)
        if len(page.hidden.strip()) > HIDDEN_TEXT:
            yield "html-hidden-text", f"{len(page.hidden.strip())} characters"
        if page.cuts:
            yield "html-cut-words", str(page.cuts)
        for trait in _SCRIPTING:
            if trait in page.traits:
                yield "html-script", trait
        if "form" in page.traits or "input" in page.traits:
            yield "html-form", ""
        if not page.traits or page.traits[0] not in ("html", "!doctype", "head", "meta"):
            yield "html-fragment", ""
    yield from _of_text(sight)


SHOUTED_WORDS = 15  # in capitals, and at least every sixth
TEXT_LOOKED_AT = 4000  # characters of one part


def _of_text(sight: Sight) -> Found:
    for page, text in zip(sight.pages, sight.texts, strict=True):
        if not text.isascii():
            yield from _of_letters(page.shown[:TEXT_LOOKED_AT], "text")
        words = page.shown[:TEXT_LOOKED_AT].split()
        shouted = sum(map(str.isupper, words))
        if shouted >= SHOUTED_WORDS and shouted * 6 >= len(words):
            yield "text-shouts", ""
    root = sight.parts[0]
    for part in sight.parts:
        if part.type == "text" and part.encoding == "base64" and part is root:
            yield "text-in-base64", ""


# ---------------------------------------------------------------------- circumstances

_RESULTS = frozenset(("pass", "fail", "softfail", "none", "permerror"))


def _of_circumstances(known: Circumstances) -> Found:
    for method, result in (("spf", known.spf), ("dkim", known.dkim), ("dmarc", known.dmarc)):
        if result in _RESULTS:
            yield f"{method}-{result}", ""
