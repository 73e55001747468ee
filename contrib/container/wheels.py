"""The wheels of a container: what the server needs to run, as requirements.lock pins it.

    wheels.py pin LOCK NAME...             prints the lock's lines for these packages alone
    wheels.py collect LOCK FOLDER WHAT...  fetches into FOLDER what WHAT and its wheels ask for

Tools of development, which the lock pins too, stay away. Every wheel is checked against the hashes
of the lock; nothing is built. `collect` needs the package `packaging`; WHAT may have its wheel in
FOLDER already.
"""

import email
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def main(arguments: list[str]) -> None:
    """One of the two."""
    match arguments:
        case ["pin", lock, *names]:
            sys.stdout.write(pin(Path(lock), names))
        case ["collect", lock, folder, *wanted]:
            collect(Path(lock), Path(folder), wanted)
        case _:
            sys.exit(__doc__)


def canonical(name: str) -> str:
    """The one spelling of a package's name."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pin(lock: Path, names: list[str]) -> str:
    """The entries of these packages, with their hashes; an end with a message if one is missing."""
    entries = read_entries(lock)
    missing = [name for name in names if canonical(name) not in entries]
    if missing:
        sys.exit(f"{lock} does not pin {', '.join(missing)}")
    return "".join(entries[canonical(name)] for name in names)


def read_entries(lock: Path) -> dict[str, str]:
    """Each package's lines: the requirement, and its hashes below it."""
    entries: dict[str, str] = {}
    name = ""
    for line in lock.read_text("utf-8").splitlines(keepends=True):
        if found := _NAME.match(line):
            name = canonical(found[0])
        if name:
            entries[name] = entries.get(name, "") + line
    return entries


def collect(lock: Path, folder: Path, wanted: list[str]) -> None:
    """Fetch wheel after wheel, until all have what they ask for."""
    asked: set[tuple[str, str]] = set()
    new = wanted
    while new:
        here = {canonical(path.name.split("-")[0]) for path in folder.glob("*.whl")}
        fetch(lock, folder, [name for name in map(name_of, new) if name not in here])
        new = [one for text in new for one in needs(folder, text, asked)]


def name_of(requirement: str) -> str:
    """The package that a requirement is about."""
    found = _NAME.match(requirement)
    assert found, requirement
    return canonical(found[0])


def fetch(lock: Path, folder: Path, names: list[str]) -> None:
    """Download these wheels; pip checks the hashes."""
    if not names:
        return
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as pinned:
        pinned.write(pin(lock, sorted(set(names))))
        pinned.flush()
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
        options = ["--require-hashes", "--only-binary", ":all:", "--no-deps", "--dest", str(folder)]
        subprocess.run([*pip, *options, "--requirement", pinned.name], check=True)


def needs(folder: Path, text: str, asked: set[tuple[str, str]]) -> list[str]:
    """What the package's wheel asks for, as far as it was not asked before."""
    from packaging.requirements import Requirement

    requirement = Requirement(text)
    found: list[str] = []
    for extra in ("", *sorted(requirement.extras)):
        if (key := (canonical(requirement.name), extra)) in asked:
            continue
        asked.add(key)
        for line in requires(folder, requirement.name):
            one = Requirement(line)
            if one.marker is None or one.marker.evaluate({"extra": extra}):
                extras = f"[{','.join(sorted(one.extras))}]" if one.extras else ""
                found.append(one.name + extras)
    return found


def requires(folder: Path, name: str) -> list[str]:
    """The requirements in the wheel's METADATA."""
    for path in folder.glob("*.whl"):
        if canonical(path.name.split("-")[0]) == canonical(name):
            with zipfile.ZipFile(path) as wheel:
                (metadata,) = (n for n in wheel.namelist() if n.endswith(".dist-info/METADATA"))
                fields = email.message_from_bytes(wheel.read(metadata))
                return [str(line) for line in fields.get_all("Requires-Dist", [])]
    return []


if __name__ == "__main__":
    main(sys.argv[1:])
