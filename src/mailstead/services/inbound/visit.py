"""A Visit: one SMTP connection, and what has been learned in it so far.

Owns: who may come in, and what becomes of the message. On the submission ports only who has logged
in may send, as an address of their own. Which recipients are taken is said in taking.
Holds: a 2xx to the end of a message means that it is on disk (RFC 5321 section 6.1).
"""

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec

from mailstead.model.address import Address
from mailstead.model.entries import AnyEntry, Completed, Connected, Refused
from mailstead.model.envelope import NO_WISH, Wish
from mailstead.model.errors import Refusal, TemporaryFailure
from mailstead.model.numbers import OrganisationId
from mailstead.model.reply import Reply
from mailstead.model.world import Endpoint
from mailstead.msgauth.dkim.canonical import BodyHash
from mailstead.protocol.smtp import replies
from mailstead.protocol.smtp.events import Helo, Mail
from mailstead.services import leaving, submission
from mailstead.services.accounts import Login
from mailstead.services.delivery import success
from mailstead.services.delivery.plan import (
    NO_STREAM,
    InStream,
    Message,
    compose_plan,
    mailboxes_of,
)
from mailstead.services.delivery.recipients import Found
from mailstead.services.delivery.relaying import UNKNOWN
from mailstead.services.filters.asking import Scanned
from mailstead.services.filters.letter import NO_CHANGES, Letter
from mailstead.services.inbound import returned, scanning, sealing, suspicion, taking
from mailstead.services.inbound.caller import Caller
from mailstead.services.inbound.evidence import Client
from mailstead.services.inbound.manners import Manners
from mailstead.services.inbound.returned import CameHome
from mailstead.services.inbound.screening import (
    Arrived,
    Screened,
    Screening,
)
from mailstead.services.inbound.site import Role, Site
from mailstead.services.inbound.trace import Hop, goes_in_circles, received, with_protocol
from mailstead.services.leaving import Leaving
from mailstead.services.limits import UNKNOWN_LIMIT, UNKNOWN_RATE, unit_of
from mailstead.services.tracing import message_id, new_trace
from mailstead.storage.blobs import Gathering
from mailstead.storage.plan import Body, JournalRow, Step, Wrote

_NO_ENVELOPE = Mail(None)
log = logging.getLogger("mailstead.inbound")

FUTURE_RELEASE_LIMIT = timedelta(days=90)  # RFC 4865: how far ahead a message may be submitted
PATIENCE = 4  # recipients that do not exist, until a stranger has to wait for each further answer
TARPIT_SECONDS = 10  # that it waits at most
RECIPIENTS_LIMIT = 200  # of one message; RFC 5321 section 4.5.3.1.8 asks for at least 100


class Visit:
    """What the engine's events mean. Each method gives the reply for the peer."""

    def __init__(
        self, site: Site, role: Role, peer: Endpoint, caller: Caller | None = None
    ) -> None:
        self.site, self.role, self.peer = site, role, peer
        self.tls = ""
        self.login: Login | None = None
        self.screening: Screening | None = None
        self.failure: TemporaryFailure | None = None  # of the spool, told at the message's end
        self.body: Gathering | None = None  # from the end of the header on
        self.body_hash: BodyHash | None = None
        self.helo_event: Helo | None = None
        self.relays = role is Role.MX and site.doorkeeper.may_relay(peer.address)
        self.unknown = 0  # recipients
        self.caller = caller or self._caller()
        self.stranger = site.doorkeeper.stranger(peer.address)
        self.forget()

    def _caller(self) -> Caller | None:
        """Who brings mail that is looked at; None for our own people and machines."""
        address = self.peer.address
        if self.role is not Role.MX or self.relays or self.site.doorkeeper.is_ours(address):
            return None
        return Caller(address, self.site.lists, self.site.world.resolver)

    @property
    def busy(self) -> bool:
        """A transaction is under way."""
        return self.envelope is not _NO_ENVELOPE

    # ------------------------------------------------------------------ the dialogue

    def helo(self, event: Helo, tls: str) -> None:
        """The peer said who it is."""
        self.helo_event, self.tls = event, tls

    async def mail(self, event: Mail) -> Reply:
        """MAIL FROM: a new transaction."""
        self.forget()
        self.trace = new_trace(self.site.world)
        if event.size is not None and event.size > self.site.size_limit:
            return self._refuse("mail", replies.TOO_BIG, event.reverse_path)
        if self.role is Role.SUBMISSION and (no := await self._check_sender(event.reverse_path)):
            return self._refuse("mail", no, event.reverse_path)
        if event.release and event.release.due(self._now()) > self._now() + FUTURE_RELEASE_LIMIT:
            return replies.RELEASE_TOO_FAR
        self.envelope = event
        if self.caller is not None:
            self.caller.learn()
        return replies.SENDER_OK

    async def rcpt(self, recipient: Address, wish: Wish = NO_WISH) -> Reply:
        """RCPT TO: taken only if it leads somewhere."""
        if len(self.recipients) >= RECIPIENTS_LIMIT:
            return replies.TOO_MANY_RECIPIENTS
        if self._has_harvested():
            return replies.TOO_MANY_UNKNOWN
        if self.unknown >= PATIENCE and self.stranger:
            await self._keep_waiting()
        found = await self._look_up(recipient)
        if found in _NOBODY_HERE and self.role is not Role.LMTP:
            sender = self.login.organisation if self.login else None
            found = await self.site.relays.find(recipient, sender) or found
        if isinstance(found, Found) and found.leaves:
            found = await self._may_leave(found)
        if isinstance(found, Reply):
            self._count_unknown(found)
            return self._refuse("rcpt", found, self.envelope.reverse_path, recipient)
        if wish is not NO_WISH:
            found = msgspec.structs.replace(found, wish=wish)
        self.recipients.append(found)
        return replies.RECIPIENT_OK

    def header(self, header: bytes) -> None:
        """The header is complete."""
        self.header_octets = header
        self.body = Gathering(self.site.spool, self.site.budget)
        if self.login is not None or self.relays:  # it may be signed
            self.body_hash = BodyHash()
        elif self.caller is not None:
            helo = self.helo_event.name if self.helo_event else ""
            client = Client(self.peer.address, helo, str(self.envelope.reverse_path or ""))
            self.screening = Screening(self.site, self.caller, client, header)
            if sealing.may_be_sealed(self.recipients):
                self.body_hash = BodyHash()

    def chunk(self, data: bytes) -> None:
        """A piece of the body; where it cannot be kept, the message is put off at its end."""
        if self.failure is not None or self.body is None:
            return
        try:
            self.body.add(data)
        except TemporaryFailure as failure:
            self.failure = failure
        if self.body_hash is not None:
            self.body_hash.add(data)
        if self.screening is not None:
            self.screening.add(data)

    async def end(self) -> Reply:
        """Keep the message for each recipient, or refuse it."""
        if self.failure is not None:
            raise self.failure
        began, story = self._now(), self._story()
        stream = await self._check_header(story)
        if isinstance(stream, Reply):
            return self._refuse("data", stream, self.envelope.reverse_path)
        body: Body = (self.body or Gathering(self.site.spool)).finish()
        screened = await self._screen(story, body)
        scanned = screened.scanned if screened else await self._scan(story, body)
        if no := screened.refusal if screened else scanning.refusal_of(scanned):
            return self._refuse("data", no, self.envelope.reverse_path, story=story)
        body = await self._change(scanned, body)
        if not self.recipients:
            return self._refuse("data", scanning.NOBODY, self.envelope.reverse_path, story=story)
        header = self._stamp() + await self._complete(story)
        if screened:
            header = await self._seal(screened.stamp(header), screened)
        message = self._message(header, body, stream, screened)
        home = await self._come_home(message)
        plan = compose_plan(message, home.recipients, story, self._now(), await self._key())
        plan = msgspec.structs.replace(
            plan, steps=(*plan.steps, *home.steps, *self._count()), rows=home.rows
        )
        try:
            await self.site.store.apply(plan)
        except Refusal as refusal:  # the account or mailbox went away since RCPT
            return Reply(451, "4.2.1", f"Not now: {refusal.reason}")
        self.site.watch.wake(mailboxes_of(plan))
        if message.release or any(found.elsewhere for found in self.recipients):
            self.site.watch.wake_queue()
        if (asked := success.wanted(self.recipients)) and not message.release:
            origin = success.Origin(self.site.hostname, new_trace(self.site.world), self._now())
            await success.tell(self.site.store, self.site.watch, message, asked, origin)
        self.forget()
        self.site.meter.observe("answer_seconds", (self._now() - began).total_seconds())
        return Reply(250, "2.0.0", f"OK, kept as {message.trace}")

    def forget(self) -> None:
        """The transaction is over, or was given up."""
        self.envelope = _NO_ENVELOPE
        self.recipients: list[Found] = []
        self.leaving: list[Leaving] = []  # those among them that somebody of ours writes to
        self.header_octets = b""
        self.failure = None
        self.body = None  # its memory goes back at once
        self.body_hash = None
        if self.screening is not None:
            self.screening.close()
        self.screening = None

    def leave(self) -> None:
        """The connection is over."""
        self.forget()
        if self.caller is not None:
            self.caller.close()

    async def end_each(self) -> list[Reply]:
        """The same with a reply for each recipient: who has no room any more is put off alone."""
        taken = self.recipients
        again = await taking.find_again(self._asker(), taken)
        self.recipients = []
        for found, now in zip(taken, again, strict=True):
            if isinstance(now, Reply):
                self._refuse("data", now, self.envelope.reverse_path, found.address)
            else:
                self.recipients.append(found)
        kept = await self.end() if self.recipients else None
        self.forget()
        return [now if isinstance(now, Reply) else kept or replies.LOCAL_ERROR for now in again]

    # ------------------------------------------------------------------ steps

    async def _screen(self, story: list[AnyEntry], body: Body) -> Screened | None:
        """What is known of the message, and what follows; None for mail that is not judged."""
        if self.screening is None:
            return None
        helo = self.helo_event.name if self.helo_event else ""
        pipelined = self.caller is not None and self.caller.pipelined
        arrived = Arrived(self._stamp(), body.view(), self.trace, Manners(helo, pipelined))
        letter = self._letter(body)
        screened = await self.screening.finish(self.recipients, arrived, letter)
        story += screened.entries
        if screened.proven:
            self.site.doorkeeper.welcome(self.peer.address)
        self.recipients = screened.recipients
        return screened

    async def _scan(self, story: list[AnyEntry], body: Body) -> Scanned:
        """What other programs and the filter say of mail that our own people send."""
        leaves = self.login is not None or self.relays
        if self.login is not None and self.leaving:
            octets = body.view()
            judged = await suspicion.judge(
                self.site, self.login, self.recipients, self.header_octets, octets
            )
            self.recipients = judged.recipients
            story += judged.entries
        if not leaves or not await self.site.filters.in_use("out"):
            return Scanned(self.header_octets)
        scanned = await self.site.filters.ask(self._letter(body), "out")
        story += scanned.entries
        self.recipients = scanning.held(scanned, self.recipients)
        return scanned

    async def _change(self, scanned: Scanned, body: Body) -> Body:
        """Do what other programs changed; the body as it is now."""
        changes = scanned.changes
        self.header_octets = scanned.header
        if changes is NO_CHANGES:
            return body
        self.recipients = await scanning.change_recipients(changes, self.recipients, self._look_up)
        path = scanning.change_path(changes, self.envelope.reverse_path)
        self.envelope = msgspec.structs.replace(self.envelope, reverse_path=path)
        if changes.body is None:
            return body
        if self.body_hash is not None:
            self.body_hash = BodyHash()
            for piece in changes.body.parts():
                self.body_hash.add(piece)
        return changes.body

    def _letter(self, body: Body) -> Letter:
        """The message as other programs see it."""
        return Letter(
            trace=self.trace,
            hostname=self.site.hostname,
            peer=self.peer,
            name="",
            helo=self.helo_event.name if self.helo_event else "",
            tls=self.tls,
            login=self.login.login if self.login else "",
            reverse_path=str(self.envelope.reverse_path or ""),
            recipients=tuple(str(found.address) for found in self.recipients),
            header=self.header_octets,
            body=body,
        )

    async def _seal(self, header: bytes, screened: Screened) -> bytes:
        """The header with an ARC seal, where what is forwarded gets one."""
        if self.body_hash is None or self.login is not None or self.relays:
            return header
        digest, now = self.body_hash.finish(), self._now()
        found = self.recipients
        return await sealing.seal(self.site, found, header, digest, screened.evidence, now) + header

    def _has_harvested(self) -> bool:
        """Too many recipients that do not exist: whether the next one does is not told."""
        if self.login is not None or self.relays:
            return False
        doorkeeper = self.site.doorkeeper
        if self.unknown < UNKNOWN_LIMIT and not doorkeeper.has_harvested(self.stranger):
            return False
        reply, unit = str(replies.TOO_MANY_UNKNOWN), unit_of(self.peer.address)
        doorkeeper.refuse(UNKNOWN_RATE.name, unit, "rcpt", reply, str(self.peer))
        return True

    async def _keep_waiting(self) -> None:
        """Who guesses names waits for each answer, before anybody looks whether there is one."""
        place = self.site.doorkeeper.keep_waiting()
        if place is None:
            return
        try:
            wait = min(self.unknown - PATIENCE + 1, TARPIT_SECONDS)
            await self.site.world.clock.sleep(timedelta(seconds=wait))
        finally:
            place.leave()

    def _count_unknown(self, reply: Reply) -> None:
        known = self.login is not None or self.role is Role.LMTP
        if reply in (replies.UNKNOWN_RECIPIENT, UNKNOWN) and not known:
            self.unknown += 1
            self.site.doorkeeper.unknown_recipient(self.peer.address)

    async def _key(self) -> bytes:
        """The key for return paths, where something is forwarded."""
        forwards = any(found.forwarded and found.elsewhere for found in self.recipients)
        return await self.site.return_paths.key() if forwards else b""

    async def _check_sender(self, reverse_path: Address | None) -> Reply | None:
        if self.login is None:
            return replies.AUTH_REQUIRED
        if reverse_path is None or await self._owns(reverse_path):
            return None
        return replies.SENDER_NOT_OWNED

    async def _check_header(self, story: list[AnyEntry]) -> InStream | Reply:
        """The stream that the message is in, or why it cannot be taken."""
        if goes_in_circles(self.header_octets, [found.address for found in self.recipients]):
            return replies.LOOP
        if self.role is Role.SUBMISSION and (
            no := await submission.check_author(self.header_octets, self._owns)
        ):
            return no
        return await self._find_stream(story)

    async def _find_stream(self, story: list[AnyEntry]) -> InStream | Reply:
        """RCPT knew the stream of the account; the header may name another."""
        usual = self.leaving[0].stream if self.leaving else ""
        name = (self.login is not None and leaving.named_stream(self.header_octets)) or usual
        if self.login is None or not name or not self.leaving:
            return NO_STREAM
        organisation = self.login.organisation
        author = submission.author_domain(self.header_octets, self.login.login)
        stream = await self.site.store.look_up(
            lambda tx: leaving.find_stream(tx, organisation, name, author)
        )
        if isinstance(stream, InStream) and name != usual:
            return await self._leave_out(stream, story)
        return stream

    async def _leave_out(self, stream: InStream, story: list[AnyEntry]) -> InStream | Reply:
        """Without those that the stream does not write to; a refusal if nobody is left."""
        going = [one.found for one in self.leaving]
        out = await self.site.store.read(lambda tx: leaving.suppressed_in(tx, going, stream.name))
        addresses = {found.address for found, _ in out}
        self.leaving = [one for one in self.leaving if one.found.address not in addresses]
        self.recipients = [one for one in self.recipients if one.address not in addresses]
        if out and not self.recipients:
            return out[0][1]
        story += [self._refused("data", reply, found.address) for found, reply in out]
        return stream

    async def _may_leave(self, found: Found) -> Found | Reply:
        """A look-up of its own: each is one trip to the database."""
        account = self.login.account if self.login else None
        answer = await self.site.store.look_up(
            lambda tx: leaving.may_leave(tx, found, account, self.leaving)
        )
        if isinstance(answer, Leaving):
            self.leaving.append(answer)
            return found
        if answer.limit and self.login:
            unit, reply = self.login.login.encode(), str(answer.reply)
            about = f"{self.peer} {self.login.login}"
            self.site.doorkeeper.refuse(answer.limit, unit, "rcpt", reply, about)
        return answer.reply

    def _count(self) -> tuple[Step, ...]:
        """What the message counts for among the limits of its account."""
        if self.login is None or not self.leaving:
            return ()
        recipients = tuple(str(one.found.address) for one in self.leaving)
        strangers = sum(one.stranger for one in self.leaving)
        return (Wrote(self.login.account, recipients, strangers),)

    async def _come_home(self, message: Message) -> CameHome:
        """What a bounce or a complaint says about mail that we sent."""
        if self.login is not None or not returned.concerns(message.header, self.recipients):
            return CameHome(self.recipients)
        store, sender = self.site.store, message.reverse_path
        octets = message.body.view()
        return await returned.take(store, self.recipients, message.header, octets, sender)

    async def _owns(self, address: Address) -> bool:
        return self.login is not None and await self.site.accounts.may_send_as(self.login, address)

    async def _complete(self, story: list[AnyEntry]) -> bytes:
        """The header, in submission with what was missing and signed."""
        author = self.login.login if self.login else self._relaying_sender()
        if not author:
            return self.header_octets
        done = submission.complete(
            self.header_octets, author, self.site.hostname, self.trace, self._now()
        )
        body_hash = self.body_hash or BodyHash()
        done = await self.site.signing.sign(done, body_hash.finish())
        if done.changes:
            story.append(Completed(at=self._now(), changes=done.changes))
        return done.header

    async def _look_up(self, recipient: Address) -> Found | Reply:
        return await taking.find_recipient(self._asker(), recipient)

    def _asker(self) -> taking.Asker:
        path = self.envelope.reverse_path
        return taking.Asker(self.site, self.login, self.relays, path)

    def _relaying_sender(self) -> str:
        """Who sends what a listed network relays; "" for all other mail."""
        relayed = any(found.rule == "relay_from" for found in self.recipients)
        return str(self.envelope.reverse_path) if relayed else ""

    def _stamp(self) -> bytes:
        """The Received field of this visit."""
        helo = self.helo_event
        protocol = with_protocol(
            helo is not None and helo.extended,
            bool(self.tls),
            self.login is not None,
            self.envelope.smtputf8,
            self.role is Role.LMTP,
        )
        one = self.recipients[0].address if len(self.recipients) == 1 else None
        return received(
            Hop(
                helo="" if self.login or not helo else helo.name,
                address="" if self.login else self.peer.address,
                hostname=self.site.hostname,
                protocol=protocol,
                trace=self.trace,
                recipient=one,
                at=self._now(),
            )
        )

    def _message(
        self, header: bytes, body: Body, stream: InStream, screened: Screened | None
    ) -> Message:
        return Message(
            trace=self.trace,
            reverse_path=self.envelope.reverse_path,
            header=header,
            body=body,
            body_type=self.envelope.body_type,
            smtputf8=self.envelope.smtputf8,
            sender=self.login.account if self.login else None,
            message_id=message_id(header),
            envid=self.envelope.envid,
            ret=self.envelope.ret,
            tls=submission.tls_wish(header, self.envelope.require_tls),
            release=self.envelope.release,
            stream=stream,
            genuine=screened is not None and screened.genuine,
        )

    def _story(self) -> list[AnyEntry]:
        helo = self.helo_event.name if self.helo_event else ""
        return [
            Connected(
                at=self._now(),
                peer=str(self.peer),
                role=self.role.value,
                helo=helo,
                tls=self.tls,
                login=self.login.login if self.login else "",
            )
        ]

    def _refuse(
        self,
        stage: str,
        reply: Reply,
        reverse_path: Address | None,
        recipient: Address | None = None,
        story: Sequence[AnyEntry] = (),
    ) -> Reply:
        refused = self._refused(stage, reply, recipient, reverse_path)
        entries = (*(story or self._story()), refused)
        row = JournalRow(self.trace, OrganisationId(0), entries, arrival=True)
        self.site.store.note(row)
        return reply

    def _refused(
        self,
        stage: str,
        reply: Reply,
        recipient: Address | None = None,
        reverse_path: Address | None = None,
    ) -> Refused:
        return Refused(
            at=self._now(),
            stage=stage,
            reply=str(reply),
            recipient=str(recipient or ""),
            reverse_path=str(reverse_path or ""),
        )

    def _now(self) -> datetime:
        """The time."""
        return self.site.world.clock.now()


# What is said of an address that leads nowhere here; it may belong to a domain we relay for.
_NOBODY_HERE = (
    replies.UNKNOWN_RECIPIENT,
    replies.RELAY_DENIED,
    replies.RELAY_SENDER_DENIED,
)
