"""Small, and in reading order: the budget of functions and modules.

A function: aim at 6 lines, worry at 30, at most 60 (docstring not counted). A module: at most 600.
"""

import ast
from pathlib import Path

SOURCE = Path(__file__).parents[2] / "src/mailstead"
FUNCTION_LIMIT, MODULE_LIMIT = 60, 600
MEDIAN_LIMIT, P90_LIMIT = 8, 30

# What is longer, and why; the list only ever shrinks.
EXCEPTIONS: dict[str, str] = {}


def functions() -> list[tuple[int, str]]:
    """(lines without the docstring, where) of every function."""
    found = []
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                where = f"{path.relative_to(SOURCE)}:{node.name}"
                found.append((_lines(node), where))
    return sorted(found)


def _lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    lines = (node.end_lineno or node.lineno) - node.lineno + 1
    first = node.body[0]
    if ast.get_docstring(node, clean=False) is not None:
        lines -= (first.end_lineno or first.lineno) - first.lineno + 1
    return lines


def test_no_function_is_too_long() -> None:
    long = [(n, where) for n, where in functions() if n > FUNCTION_LIMIT]
    assert [one for one in long if one[1] not in EXCEPTIONS] == [], "take these functions apart"


def test_most_functions_are_small() -> None:
    lengths = [n for n, _ in functions()]
    assert lengths[len(lengths) // 2] <= MEDIAN_LIMIT, "the median function has grown"
    assert lengths[int(len(lengths) * 0.9)] <= P90_LIMIT, "one function in ten has grown too long"


def test_no_module_is_too_long() -> None:
    lengths = {
        str(path.relative_to(SOURCE)): len(path.read_text("utf-8").splitlines())
        for path in SOURCE.rglob("*.py")
    }
    long = {
        where: n for where, n in lengths.items() if n > MODULE_LIMIT and where not in EXCEPTIONS
    }
    assert long == {}, "a module of this size holds two things: part them"


def test_every_module_says_what_it_is() -> None:
    silent = [
        str(path.relative_to(SOURCE))
        for path in SOURCE.rglob("*.py")
        if ast.get_docstring(ast.parse(path.read_text("utf-8"))) is None
    ]
    assert silent == [], "a module opens like a manual page: give these a docstring"
