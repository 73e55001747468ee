"""What a reader sees of HTML, what is hidden from him, where its links go and what they say.

A scanner, no parser: tags are taken off one after the other, as a browser would for text alone.
Markup that is never closed goes to the end, as in a browser, so that no character is looked for
twice. Holds: never raises; time is linear in the text.
"""

import html
import re

import msgspec

LINK_LIMIT = 200  # links of one text
TRAIT_LIMIT = 100  # kinds of tags of one text
ANCHOR_LENGTH = 200  # characters of the text of a link that are looked at
_TAG_LIMIT = 1000  # characters of one tag that are looked at

# Tags that do not part a word: vi<b></b>agra is one.
_INLINE_TAGS = "a b i u em strong font span big small tt sub sup s strike mark ins del label wbr"
_INLINE = frozenset(_INLINE_TAGS.split())
_VOID_TAGS = "area base br col embed hr img input link meta param source track wbr"
# An element that is opened in itself was closed without saying so.
_IMPLIED = frozenset(("p", "li", "td", "th", "tr", "dt", "dd", "option"))
_RAW = frozenset(("script", "style", "title", "textarea", "noembed", "xmp"))
_UNHIDING = _RAW | frozenset(_VOID_TAGS.split())  # with nothing in them that could be hidden
# Most tags, and none of them leads anywhere.
_PLAIN_TAGS = "b i u em strong font span big small p br tr hr li ul ol center head html div"
_PLAIN = frozenset(_PLAIN_TAGS.split())

_MARKUP = re.compile(r"<(?:(/?)([A-Za-z][A-Za-z0-9:-]{0,20}+)([^>]*+)>?|(!--)|[!?/][^>]*+>?)")
_RAW_END = {name: re.compile(rf"</{name}\b", re.I) for name in _RAW}
_LINK = re.compile(r"\b(?:href|src|action|background)\s*+=\s*+[\"']?+([^\s\"'>]{4,500})", re.I)
_HIDING = re.compile(
    r"display\s*+:\s*+none|visibility\s*+:\s*+hidden|font-size\s*+:\s*+[01](?![0-9.])"
    r"|opacity\s*+:\s*+0(?![0-9.])|\shidden(?=[\s/=>]|\Z)",
    re.I,
)
# int() refuses numbers of thousands of digits; no character has more than seven.
_LONG_REFERENCE = re.compile(r"&#[0-9]{8,}+;?")


class Page(msgspec.Struct, frozen=True):
    """The text that is shown and that is hidden, the links, the names of the tags.

    `anchors` are links with the text that is shown for them; `cuts` counts comments in the middle
    of a word, which no reader sees.
    """

    shown: str
    hidden: str
    links: tuple[str, ...]
    traits: tuple[str, ...]
    anchors: tuple[tuple[str, str], ...] = ()
    cuts: int = 0


def read(text: str) -> Page:
    """The page that the HTML is."""
    return _Reader(text).read()


class _Reader:
    def __init__(self, text: str) -> None:
        self._text = text
        self._shown: list[str] = []
        self._hidden: list[str] = []
        self._into = self._shown
        self._links: list[str] = []
        self._anchors: list[tuple[str, str]] = []
        self._anchor = ""  # the link whose text is being read, and where that began
        self._anchor_start = 0
        self._traits: dict[str, None] = {}
        self._cuts = 0
        self._hider = ""  # the element that hides what is in it, and how deep it is in itself
        self._depth = 0

    def read(self) -> Page:
        """The whole text, once."""
        text, at, into, traits = self._text, 0, self._into, self._traits
        for found in _MARKUP.finditer(text):
            start, end = found.span()
            if start < at:  # in a comment, or in a script
                continue
            if start > at:
                into.append(text[at:start])
            closing, name, attributes, comment = found.groups()
            at = end
            if name:
                name = name.lower()
                if name not in _INLINE:
                    into.append(" ")
                if closing:
                    if name == self._hider or name == "a":
                        self._close(name)
                        into = self._into
                    continue
                if name not in traits and len(traits) < TRAIT_LIMIT:
                    traits[name] = None
                if len(attributes) > 1 or name == self._hider or name in _RAW:
                    at = self._open(name, attributes[:_TAG_LIMIT], end)
                    into = self._into
            elif comment:
                at = self._comment(start, end)
        into.append(text[at:])
        return Page(
            shown=_unescape("".join(self._shown)),
            hidden=_unescape("".join(self._hidden)),
            links=tuple(map(_unescape, self._links)),
            traits=tuple(self._traits),
            anchors=tuple(self._anchors),
            cuts=self._cuts,
        )

    def _comment(self, start: int, at: int) -> int:
        """Where it is over; "<!-->" is a whole one."""
        end = self._text.find("-->", at - 2)
        if end < 0:
            return len(self._text)
        around = self._text[start - 1 : start] + self._text[end + 3 : end + 4]
        self._cuts += len(around) == 2 and around.isalpha()
        return end + 3

    def _close(self, name: str) -> None:
        if name == self._hider:
            self._depth -= 1
            if not self._depth:
                self._hider, self._into = "", self._shown
        if name == "a" and self._anchor:
            self._end_anchor()

    def _open(self, name: str, attributes: str, end: int) -> int:
        """What the tag begins; where it is over."""
        if name == self._hider:
            self._depth += -1 if name in _IMPLIED else 1
            if not self._depth:
                self._hider, self._into = "", self._shown
        if len(attributes) > 1:
            self._attributes(name, attributes)
        return self._raw(name, end) if name in _RAW else end

    def _attributes(self, name: str, attributes: str) -> None:
        # Most attributes hide nothing, which is told without a pattern.
        if (
            not self._hider
            and name not in _UNHIDING
            and (":" in attributes or "idden" in attributes.lower())
            and _HIDING.search(attributes)
        ):
            self._hider, self._depth, self._into = name, 1, self._hidden
        if name in _PLAIN or len(self._links) >= LINK_LIMIT:
            return
        found = _LINK.findall(attributes)
        if found:
            self._links += found[: LINK_LIMIT - len(self._links)]
            if name == "a":
                self._anchor, self._anchor_start = found[0], len(self._shown)

    def _end_anchor(self) -> None:
        """Only a text that may be a name of a host is of interest."""
        text = "".join(self._shown[self._anchor_start : self._anchor_start + 20])[:ANCHOR_LENGTH]
        if "." in text:
            self._anchors.append((_unescape(self._anchor), _unescape(text)))
        self._anchor = ""

    def _raw(self, name: str, start: int) -> int:
        """Over what is no markup, and its end tag; only a title is text."""
        found = _RAW_END[name].search(self._text, start)
        end = found.start() if found else len(self._text)
        if name in ("title", "textarea"):
            self._into.append(self._text[start:end])
            self._into.append(" ")
        over = self._text.find(">", end)
        return len(self._text) if over < 0 else over + 1


def _unescape(text: str) -> str:
    if "&" not in text:
        return text
    return html.unescape(_LONG_REFERENCE.sub("\ufffd", text))
