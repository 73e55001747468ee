"""Several IMAP clients on two mailboxes, in any order, against a model, on both databases.

    script/soak imap [--examples 2000]

Each example is 40 steps, other ones each time; what goes wrong is told as the shortest story that
does so. The model: tests/house/test_imap_model.py.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def main() -> int:
    """The exit code of pytest."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--examples", type=int, default=2000)
    options = parser.parse_args()
    environment = os.environ | {"MAILSTEAD_MODEL_EXAMPLES": str(options.examples)}
    test = ROOT / "tests" / "house" / "test_imap_model.py"
    run = [sys.executable, "-m", "pytest", "-x", str(test)]
    return subprocess.run(run, cwd=ROOT, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
