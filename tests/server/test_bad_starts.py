"""A server that cannot start says why, in sentences."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.loopback
def test_what_is_no_database_is_said_without_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "mailstead.db").write_bytes(b"this is a letter to my aunt, and no database" * 100)
    config = tmp_path / "mailstead.toml"
    config.write_text(
        f"""hostname = "mx.example.test"
database = "sqlite://{tmp_path}/mailstead.db"
[listen]
smtp = []
submission = []
submissions = []
imap = []
imaps = []
pop3 = []
pop3s = []
operator = []
"""
    )
    run = subprocess.run(
        [sys.executable, "-m", "mailstead", "--config", str(config), "serve"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert run.returncode == 1
    assert "Traceback" not in run.stderr
    assert f"{tmp_path}/mailstead.db is not a database of ours" in run.stderr
