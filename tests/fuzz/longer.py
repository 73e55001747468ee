"""`python longer.py TARGET [options of libFuzzer]`: what script/fuzz calls."""

import os
import sys

import atheris

with atheris.instrument_imports(include=["mailstead"]):
    from targets import TARGETS, WORDS


def main() -> None:
    """Fuzz one target until libFuzzer ends the process."""
    name, *options = sys.argv[1:]
    file = os.memfd_create("words")  # libFuzzer ends the process: there is no time to tidy up
    os.write(file, "".join(map(_entry, WORDS)).encode())
    itself = f"{sys.executable} {sys.argv[0]} {name}"  # what -merge runs, by a shell
    atheris.Setup([itself, *options, f"-dict=/proc/self/fd/{file}"], TARGETS[name])
    atheris.Fuzz()


def _entry(word: bytes) -> str:
    """A line of libFuzzer's dictionaries."""
    octets = "".join(f"\\x{octet:02x}" for octet in word)
    return f'"{octets}"\n'


if __name__ == "__main__":
    main()
