"""Listeners: which port speaks what, and a task for each connection.

Sockets are bound before anything else happens, so that a port that is taken is said at once.
"""

import asyncio
import ipaddress
import logging
import resource
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from mailstead.model.world import Endpoint, Stream
from mailstead.net.proxied import read_header
from mailstead.net.stream import SocketNetwork, bind
from mailstead.net.tls import TlsStream
from mailstead.server import acme, operator, policy_host
from mailstead.server.config import Config, parse_endpoint
from mailstead.server.wiring import House
from mailstead.services.inbound.site import Role
from mailstead.services.limits import Network, is_within, parse_networks
from mailstead.sessions import smtp
from mailstead.sessions.imap import session as imap_session
from mailstead.sessions.imap import state as imap
from mailstead.sessions.pop3 import session as pop3_session
from mailstead.sessions.pop3 import state as pop3

CONNECTIONS_LIMIT = 20_000  # of one process
FILES_RESERVE = 500  # descriptors for everything that is no connection
HTTP = "http"  # the setting of the address where ACME servers fetch their proofs
OPERATOR = "operator"  # the setting of the address with the metrics, which needs no TLS

WITH_LOGIN = ("submission", "submissions", "imap", "imaps", "pop3", "pop3s")

log = logging.getLogger("mailstead.listeners")

Serve = Callable[[Stream], Awaitable[None]]


class Contexts(msgspec.Struct, frozen=True):
    """TLS for those who come from anywhere, and for those who may log in by a certificate."""

    plain: ssl.SSLContext
    asking: ssl.SSLContext


class Bound(msgspec.Struct, frozen=True):
    """A socket that listens, and what it is for."""

    name: str
    endpoint: Endpoint
    sock: socket.socket


def bind_all(config: Config, shared: bool) -> list[Bound]:
    """Every socket of the configuration; OSError, with the address, if one cannot be had.

    `shared` sockets may be bound several times: the kernel spreads connections over them.
    """
    bound: list[Bound] = []
    for name in (*PROTOCOLS, OPERATOR):
        if name == HTTP and not needs_http(config):
            continue
        for text in getattr(config.listen, name):
            endpoint = parse_endpoint(text)
            sock = bind(endpoint.address, endpoint.port, shared)
            bound.append(Bound(name, endpoint, sock))
    return bound


def needs_http(config: Config) -> bool:
    """Whether we answer ACME's questions ourselves, on port 80."""
    return config.tls.acme is not None and not config.tls.acme.webroot


class Listeners:
    """Accepts connections and keeps count of them."""

    def __init__(
        self, house: House, tls: Contexts, group: asyncio.TaskGroup, operator: Serve
    ) -> None:
        self._house, self._tls, self._group, self._operator = house, tls, group, operator
        self._servers: list[asyncio.AbstractServer] = []
        self._sessions: dict[asyncio.Task[None], Stream] = {}
        self._limit = min(CONNECTIONS_LIMIT, raise_files_limit() - FILES_RESERVE)
        self._proxies = parse_networks(house.config.proxies)

    async def open(self, bound: list[Bound]) -> None:
        """Accept connections on these sockets from now on."""
        network = self._house.world.network
        assert isinstance(network, SocketNetwork)
        for one in bound:
            serve = self._operator
            if one.name != OPERATOR:
                tls = self._tls.asking if one.name in WITH_LOGIN else self._tls.plain
                serve = PROTOCOLS[one.name](self._house, tls, one.endpoint)
                serve = behind_proxies(serve, self._proxies)
            accept = self._acceptor(one.name, serve)
            self._servers.append(await network.listen(one.sock, accept))

    def _acceptor(self, protocol: str, serve: Serve) -> Callable[[Stream], None]:
        meter = self._house.meter

        def accept(stream: Stream) -> None:
            if len(self._sessions) >= self._limit:
                self._house.doorkeeper.refuse("connections", b"", "connect", "", str(stream.peer))
                stream.abort()
                return
            task = self._group.create_task(_run(serve, stream))
            self._sessions[task] = stream
            meter.count("connections_total", protocol=protocol)
            meter.count("connections", protocol=protocol)
            task.add_done_callback(forget)

        def forget(task: asyncio.Task[None]) -> None:
            del self._sessions[task]
            meter.count("connections", -1, protocol=protocol)

        return accept

    async def drain(self, limit: float) -> None:
        """Accept no more; sessions say goodbye when they wait for their client; then end all."""
        for server in self._servers:
            server.close()
        self._house.watch.closing = True
        for stream in self._sessions.values():
            stream.wake()
        if self._sessions:
            await asyncio.wait(list(self._sessions), timeout=limit)
        for session in list(self._sessions):
            session.cancel()


async def _run(serve: Serve, stream: Stream) -> None:
    try:
        await serve(stream)
    finally:
        stream.abort()


def behind_proxies(serve: Serve, proxies: Sequence[Network]) -> Serve:
    """The same, for the clients behind these proxies too; they have to say whom they speak for."""
    if not proxies:
        return serve

    async def serve_client(stream: Stream) -> None:
        if is_within(stream.peer.address, proxies):
            try:
                stream = await read_header(stream)
            except ConnectionError as error:
                log.warning("the proxy %s is turned away: %s", stream.peer, error)
                stream.abort()
                return
        await serve(stream)

    return serve_client


def raise_files_limit() -> int:
    """As many descriptors as this process may have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return CONNECTIONS_LIMIT + FILES_RESERVE if hard == resource.RLIM_INFINITY else hard


def _smtp(role: Role, implicit_tls: bool) -> Callable[[House, ssl.SSLContext, Endpoint], Serve]:
    def listener(house: House, tls: ssl.SSLContext, endpoint: Endpoint) -> Serve:
        door = smtp.Door(role, tls, implicit_tls, clear_text_allowed(house, endpoint))
        return lambda stream: smtp.serve(stream, house.site, door)

    return listener


def _imap(implicit_tls: bool) -> Callable[[House, ssl.SSLContext, Endpoint], Serve]:
    def listener(house: House, tls: ssl.SSLContext, endpoint: Endpoint) -> Serve:
        door = imap.Door(tls, implicit_tls, clear_text_allowed(house, endpoint))
        return lambda stream: imap_session.serve(stream, house.imap, door)

    return listener


def _pop3(implicit_tls: bool) -> Callable[[House, ssl.SSLContext, Endpoint], Serve]:
    def listener(house: House, tls: ssl.SSLContext, endpoint: Endpoint) -> Serve:
        door = pop3.Door(tls, implicit_tls, clear_text_allowed(house, endpoint))
        return lambda stream: pop3_session.serve(stream, house.pop3, door)

    return listener


def clear_text_allowed(house: House, endpoint: Endpoint) -> bool:
    """Whether a password may come in the clear: only on loopback, and only if that is set."""
    return house.config.loopback_clear_text and _is_loopback(endpoint.address)


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"


def _http(house: House, tls: ssl.SSLContext, endpoint: Endpoint) -> Serve:
    folder = acme.AcmeFolder(house.config.folder)
    return lambda stream: operator.serve(stream, lambda request: acme.answer(folder, request))


def _https(house: House, tls: ssl.SSLContext, endpoint: Endpoint) -> Serve:
    async def serve(stream: Stream) -> None:
        secured = TlsStream(stream, tls, server_side=True)
        try:
            async with asyncio.timeout(operator.TIME_LIMIT):
                await secured.handshake()
        except (ConnectionError, TimeoutError):
            return
        await operator.serve(secured, lambda request: policy_host.answer(house, request))

    return serve


# The name of the setting under [listen] -> what listens there.
PROTOCOLS: dict[str, Callable[[House, ssl.SSLContext, Endpoint], Serve]] = {
    "smtp": _smtp(Role.MX, implicit_tls=False),
    "submission": _smtp(Role.SUBMISSION, implicit_tls=False),
    "submissions": _smtp(Role.SUBMISSION, implicit_tls=True),
    "lmtp": _smtp(Role.LMTP, implicit_tls=False),
    "imap": _imap(implicit_tls=False),
    "imaps": _imap(implicit_tls=True),
    "pop3": _pop3(implicit_tls=False),
    "pop3s": _pop3(implicit_tls=True),
    HTTP: _http,
    "https": _https,
}
