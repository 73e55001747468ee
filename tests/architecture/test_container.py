"""contrib/Containerfile: every line is known, and agrees with what the server does by default.

script/ci-container reads the same lines with sed: what it could not read is refused here.
"""

import json
import re
import shlex
import tomllib
from pathlib import Path

import pytest

from mailstead.cli.main import main
from mailstead.cli.setup import SYSTEM_CONFIG, SYSTEM_DATABASE
from mailstead.server.config import Listen, parse_endpoint

ROOT = Path(__file__).parents[2]
STEPS = ROOT / "contrib/container/build-steps"
KNOWN = {
    "FROM", "WORKDIR", "COPY", "RUN", "ENV", "USER", "VOLUME", "EXPOSE",
    "STOPSIGNAL", "HEALTHCHECK", "ENTRYPOINT", "CMD",
}  # fmt: skip


def instructions() -> list[tuple[str, str]]:
    """Each line's instruction and its arguments; comments left out."""
    lines = (ROOT / "contrib/Containerfile").read_text("utf-8").splitlines()
    words = [line.split(maxsplit=1) for line in lines if line and not line.startswith("#")]
    return [(instruction, arguments) for instruction, arguments in words]


def all_of(instruction: str) -> list[str]:
    return [arguments for name, arguments in instructions() if name == instruction]


def only(instruction: str) -> str:
    (arguments,) = all_of(instruction)
    return arguments


def stages() -> list[list[tuple[str, str]]]:
    """The instructions of each image, FROM first."""
    found: list[list[tuple[str, str]]] = []
    for one in instructions():
        if one[0] == "FROM":
            found.append([])
        found[-1].append(one)
    return found


def test_every_instruction_is_known_and_on_one_line() -> None:
    assert {name for name, _ in instructions()} == KNOWN
    assert [text for _, text in instructions() if text.endswith("\\")] == []


def test_run_calls_the_steps_alone() -> None:
    verbs = re.findall(r"^  (\w+)\) \w+ ;;$", STEPS.read_text("utf-8"), re.M)
    ran = [shlex.split(arguments) for arguments in all_of("RUN")]
    assert [(Path(program).name, verb) for program, verb in ran] == [
        ("build-steps", verb) for verb in verbs
    ]


def test_what_is_copied_is_there() -> None:
    first, second = stages()
    assert first[0][1] == f"{second[0][1]} AS build"  # the same Python: the environment is copied
    copied = [arguments.split() for name, arguments in first if name == "COPY"]
    sources = [source for *names, _ in copied for source in names]
    assert [name for name in sources if not (ROOT / name).exists()] == []
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert {project["readme"], *project["license-files"], "src"} <= set(sources)
    assert "--from=build /opt/mailstead /opt/mailstead" in all_of("COPY")


def test_it_agrees_with_the_defaults() -> None:
    listen = Listen()
    served = {
        parse_endpoint(at).port
        for name in Listen.__struct_fields__
        for at in getattr(listen, name)
        if name != "operator"  # within the container alone
    }
    assert served == {int(port) for port in only("EXPOSE").split()}
    assert json.loads(only("VOLUME")) == [str(SYSTEM_CONFIG.parent), str(SYSTEM_DATABASE.parent)]
    assert f"MAILSTEAD_CONFIG={SYSTEM_CONFIG}" in only("ENV").split()
    assert only("USER") == "mailstead"
    assert only("STOPSIGNAL") == "SIGTERM"


@pytest.mark.parametrize("instruction", ["CMD", "HEALTHCHECK"])
def test_the_commands_exist(instruction: str) -> None:
    program = json.loads(only("ENTRYPOINT"))
    words = json.loads(only(instruction).rpartition("CMD ")[2])
    if instruction == "HEALTHCHECK":
        assert words[: len(program)] == program
        words = words[len(program) :]
    with pytest.raises(SystemExit) as end:
        main([*words, "--help"])
    assert end.value.code == 0


def test_what_builds_the_wheel_is_pinned() -> None:
    lock = (ROOT / "requirements.lock").read_text("utf-8")
    (names,) = re.findall(r"^    (hatchling .*) > ", STEPS.read_text("utf-8"), re.M)
    assert [name for name in names.split() if f"\n{name}==" not in lock] == []
