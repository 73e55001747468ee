"""Giving up root: after the ports are bound, and before anything of a stranger's is read."""

import os
import pwd

from mailstead.model.errors import Refusal
from mailstead.server.config import Config


def become_service_user(config: Config) -> None:
    """Give up root for the configured user, for good.

    Skipped if there is no such user, or if the folder of the database is root's own: then somebody
    runs all of it as root, and the service user could not even open the file.
    """
    if os.geteuid() != 0:
        return
    user = find_service_user(config)
    if user is None or not _exists_for_others(config):
        return
    os.setgroups([])
    os.setgid(user.pw_gid)
    os.setuid(user.pw_uid)
    _check_python(config.user)


def find_service_user(config: Config) -> pwd.struct_passwd | None:
    """The user that the server runs as, if the system knows it."""
    try:
        return pwd.getpwnam(config.user)
    except KeyError:
        return None


def _exists_for_others(config: Config) -> bool:
    try:
        return config.folder.stat().st_uid != 0
    except OSError:
        return False


def _check_python(user: str) -> None:
    """Python imports as it goes: an installation in root's home fails half-way for others."""
    for file in (os.__file__, __file__):
        try:
            open(file, "rb").close()
        except PermissionError as error:
            raise Refusal(
                f"the user {user} cannot read {file}: install Python and Mailstead where everybody"
                ' may read them, or set user = "root" in the configuration'
            ) from error
