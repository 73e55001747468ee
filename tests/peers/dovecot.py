"""A Dovecot of a test's own on loopback, with Maildirs; it has to be root."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from .waiting import answers, free_port, wait_for

PROGRAMS = Path("/usr/lib/dovecot")


class Dovecot:
    """One protocol on one port; `users` are lines of a passwd-file, `more` is added as it is."""

    def __init__(self, folder: Path, protocol: str, users: str, more: str = "") -> None:
        shutil.rmtree(folder, ignore_errors=True)
        self.folder, self.port = folder, free_port()
        for name in ("run", "state", "mail"):
            (folder / name).mkdir(parents=True)
        shutil.chown(folder / "mail", "nobody")
        (folder / "users").write_text(users)
        path = folder / "dovecot.conf"
        path.write_text(self._settings(protocol) + more)
        self.process = subprocess.Popen(
            ["/usr/sbin/dovecot", "-F", "-c", path],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_for(lambda: answers("127.0.0.1", self.port), "Dovecot's start")

    def _settings(self, protocol: str) -> str:
        folder = self.folder
        service = {"imap": "imap-login"}.get(protocol, protocol)
        return f"""base_dir = {folder}/run
state_dir = {folder}/state
log_path = {folder}/log
protocols = {protocol}
listen = 127.0.0.1
ssl = no
disable_plaintext_auth = no
first_valid_uid = 1
mail_uid = nobody
mail_gid = nogroup
mail_location = maildir:{folder}/mail/%n
auth_username_format = %Ln
passdb {{
  driver = passwd-file
  args = username_format=%n {folder}/users
}}
userdb {{
  driver = passwd-file
  args = username_format=%n {folder}/users
  default_fields = uid=65534 gid=65534 home={folder}/mail/%n
}}
service {service} {{
  inet_listener {protocol} {{
    address = 127.0.0.1
    port = {self.port}
  }}
}}
"""

    def mail_of(self, name: str) -> list[bytes]:
        """What lies in an inbox."""
        new = self.folder / "mail" / name / "new"
        return [path.read_bytes() for path in new.iterdir()] if new.is_dir() else []

    def stop(self) -> None:
        """End it, and take its folder away."""
        self.process.terminate()
        self.process.wait(10)
        shutil.rmtree(self.folder, ignore_errors=True)


def need_dovecot(protocol: str, need: Callable[..., None], missing: Callable[[str], None]) -> None:
    """Skip without it, or where the test is not root; with CI=true its lack is a failure."""
    need("dovecot")
    if not (PROGRAMS / protocol).exists():
        missing(f"dovecot's {protocol}")
    if os.geteuid() != 0:
        pytest.skip("Dovecot needs root")
