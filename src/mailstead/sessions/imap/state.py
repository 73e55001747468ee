"""What a session of IMAP is: the connection, who has logged in, which mailbox is selected.

Each group of commands is a file of functions that take this Session and a command. Holds: what is
written leaves in order; untagged changes go out before the tagged response that allows them.
"""

import asyncio
import enum
import logging
import ssl
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import timedelta
from functools import partial
from typing import TypeVar

import msgspec

from mailstead.model.errors import TemporaryFailure
from mailstead.model.numbers import MailboxId, Uid
from mailstead.model.world import Stream, World
from mailstead.protocol.imap import responses
from mailstead.protocol.imap.commands import NewMessage
from mailstead.protocol.imap.notification import levels
from mailstead.protocol.imap.numset import NUMBER_MAX
from mailstead.protocol.imap.server import ImapServer
from mailstead.services.accounts import Accounts, Login
from mailstead.services.authenticating import Authentication
from mailstead.services.doorkeeper import Doorkeeper, Guest
from mailstead.services.mailboxes.annotating import Digests
from mailstead.services.mailboxes.service import Mailboxes
from mailstead.services.watch import Watch
from mailstead.sessions.imap.notification import Notification
from mailstead.sessions.imap.sync import Manner, View, describe, flag_lists
from mailstead.sessions.pump import Output, Pace, Reader
from mailstead.storage.blobs import Gathering
from mailstead.storage.rights import Reached

T = TypeVar("T")

SEND_TIMEOUT = timedelta(minutes=5)  # a peer that takes nothing
AT_ONCE = 2000  # messages that something is done with in the loop: one or two milliseconds
READ_ONLY = "The mailbox is read-only"
NO_RIGHT = "You have no right to do that in this mailbox"

log = logging.getLogger("mailstead.imap")


class Door(msgspec.Struct, frozen=True):
    """How a listener is protected."""

    tls: ssl.SSLContext | None = None
    implicit_tls: bool = False
    clear_text_login: bool = False  # a loopback listener that allows it


class Site(msgspec.Struct, frozen=True):
    """What every session needs of the house."""

    hostname: str
    size_limit: int  # octets of a message
    world: World
    watch: Watch
    accounts: Accounts
    mailboxes: Mailboxes
    doorkeeper: Doorkeeper


class State(enum.Enum):
    """RFC 3501 section 3; the fourth, logout, is the end of the session."""

    STRANGER = enum.auto()
    AUTHENTICATED = enum.auto()
    SELECTED = enum.auto()


class Arrival(msgspec.Struct):
    """A message being appended; `header` gathers until it is complete, then `complete` is set."""

    message: NewMessage
    body: Gathering
    header: bytearray = msgspec.field(default_factory=bytearray)
    complete: bool = False


class Incoming(msgspec.Struct):
    """The messages of an APPEND, of which the last is coming in; why they cannot be kept."""

    target: Reached
    arrivals: list[Arrival]
    replaced: Uid | None = None  # of the selected mailbox: what goes when the message comes
    failure: str = ""
    refused: bool = False  # NUL, which BODY[] could not give back


TellNew = Callable[["Session", View, int], Awaitable[None]]


class Contexts(msgspec.Struct, frozen=True):
    """What is done for searches that are kept up to date."""

    expunged: Callable[[View, Sequence[int]], bytes]
    settle: TellNew


class Session:
    """One connection."""

    def __init__(
        self, stream: Stream, site: Site, door: Door, chores: asyncio.TaskGroup, guest: Guest
    ) -> None:
        self.stream, self.site, self.door = stream, site, door
        self.guest = guest  # a stranger, then the account
        self.pace, self.reader = Pace(), Reader()
        self.began = asyncio.get_running_loop().time()
        self.engine = ImapServer(append_limit=site.size_limit)
        self.output = Output(stream)
        self.login: Login | None = None
        self.view: View | None = None
        self.authentication: Authentication | None = None
        self.mechanisms: tuple[str, ...] = ()
        self.sasl_tag = b""
        self.incoming: Incoming | None = None
        self.idle_since: float | None = None
        self.client = ""  # what ID said
        self.compressed = False
        self.condstore = self.qresync = False  # what the client has enabled (RFC 7162)
        self.utf8_accept = self.rev2 = self.uidonly = False  # likewise (RFC 6855, 9051, 9586)
        self.annotated: dict[str, Digests] | None = None  # what the client of METADATA knows of
        self.errors = self.failed_logins = 0
        self.closing = False
        self.notification: Notification | None = None  # what NOTIFY asked for
        self._tell_new: TellNew | None = None
        self.contexts: Contexts | None = None
        self._own_names: set[str] = set()  # of mailboxes that a command of ours changed
        self._made: set[int] = set()  # UIDs in the selected mailbox of messages that came from us
        self._chores = chores

    @property
    def state(self) -> State:
        """Which commands are allowed."""
        if self.login is None:
            return State.STRANGER
        return State.AUTHENTICATED if self.view is None else State.SELECTED

    @property
    def owner(self) -> Login:
        """Who has logged in; for commands that are allowed only then."""
        assert self.login is not None
        return self.login

    @property
    def utf8(self) -> bool:
        """Whether the client takes names and headers in UTF-8."""
        return self.utf8_accept or self.rev2

    @property
    def selected(self) -> View:
        """The selected mailbox; for commands that are allowed only then."""
        assert self.view is not None
        return self.view

    # ------------------------------------------------------------------ out

    def write(self, data: bytes) -> None:
        """Some more of the answer."""
        self.output.write(data)

    async def flush(self) -> None:
        """Send what there is, and wait for a slow peer."""
        await self.output.flush(SEND_TIMEOUT)

    async def finish(
        self, tag: bytes, text: str, code: str = "", expunges: bool = True, uid: bool = False
    ) -> None:
        """The tagged OK, and before it what has changed in the mailbox.

        Without `expunges` nobody's message goes away now (RFC 3501 section 7.4.1).
        """
        if self.view is not None and self.view.dirty and self.hears:
            await self.sync(expunges, uid)
        if self.view is not None:  # what we changed ourselves
            await self._settle(self.view, NUMBER_MAX)
        await self.tell_annotations()
        self.write(responses.ok(tag, text, code))

    def refuse(self, tag: bytes, text: str, code: str = "") -> None:
        """The tagged NO."""
        self.write(responses.no(tag, text, code))

    def end(self, text: str, code: str = "") -> None:
        """Say BYE; the connection is closed when that has left."""
        if not self.closing:
            self.write(responses.bye(text, code))
            self.closing = True

    async def off_loop(self, messages: int, work: Callable[[], T]) -> T:
        """work(); on a thread if it is about so many messages that others would have to wait."""
        if messages > AT_ONCE:
            return await self.site.world.offload.run(work)
        return work()

    # ------------------------------------------------------------------ the selected mailbox

    async def sync(self, expunges: bool = True, uid: bool = False) -> None:
        """Tell what has changed in the selected mailbox since the client was last told."""
        await self.check_rights()
        if self.view is None:
            return
        view = self.view
        view.dirty = False
        before = view.contents.uids[-1] if view.contents.uids else 0
        update = await self.site.mailboxes.update(view.contents)
        if update is None:
            # RFC 2180 section 3.3: the mailbox is gone, and so is what we could talk about.
            self.leave()
            self.end("The selected mailbox has been deleted")
        elif update.changes.expunged and not expunges:
            view.dirty = True  # all of it later: sequence numbers must not shift now
        else:
            if view.contexts and self.contexts is not None:
                self.write(self.contexts.expunged(view, update.changes.expunged))
                view.touched.update(row.uid for row in update.changes.rows)
            count = len(update.changes.rows) + len(update.changes.expunged)
            tell = partial(describe, view, update, self.manner(uid))
            self.write(await self.off_loop(count, tell))
            if self._tell_new is not None:
                await self._tell_new(self, view, before)
            await self._settle(view, before)

    async def _settle(self, view: View, before: int) -> None:
        """Tell what has become of searches that are kept up to date."""
        if self.contexts is not None and view.touched:
            await self.contexts.settle(self, view, before)

    async def tell_annotations(self, told: bool = True) -> None:
        """Which annotations of the server and of the selected mailbox somebody else has changed.

        Only to who has enabled that (RFC 5464 section 4.4.2); of what was not looked at before,
        and without `told`, nothing.
        """
        before, annotations = self.annotated, self.site.mailboxes.annotations
        if before is None or self.login is None:
            return
        names = ["", *([] if self.view is None else [self.view.mailbox.name])]
        self.annotated = {
            name: await annotations.digests(self.login.account, name) for name in names
        }
        for name, now in self.annotated.items():
            known = before.get(name, now)
            changed = {entry for entry, _ in known.items() ^ now.items()}
            if changed and told:
                self.write(responses.metadata_changed(name, sorted(changed), self.utf8))

    @property
    def owns_selected(self) -> bool:
        """Whether the selected mailbox is one of the account's own."""
        return self.selected.mailbox.account == self.owner.account

    async def check_rights(self) -> None:
        """In somebody else's mailbox: look whether the rights are still the same.

        Who may no longer read it is sent away (RFC 4314 section 5.1.1).
        """
        view = self.view
        if view is None or self.owns_selected:
            return
        sharing = self.site.mailboxes.sharing
        rights = await sharing.rights_in(self.owner.account, view.mailbox.id)
        if "r" not in rights:
            self.leave()
            self.end("The selected mailbox is gone, or you may no longer read it")
        elif rights != view.rights:
            view.rights = rights
            self.write(flag_lists(view))

    def manner(self, uid: bool) -> Manner:
        """How changes are told; `uid`: the command was one with UIDs (RFC 7162 section 3.2.4).

        UIDs are always told in IMAP4rev2 (RFC 9051 appendix E, 21) and after NOTIFY (RFC 5465).
        """
        return Manner(
            uid or self.condstore or self.rev2 or self.notification is not None,
            modseq=self.condstore,
            vanished=self.qresync or self.uidonly,
            recent=not self.rev2,
            flags=self.notification is None or self.notification.flags,
            uidonly=self.uidonly,
        )

    def enable_condstore(self) -> None:
        """The client knows mod-sequences; what it first has to hear is the mailbox's (3.1)."""
        if not self.condstore:
            self.condstore = True
            if self.view is not None:
                self.write(responses.ok(responses.UNTAGGED, "Highest", highest(self.view)))

    def enter(self, view: View) -> None:
        """Select the mailbox."""
        self.leave()
        self.view = view
        self.site.watch.add(view.contents.mailbox, self.woken)
        self._take_recent(view)

    def leave(self) -> None:
        """Select no mailbox."""
        view, self.view = self.view, None
        if view is not None:
            self.site.watch.remove(view.contents.mailbox, self.woken)
            self._take_recent(view)

    def forget(self) -> None:
        """As if nobody had logged in; failed log-ins still count."""
        self.leave()
        self.silence()
        self.login = self.authentication = self.annotated = None
        self.condstore = self.qresync = False
        self.utf8_accept = self.rev2 = self.uidonly = False
        self.errors = 0
        self.began = asyncio.get_running_loop().time()
        self.engine.unauthenticated()

    def _take_recent(self, view: View) -> None:
        """What this session has been told is \\Recent is so to no other (RFC 3501 2.3.2).

        Written after the fact: two that come at the same time may both see it, which is allowed.
        """
        uids = view.contents.uids
        own = self.login is not None and view.mailbox.account == self.login.account
        if own and not view.read_only and uids and uids[-1] >= view.recent_to:
            view.recent_to = uids[-1] + 1
            mailbox = view.contents.mailbox
            self.later(lambda: self.site.mailboxes.take_recent(mailbox))

    def woken(self) -> None:
        """Something happened in the selected mailbox: look at the next occasion, or now in IDLE."""
        if self.view is not None:
            self.view.dirty = True
        if self.idle_since is not None or self.notification is not None:
            self.stream.wake()

    # ------------------------------------------------------------------ what NOTIFY asked for

    @property
    def hears(self) -> bool:
        """Whether the client wants to know what others do in the selected mailbox."""
        return self.notification is None or self.notification.selected is not None

    @property
    def selected_id(self) -> MailboxId | None:
        """The selected mailbox, if any."""
        return None if self.view is None else self.view.contents.mailbox

    def notify_as(self, found: Notification, tell_new: "TellNew") -> None:
        """From now on this is what the client wants to hear of."""
        self.silence()
        self.notification, self._tell_new = found, tell_new

    def silence(self) -> None:
        """Watch nothing but the selected mailbox."""
        if self.notification is not None:
            self.notification.close()
        self.notification = self._tell_new = None

    def stir(self) -> None:
        """Something happened in another mailbox."""
        self.stream.wake()

    def own_names(self, *names: str) -> None:
        """A command of ours is about these names: it is not told what becomes of them."""
        if self.notification is not None:
            for name in names:
                self._own_names.update(levels(name))

    def take_own_names(self) -> frozenset[str]:
        """Those of the commands since the last time."""
        names, self._own_names = frozenset(self._own_names), set()
        return names

    def note_made(self, mailbox: MailboxId, uids: Iterable[int]) -> None:
        """These messages came from us: they are not fetched as new ones."""
        if self.notification is not None and mailbox == self.selected_id:
            self._made.update(uids)

    def take_made(self) -> frozenset[int]:
        """Those of the commands since the last time."""
        made, self._made = frozenset(self._made), set()
        return made

    async def refresh(self) -> None:
        """Look at what has changed without telling; for a view that is about to be left."""
        update = await self.site.mailboxes.update(self.selected.contents)
        if update is None:
            self.leave()
        else:
            self.selected.contents = update.contents

    # ------------------------------------------------------------------ what nobody waits for

    def later(self, chore: Callable[[], Awaitable[None]]) -> None:
        """Do it beside what follows; the connection ends only after it."""
        guarded = _guard(chore)
        try:
            self._chores.create_task(guarded)
        except RuntimeError:  # the house closes, and all sessions with it
            guarded.close()


def highest(view: View) -> str:
    """The response code with the mod-sequence that the client is told up to (RFC 7162 3.1.2.1)."""
    return f"HIGHESTMODSEQ {view.contents.modseq}"


async def _guard(chore: Callable[[], Awaitable[None]]) -> None:
    try:
        await chore()
    except TemporaryFailure as failure:
        log.warning("a note about mail that was read is lost: %s", failure.reason)
    except Exception:
        log.exception("a chore of ours failed")
