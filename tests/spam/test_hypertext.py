"""What is shown of HTML, what is hidden, and where its links go."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailstead.spam.hypertext import LINK_LIMIT, TRAIT_LIMIT, Page, read


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("plain", "plain"),
        ("a < b", "a < b"),
        ("<p>one<p>two", "one two"),
        ("vi<b></b>ag<!-- x -->ra", "viagra"),
        ("one<br>two<td>three", "one two three"),
        ("a &amp; b&nbsp;c &#100; &#x65;", "a & b\xa0c d e"),
        ("<script>if (a < b) x()</script>shown", "shown"),
        ("<STYLE>p {}</STYLE >shown", "shown"),
        ("<title>a <b> c</title>", "a <b> c"),
        ("<!-->shown<!-- -->", "shown"),
        ("<!doctype html><?xml?></>shown", "shown"),
        ("shown<!-- never closed", "shown"),
        ("shown<p never closed", "shown"),
        ("shown<script>never closed", "shown"),
        ("&#" + "9" * 5000 + ";", "\ufffd"),
        ("&#x110000;", "\ufffd"),
    ],
)
def test_shown(text, expected):
    assert read(text).shown.strip() == expected


@pytest.mark.parametrize(
    ("text", "shown", "hidden"),
    [
        ('<div style="display:none">secret</div>open', "open", "secret"),
        ("<div style='DISPLAY : NONE'>a<div>b</div>c</div>open", "open", "a b c"),
        ("<span style=visibility:hidden>secret</span>open", "open", "secret"),
        ('<font style="font-size:0px">secret</font>open', "open", "secret"),
        ('<font style="font-size:1.2em">open</font>', "open", ""),
        ('<p style="opacity:0">secret</p>open', "open", "secret"),
        ('<p style="opacity:0.8">open</p>', "open", ""),
        ("<p hidden>secret<p>open", "open", "secret"),
        ("<p class=hidden>open</p>", "open", ""),
        ('<img style="display:none">open', "open", ""),
        ("<div hidden>secret <b>too", "", "secret too"),
    ],
)
def test_hidden(text, shown, hidden):
    page = read(text)
    assert (" ".join(page.shown.split()), " ".join(page.hidden.split())) == (shown, hidden)


@pytest.mark.parametrize(
    ("text", "links"),
    [
        ('<a href="https://example.org/?a=1&amp;b=2">', ("https://example.org/?a=1&b=2",)),
        ("<A HREF = http://example.org>", ("http://example.org",)),
        ("<img src='cid:1@example.org' hidden>", ("cid:1@example.org",)),
        ("<form action=http://example.net/x><a name=x>", ("http://example.net/x",)),
        ("href=http://example.org", ()),
    ],
)
def test_links(text, links):
    assert read(text).links == links


def test_tags_once():
    assert read("<HTML><p>a</p><P><b></html>").traits == ("html", "p", "b")


def test_limits():
    page = read("".join(f"<x{n} href=http://{n}.example>" for n in range(1000)))
    assert (len(page.links), len(page.traits)) == (LINK_LIMIT, TRAIT_LIMIT)


@given(st.text(alphabet="<>/!-ab \"'=&#;9phidden:style", max_size=200))
def test_never_raises(text):
    page = read(text)
    assert isinstance(page, Page)
    assert len(page.shown) + len(page.hidden) <= 2 * len(text)


UNITS = """\
< </ <! <!-- <!--> --> <a <a/ <p> <script> <title> </title <div/hidden> <a/href= <a/href=' &#9 & "
"""


@pytest.mark.parametrize("unit", UNITS.split())
def test_linear(unit):
    text = unit * (400_000 // len(unit))
    start = time.process_time()
    read(text)
    assert time.process_time() - start < 3
