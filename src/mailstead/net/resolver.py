"""The DNS as a stub resolver: dnspython's messages, our own sockets, a cache (RFC 1035, 2308).

Each question leaves from a socket and port of its own, with a random id; a truncated answer is
asked for again over TCP. Equal questions that are under way share one answer. The AD bit is
believed only from a resolver on loopback or one that the configuration calls trusted.
"""

import asyncio
import ipaddress
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import msgspec

from mailstead.model.dns import Answer, Question, Status
from mailstead.model.world import Clock, Endpoint, Network, Stream

TRY_TIMEOUT = 3.0  # seconds for one server
TRIES = 2  # rounds over all servers
UDP_PAYLOAD = 1232  # octets that survive every path (DNS flag day 2020)
TCP_LIMIT = 65_535
TTL_LIMIT = timedelta(hours=1)  # nothing is believed for longer
NEGATIVE_TTL_LIMIT = timedelta(minutes=5)
FAILURE_TTL = timedelta(seconds=5)  # a broken zone is not asked at every message
CACHE_LIMIT = 50_000  # answers
RECORDS_LIMIT = 500  # of one answer


class _Cached(msgspec.Struct, frozen=True):
    answer: Answer
    until: datetime


class StubResolver:
    """Asks the servers in their order."""

    def __init__(
        self, servers: list[Endpoint], network: Network, clock: Clock, trusted: bool = False
    ) -> None:
        self._servers, self._network, self._clock, self._trusted = servers, network, clock, trusted
        self._cache: dict[Question, _Cached] = {}
        self._under_way: dict[Question, asyncio.Future[Answer | None]] = {}

    async def ask(self, question: Question) -> Answer:
        """The answer; a failure is an answer too."""
        cached = self._cache.get(question)
        if cached is not None and cached.until > self._clock.now():
            return cached.answer
        running = self._under_way.get(question)
        if running is None:
            return await self._ask_for_all(question)
        answer = await asyncio.shield(running)
        # None: who asked went away meanwhile, which says nothing about the name.
        return answer if answer is not None else await self.ask(question)

    async def _ask_for_all(self, question: Question) -> Answer:
        future = asyncio.get_running_loop().create_future()
        self._under_way[question] = future
        answer: Answer | None = None
        try:
            answer, ttl = await self._look_up(question)
        finally:
            del self._under_way[question]
            future.set_result(answer)
        self._remember(question, answer, ttl)
        return answer

    def _remember(self, question: Question, answer: Answer, ttl: timedelta) -> None:
        if len(self._cache) >= CACHE_LIMIT:
            for old in list(self._cache)[: CACHE_LIMIT // 10]:
                del self._cache[old]
        self._cache[question] = _Cached(answer, self._clock.now() + ttl)

    async def _look_up(self, question: Question) -> tuple[Answer, timedelta]:
        try:
            query = dns.message.make_query(
                question.name, question.type, use_edns=0, payload=UDP_PAYLOAD
            )
        except dns.exception.DNSException:
            return Answer(Status.NXDOMAIN), FAILURE_TTL  # no such name can exist
        query.flags |= dns.flags.AD  # ask to be told (RFC 6840 section 5.7)
        last = Answer(Status.TIMEOUT)
        for server in self._servers * TRIES:
            response = await self._exchange(query, server)
            if response is not None:
                answer, ttl = self._read(question, response, server)
                if not answer.failed:
                    return answer, ttl
                last = answer
        return last, FAILURE_TTL

    async def _exchange(
        self, query: dns.message.Message, server: Endpoint
    ) -> dns.message.Message | None:
        """The server's response, or None if it gave none that can be used."""
        with suppress(OSError, TimeoutError, dns.exception.DNSException, EOFError):
            async with asyncio.timeout(TRY_TIMEOUT):
                response = await _over_udp(query, server)
                if response.flags & dns.flags.TC:
                    response = await self._over_tcp(query, server)
                return response
        return None

    async def _over_tcp(self, query: dns.message.Message, server: Endpoint) -> dns.message.Message:
        stream = await self._network.connect(server.address, server.port)
        try:
            wire = query.to_wire()
            stream.send(len(wire).to_bytes(2, "big") + wire)
            head = await _receive_at_least(stream, b"", 2)
            end = 2 + int.from_bytes(head[:2], "big")
            wire = (await _receive_at_least(stream, head, end))[2:end]
        finally:
            stream.abort()
        response = dns.message.from_wire(wire)
        if not query.is_response(response):
            raise EOFError("that answers another question")
        return response

    def _read(
        self, question: Question, response: dns.message.Message, server: Endpoint
    ) -> tuple[Answer, timedelta]:
        code = response.rcode()
        if code == dns.rcode.NXDOMAIN:
            return Answer(Status.NXDOMAIN, (), self._secure(response, server)), _negative_ttl(
                response
            )
        if code != dns.rcode.NOERROR:
            return Answer(Status.SERVFAIL), FAILURE_TTL
        try:
            records, ttl = _records(question, response)
        except dns.exception.DNSException:
            return Answer(Status.SERVFAIL), FAILURE_TTL
        answer = Answer(Status.NOERROR, records, self._secure(response, server))
        return answer, (ttl if records else _negative_ttl(response))

    def _secure(self, response: dns.message.Message, server: Endpoint) -> bool:
        believed = self._trusted or ipaddress.ip_address(server.address).is_loopback
        return believed and bool(response.flags & dns.flags.AD)


async def _receive_at_least(stream: Stream, have: bytes, count: int) -> bytes:
    """What we have, with more, until it is `count` octets or a few more."""
    while len(have) < count:
        data = await stream.receive()
        if not data:
            raise EOFError("the answer is cut off")
        have += data
        if len(have) > TCP_LIMIT + 2:
            raise EOFError("more than one answer")
    return have


class _Datagrams(asyncio.DatagramProtocol):
    """One question's socket: the first response that answers it counts."""

    def __init__(self, query: dns.message.Message) -> None:
        self.query = query
        self.response: asyncio.Future[dns.message.Message] = (
            asyncio.get_running_loop().create_future()
        )

    def datagram_received(self, data: bytes, addr: Any) -> None:
        """Something came in; what is not our answer is passed over."""
        with suppress(dns.exception.DNSException):
            response = dns.message.from_wire(data, ignore_trailing=True)
            if self.query.is_response(response) and not self.response.done():
                self.response.set_result(response)

    def error_received(self, exc: Exception) -> None:
        """Nobody listens there."""
        if not self.response.done():
            self.response.set_exception(exc)


async def _over_udp(query: dns.message.Message, server: Endpoint) -> dns.message.Message:
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_datagram_endpoint(
        lambda: _Datagrams(query), remote_addr=(server.address, server.port)
    )
    try:
        transport.sendto(query.to_wire())
        return await protocol.response
    finally:
        transport.close()


def _records(
    question: Question, response: dns.message.Message
) -> tuple[tuple[str, ...], timedelta]:
    """The records at the end of the CNAME chain, and for how long they hold."""
    if not isinstance(response, dns.message.QueryMessage):
        raise dns.exception.FormError
    chain = response.resolve_chaining()
    ttl = min(timedelta(seconds=chain.minimum_ttl), TTL_LIMIT)
    if chain.answer is None:
        return (), ttl
    records = [_text(question.type, record) for record in list(chain.answer)[:RECORDS_LIMIT]]
    return tuple(records), ttl


def _text(kind: str, record: Any) -> str:
    """A record in presentation form, names without the final dot, TXT joined."""
    if kind == "TXT":
        return b"".join(record.strings).decode("utf-8", "surrogateescape")
    if kind == "MX":
        return f"{record.preference} {_name(record.exchange)}"
    if kind in ("PTR", "CNAME", "NS"):
        return _name(record.target)
    return str(record.to_text())


def _name(name: Any) -> str:
    return str(name.to_text(omit_final_dot=True)).lower() or "."


def _negative_ttl(response: dns.message.Message) -> timedelta:
    """How long "there is none" holds (RFC 2308 section 5)."""
    for rrset in response.authority:
        if rrset.rdtype == dns.rdatatype.SOA:
            seconds = min(rrset.ttl, next(iter(rrset)).minimum)
            return min(timedelta(seconds=seconds), NEGATIVE_TTL_LIMIT)
    return FAILURE_TTL


def system_servers(path: Path = Path("/etc/resolv.conf")) -> list[Endpoint]:
    """The servers that resolv.conf names; the one on loopback if it names none."""
    found = []
    with suppress(OSError):
        for line in path.read_text("ascii", "replace").splitlines():
            words = line.split()
            if len(words) >= 2 and words[0] == "nameserver":
                found.append(Endpoint(words[1].partition("%")[0], 53))
    return found or [Endpoint("127.0.0.1", 53)]
