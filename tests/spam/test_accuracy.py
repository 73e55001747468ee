"""The program that measures the filter, on a corpus that a child would part."""

import subprocess
import sys
import tarfile
from pathlib import Path

PROGRAM = Path(__file__).parents[2] / "tools/spamaccuracy.py"
PERFECT = """\
learning alone: ROC area 1.00000
  spam caught at 0.1% of ham lost: 100.0%
  spam caught at 0.2% of ham lost: 100.0%
  spam caught at 0.5% of ham lost: 100.0%
  ham lost at 95% of spam caught: 0.00%
  ham lost at 97% of spam caught: 0.00%
"""


def corpus(folder: Path) -> list[Path]:
    """Eight messages of each kind."""
    folders = [folder / "ham", folder / "spam"]
    for kind, text in zip(folders, ("minutes of the meeting", "cheap pills"), strict=True):
        kind.mkdir(parents=True)
        for number in range(8):
            (kind / f"{number}.eml").write_text(f"Subject: {text}\n\nmessage {number}, {text}\n")
    return folders


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, PROGRAM, *arguments, "--folds", 2]
    return subprocess.run(list(map(str, words)), capture_output=True, text=True, check=False)


def test_two_folders(tmp_path):
    found = run(*corpus(tmp_path))
    assert found.stdout.startswith("judged: 4 ham, 4 spam (report)\n"), found.stderr
    assert PERFECT in found.stdout


def test_archive(tmp_path):
    with tarfile.open(tmp_path / "corpus.tar.xz", "w:xz") as archive:
        for folder in corpus(tmp_path / "files"):
            archive.add(folder, folder.name)
    found = run(tmp_path / "corpus.tar.xz")
    assert found.stdout.startswith("judged: 4 ham, 4 spam (report)\n"), found.stderr
    assert PERFECT in found.stdout


def test_nothing_to_judge(tmp_path):
    ham, _ = corpus(tmp_path / "files")
    found = run(ham, tmp_path / "nowhere")
    assert (found.returncode, found.stdout) == (2, "")
    assert found.stderr.endswith("error: each folder needs two messages at least\n")
