"""What is odd about links: hosts that hide or pretend, and texts that name another host.

Holds: never raises; only hosts are told, never the rest of a link.
"""

import re
from collections.abc import Iterator

from mailstead.spam.lookalikes import Known, imitated, main_domain, mixes_scripts, readable
from mailstead.spam.names import Names
from mailstead.spam.sight import Link, Sight, parse_link

HOSTS_LIMIT = 10  # hosts of links that are compared with names that are known
ANCHOR_LIMIT = 50  # links whose text is compared with where they lead
MANY_HOSTS = 10  # domains that links lead to
_NUMBER_HOST = re.compile(r"(?:0x[0-9a-f]+|\d+)(?:\.(?:0x[0-9a-f]+|\d+)){0,3}\Z")
_TEXT_HOST = re.compile(
    r"\s*(?:https?://|www\.){1,2}([\w-]{1,63}(?:\.[\w-]{1,63}){1,5})(?=[\s/:?]|\Z)", re.I
)
_WEB = ("http", "https", "")
Found = Iterator[tuple[str, str]]


def of_links(sight: Sight, known: Known, names: Names) -> Found:
    """What is odd about the links of a message."""
    hosts: dict[str, None] = {}
    for link in sight.links:
        if link.scheme in _WEB:
            yield from _of_link(link, names)
            hosts.setdefault(link.host)
        elif link.scheme in ("javascript", "data", "vbscript"):
            yield "link-script", link.scheme
    if hosts:
        yield "link", ""
    if len({main_domain(host) for host in hosts}) > MANY_HOSTS:
        yield "link-many-hosts", str(len(hosts))
    for host in list(hosts)[:HOSTS_LIMIT]:
        if "." in host and not _NUMBER_HOST.match(host):
            yield from of_likeness(host, known, names, "link")
    for page in sight.pages:
        for link_, text in page.anchors[:ANCHOR_LIMIT]:
            yield from _of_anchor(link_, text)


def _of_link(link: Link, names: Names) -> Found:
    host = link.host
    if _NUMBER_HOST.match(host):
        yield "link-number", host
    if link.login:
        yield "link-login", host
    if link.port and link.port not in (":80", ":443", ":8080"):
        yield "link-port", f"{host}{link.port}"
    if "%" in host:
        yield "link-escaped", host
    if "xn--" in host or not host.isascii():
        written = readable(host)
        if any(map(mixes_scripts, written.split("."))):
            yield "link-mixed-scripts", written
        yield "link-foreign-letters", written
    if host in names.shorteners:
        yield "link-shortener", host
    if link.path and "http" in link.path and _REDIRECT.search(link.path):
        yield "link-redirects", host
    if link.path and _PROGRAM_LINK.search(link.path):
        yield "link-program", host


_REDIRECT = re.compile(r"https?(?::|%3a)(?:/|%2f){2}")
_PROGRAM_LINK = re.compile(r"\.(?:exe|scr|pif|bat|cmd|hta|jar|vbs|js|msi|iso)\Z")


def _of_anchor(target: str, text: str) -> Found:
    """A text that names one host, for a link that leads to another: phishing."""
    shown = _TEXT_HOST.match(text)
    if not shown or not _ends_like_a_host(shown[1]):
        return
    link = parse_link(target)
    if link is None or link.scheme not in ("http", "https") or "." not in link.host:
        return
    if main_domain(shown[1].lower()) != main_domain(link.host):
        yield "link-text-differs", f"{shown[1]} leads to {link.host}"


_TOP = re.compile(r"\.(?:com|net|org|gov|edu|info|biz|io|co|eu|[a-z]{2})\Z", re.I)


def _ends_like_a_host(name: str) -> bool:
    return _TOP.search(name) is not None


def of_likeness(domain: str, known: Known, names: Names, where: str) -> Found:
    """A domain that looks like one that the reader knows."""
    if domain in names.genuine or main_domain(domain) in names.genuine:
        return
    found = imitated(domain, known) or imitated(domain, names.known)
    if found is not None and main_domain(found.of) != main_domain(domain):
        kind = "looks-like" if found.exact else "is-nearly"
        yield f"{where}-{kind}", f"{readable(domain)} for {found.of}"
        return
    for word in main_domain(domain).partition(".")[0].split("-"):
        if len(word) > 3 and word != domain.partition(".")[0] and word in names.brands:
            yield f"{where}-borrows-name", domain
