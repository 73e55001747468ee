"""The operators' own code: one Python file that sees the evidence and may change the verdict.

    def judge(evidence: Evidence, verdict: Verdict, recipient: str) -> Verdict: ...

`mailstead filter code FILE` names it; it is loaded again when it changes. It runs on a thread, with
a time limit. Holds: whatever it does, no mail is lost: what raises, hangs or gives no Verdict is
told in the log, and the verdict stays as it was.
"""

import asyncio
import logging
import os
import stat
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from types import CodeType
from typing import Any

import msgspec

from mailstead.model.errors import Refusal
from mailstead.model.world import World
from mailstead.services.inbound.evidence import Evidence
from mailstead.services.inbound.policy import Action, Verdict
from mailstead.spam.score import Score
from mailstead.storage import switches
from mailstead.storage.store import Store

RUN_LIMIT = timedelta(seconds=5)
REMEMBERED = timedelta(minutes=1)  # so long until another file is seen; a change in it at once
SIZE_LIMIT = 1024 * 1024  # octets of the file
HANGS_LIMIT = 3  # times that it may hang before it is left out until it changes

Judge = Callable[[Evidence, Verdict, str], Verdict]

log = logging.getLogger("mailstead.filters")


class Loaded(msgspec.Struct, frozen=True):
    """The file as it was when it was read; without a judge it could not be used."""

    stamp: tuple[int, int]  # of the file: inode and time
    judge: Judge | None


class OwnCode:
    """Runs it, where there is one."""

    def __init__(self, store: Store, world: World) -> None:
        self._store, self._world = store, world
        self._path: tuple[datetime, str] | None = None
        self._loaded: Loaded | None = None
        self._hangs = 0

    async def review(
        self, evidence: Evidence, verdict: Verdict, recipient: str, score: Score
    ) -> Verdict:
        """The verdict as the operator wants it."""
        path = await self._find()
        judge = self._load(path) if path else None
        if judge is None:
            return verdict
        seen = msgspec.structs.replace(evidence, score=score)
        try:
            async with asyncio.timeout(RUN_LIMIT.total_seconds()):
                found = await self._world.offload.run(lambda: judge(seen, verdict, recipient))
        except TimeoutError:
            self._hangs += 1
            log.error("own-code-failed path=%s reason='it took too long'", path)
            return verdict
        except Exception:
            log.exception("own-code-failed path=%s", path)
            return verdict
        return checked(found, verdict, path)

    async def _find(self) -> str:
        now = self._world.clock.now()
        if self._path is None or self._path[0] <= now:
            path = await self._store.look_up(
                lambda tx: switches.find(tx, switches.CODE, switches.EVERYBODY)
            )
            self._path = (now + REMEMBERED, path)
        return self._path[1]

    def _load(self, path: str) -> Judge | None:
        try:
            about = os.stat(path)
            stamp = (about.st_ino, about.st_mtime_ns)
            if self._loaded is None or self._loaded.stamp != stamp:
                self._hangs, self._loaded = 0, Loaded(stamp, None)
                self._loaded = Loaded(stamp, load(Path(path)))
        except (Refusal, OSError) as error:
            if self._loaded is None or self._loaded.judge is not None:
                log.error("own-code-failed path=%s reason=%r", path, str(error))
            self._loaded = self._loaded or Loaded((0, 0), None)
            return None
        return None if self._hangs >= HANGS_LIMIT else self._loaded.judge


def checked(found: object, verdict: Verdict, path: str) -> Verdict:
    """What the code gave, if it is a verdict that can be carried out; else the one before."""
    needs_reply = (Action.DEFER, Action.REFUSE)
    if not isinstance(found, Verdict) or (found.action in needs_reply and found.reply is None):
        log.error(
            "own-code-failed path=%s reason='it gave no Verdict, or one without a reply'", path
        )
        return verdict
    return found


def load(path: Path) -> Judge:
    """The function `judge` of the file; Refusal says why it cannot be used."""
    try:
        about = path.stat()
        if not stat.S_ISREG(about.st_mode) or about.st_size > SIZE_LIMIT:
            raise Refusal(f"{path} is no file, or longer than {SIZE_LIMIT} octets")
        if about.st_mode & stat.S_IWOTH or about.st_uid not in (0, os.geteuid()):
            raise Refusal(f"{path} can be changed by others than root and this user: chmod, chown")
        code: CodeType = compile(path.read_bytes(), str(path), "exec")
    except (OSError, SyntaxError, ValueError) as error:
        raise Refusal(f"{path} cannot be used: {error}") from error
    names: dict[str, Any] = {"__name__": "mailstead_filter", "__file__": str(path)}
    try:
        exec(code, names)
    except Exception as error:
        raise Refusal(f"{path} fails when it is loaded: {error!r}") from error
    judge = names.get("judge")
    if not callable(judge):
        raise Refusal(f"{path} has no function judge(evidence, verdict, recipient)")
    return judge  # type: ignore[no-any-return]
