"""`mailstead check config`: what is wrong, in which line, and what to do."""

from collections.abc import Callable
from typing import Any

import pytest

GOOD = 'hostname = "mx.example.org"\n'


def check(shell: Any, text: str) -> tuple[int, list[dict[str, Any]]]:
    """Exit code and problems of a configuration."""
    data = shell.folder / "data"
    shell.config.write_text(text.replace("DATA", str(data)), "utf-8")
    ran = shell("check", "config", "--json")
    return ran.code, ran.json()["problems"]


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        (GOOD + "\nhostnam = 1\n", 3, "did you mean hostname?"),
        (GOOD + "[limits]\nmessage_sizes = 1\n", 3, "did you mean limits.message_size?"),
        (GOOD + "database = \n", 2, "Invalid value"),
        ('\nhostname = "a b"\n', 2, "is no domain name"),
        (GOOD + '[listen]\nimap = ["x"]\n', 3, "is not host:port"),
        (GOOD + '[listen]\nimap = "x"\n', 3, "Expected `array`"),
        (GOOD + '[listen]\nlmtp = ["[::1]:25"]\n', 3, "RFC 2033 section 5"),
        (GOOD + '[limits]\nmessage_size = "big"\n', 3, "is no size"),
        (GOOD + 'database = "postgres"\n', 2, "is neither sqlite:///path"),
        (GOOD + 'database = "sqlite:///nonexistent/m.db"\n', 2, "/nonexistent does not exist"),
        (GOOD + '[tls]\ncertificates = [["/x"]]\n', 3, "length 2"),
        ("", 0, "hostname"),
    ],
)
def test_problems(mailstead: Any, text: str, line: int, problem: str) -> None:
    code, problems = check(mailstead, text)
    assert code == 1
    assert [line] == [one["line"] for one in problems]
    assert problem in problems[0]["problem"]


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ('[tls]\ncertificates = [["/no/cert", "/no/key"]]\n', 4, "No such file"),
        ('[tls]\ncertificates = [["EMPTY", "EMPTY"]]\n', 4, "cannot be used"),
        ('[smarthost]\nhost = "x.example"\npassword_file = "/no/word"\n', 5, "No such file"),
        ('[tls]\nca_file = "/no/ca"\n', 4, "No such file"),
        ('[tls]\nca_file = "EMPTY"\n', 4, "is no PEM file of certificates"),
        ('[smarthost]\nhost = "x.example"\nlogin = "me"\n', 5, "without a password_file"),
        ('catch_outside = "nobody"\n', 3, "has no @"),
    ],
)
def test_files_that_are_named(
    mailstead: Any, write_file: Callable[[str, str], str], text: str, line: int, problem: str
) -> None:
    empty = write_file("empty.pem", "")
    head = GOOD + 'database = "sqlite://DATA/mail.db"\n'
    code, problems = check(mailstead, head + text.replace("EMPTY", empty))
    assert code == 1
    assert line == problems[0]["line"]
    assert problem in problems[0]["problem"]
    assert problems[0]["next"]


def test_all_is_well(mailstead: Any) -> None:
    assert check(mailstead, GOOD + 'database = "sqlite://DATA/mail.db"\n') == (0, [])
    assert "is good" in mailstead("check", "config").out


def test_for_people(mailstead: Any) -> None:
    mailstead.config.write_text(GOOD + "x = 1\n")
    ran = mailstead("check", "config")
    assert ran.code == 1
    assert ran.out.startswith(f"{mailstead.config}:2: there is no setting x")


def test_no_file(fresh: Any) -> None:
    ran = fresh("check", "config")
    assert (ran.code, "mailstead setup" in ran.out) == (1, True)
