"""Who a command is, and what it says when the store cannot be opened."""

import os
import pwd
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

NOBODY = pwd.getpwnam("nobody")
CODE = """\
import os, sys
from pathlib import Path
from mailstead.server.privileges import become_service_user
from mailstead.model.errors import Refusal
from mailstead.server.config import Config
config = Config(hostname="mx.example.org", user=sys.argv[2], database=f"sqlite://{sys.argv[1]}")
try:
    become_service_user(config)
except Refusal as refusal:  # this Python may lie where only root reads; who we are stays changed
    assert "cannot read" in refusal.reason
print(*os.getresuid(), *os.getresgid(), *os.getgroups())
"""


def become(folder: Path, user: str) -> str:
    command = [sys.executable, "-c", CODE, str(folder / "mail.db"), user]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    return ran.stdout.strip()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_root_becomes_the_service_user_for_good(tmp_path: Path) -> None:
    os.chown(tmp_path, NOBODY.pw_uid, NOBODY.pw_gid)
    expected = [NOBODY.pw_uid] * 3 + [NOBODY.pw_gid] * 3
    assert " ".join(map(str, expected)) == become(tmp_path, "nobody")


@pytest.mark.parametrize("user", ["nobody", "no-such-user"])
def test_nobody_else_is_become(tmp_path: Path, user: str) -> None:
    """The folder is root's own, or the user does not exist, or it is not root who asks."""
    if user != "nobody" and os.geteuid() == 0:
        os.chown(tmp_path, NOBODY.pw_uid, NOBODY.pw_gid)
    who = [*os.getresuid(), *os.getresgid(), *os.getgroups()]
    assert " ".join(map(str, who)) == become(tmp_path, user)


def test_a_folder_that_cannot_be_made(mailstead: Any) -> None:
    text = mailstead.config.read_text()
    mailstead.config.write_text(text.replace("/data/mail.db", "/mailstead.toml/mail.db"))
    ran = mailstead("domain", "list")
    assert ran.code == 1
    assert "cannot open" in ran.err
