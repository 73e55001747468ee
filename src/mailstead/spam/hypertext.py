"""What a reader sees of HTML, what is hidden from him, and where its links go.

A scanner, no parser: tags are taken off one after the other, as a browser would for text alone.
Markup that is never closed goes to the end, as in a browser, so that no character is looked for
twice. Holds: never raises; time is linear in the text.
"""

import html
import re

import msgspec

LINK_LIMIT = 200  # links of one text
TRAIT_LIMIT = 100  # kinds of tags of one text
_TAG_LIMIT = 1000  # characters of one tag that are looked at

# Tags that do not part a word: vi<b></b>agra is one.
_INLINE_TAGS = "a b i u em strong font span big small tt sub sup s strike mark ins del label wbr"
_INLINE = frozenset(_INLINE_TAGS.split())
_VOID_TAGS = "area base br col embed hr img input link meta param source track wbr"
_VOID = frozenset(_VOID_TAGS.split())
# An element that is opened in itself was closed without saying so.
_IMPLIED = frozenset(("p", "li", "td", "th", "tr", "dt", "dd", "option"))
_RAW = frozenset(("script", "style", "title", "textarea", "noembed", "xmp"))

_TAG = re.compile(r"<(/?)([A-Za-z][A-Za-z0-9:-]{0,20}+)")
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
    """The text that is shown and that is hidden, the links, the names of the tags."""

    shown: str
    hidden: str
    links: tuple[str, ...]
    traits: tuple[str, ...]


def read(text: str) -> Page:
    """The page that the HTML is."""
    return _Reader(text).read()


class _Reader:
    def __init__(self, text: str) -> None:
        self._text = text
        self._shown: list[str] = []
        self._hidden: list[str] = []
        self._links: list[str] = []
        self._traits: dict[str, None] = {}
        self._hider = ""  # the element that hides what is in it, and how deep it is in itself
        self._depth = 0

    def read(self) -> Page:
        """The whole text, once."""
        text, at = self._text, 0
        while (start := text.find("<", at)) >= 0:
            self._say(text[at:start])
            at = self._markup(start)
        self._say(text[at:])
        return Page(
            shown=_unescape("".join(self._shown)),
            hidden=_unescape("".join(self._hidden)),
            links=tuple(map(_unescape, self._links)),
            traits=tuple(self._traits),
        )

    def _say(self, text: str) -> None:
        (self._hidden if self._hider else self._shown).append(text)

    def _markup(self, start: int) -> int:
        """Takes off what begins here; where it is over."""
        if self._text.startswith("<!--", start):
            return self._behind("-->", start + 2)  # "<!-->" is a whole comment
        tag = _TAG.match(self._text, start)
        if tag is None:
            if self._text[start + 1 : start + 2] in ("!", "?", "/"):
                return self._behind(">", start)
            self._say("<")
            return start + 1
        end = self._behind(">", tag.end())
        name = tag[2].lower()
        self._tag(name, bool(tag[1]), self._text[tag.end() : min(end, tag.end() + _TAG_LIMIT)])
        if name in _RAW and not tag[1]:
            return self._raw(name, end)
        return end

    def _behind(self, mark: str, at: int) -> int:
        found = self._text.find(mark, at)
        return len(self._text) if found < 0 else found + len(mark)

    def _raw(self, name: str, start: int) -> int:
        """Over what is no markup; only a title is text."""
        found = _RAW_END[name].search(self._text, start)
        end = found.start() if found else len(self._text)
        if name in ("title", "textarea"):
            self._say(self._text[start:end])
        return end

    def _tag(self, name: str, closing: bool, attributes: str) -> None:
        if name not in _INLINE:
            self._say(" ")
        if name == self._hider:
            self._depth += -1 if closing or name in _IMPLIED else 1
            self._hider = name if self._depth else ""
        if closing:
            return
        if len(self._traits) < TRAIT_LIMIT:
            self._traits.setdefault(name)
        if not attributes.strip("/> "):
            return
        if not self._hider and name not in _VOID and _HIDING.search(attributes):
            self._hider, self._depth = name, 1
        if len(self._links) < LINK_LIMIT:
            self._links += _LINK.findall(attributes)[: LINK_LIMIT - len(self._links)]


def _unescape(text: str) -> str:
    if "&" not in text:
        return text
    return html.unescape(_LONG_REFERENCE.sub("\ufffd", text))
