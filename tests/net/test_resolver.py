"""The stub resolver against a DNS server of the test's own on loopback."""

import asyncio
from collections.abc import Callable
from datetime import timedelta

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from mailstead.model.dns import Answer, Mx, Question, Status
from mailstead.model.world import Endpoint, Stream
from mailstead.net import resolver
from mailstead.net.clock import SystemClock
from mailstead.net.resolver import StubResolver, system_servers
from mailstead.net.stream import SocketNetwork, bind

ZONE = {
    ("example.org.", "MX"): ["20 mx2.example.org.", "10 mx1.example.org."],
    ("mx1.example.org.", "A"): ["192.0.2.1", "192.0.2.2"],
    ("txt.example.org.", "TXT"): ['"v=spf1 " "-all"'],
    ("null.example.org.", "MX"): ["0 ."],
    ("_25._tcp.mx1.example.org.", "TLSA"): ["3 1 1 " + "ab" * 32],
    ("big.example.org.", "TXT"): [f'"{number:03} {"x" * 200}"' for number in range(20)],
}
ALIASES = {"alias.example.org.": "mx1.example.org."}


class DnsServer(asyncio.DatagramProtocol):
    """Answers from ZONE; counts what it was asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.answer: Callable[[dns.message.Message], dns.message.Message | None] = respond

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.asked += 1
        response = self.answer(dns.message.from_wire(data))
        if response is None:
            return
        wire = response.to_wire(max_size=65535)
        if len(wire) > 1232:
            response.answer.clear()
            response.flags |= dns.flags.TC
            wire = response.to_wire()
        self.transport.sendto(wire, addr)  # type: ignore[attr-defined]


def respond(query: dns.message.Message) -> dns.message.Message:
    response = dns.message.make_response(query)
    response.flags |= dns.flags.AD
    question = query.question[0]
    name, kind = question.name.to_text().lower(), question.rdtype.name
    if name in ALIASES:
        response.answer.append(dns.rrset.from_text(name, 60, "IN", "CNAME", ALIASES[name]))
        name = ALIASES[name]
    if name == "broken.example.org.":
        response.set_rcode(dns.rcode.SERVFAIL)
    elif records := ZONE.get((name, kind)):
        response.answer.append(dns.rrset.from_text(name, 60, "IN", kind, *records))
    elif not any(known == name for known, _ in ZONE):
        response.set_rcode(dns.rcode.NXDOMAIN)
    return response


async def over_tcp(stream: Stream) -> None:
    data = b""
    while len(data) < 2 or len(data) < 2 + int.from_bytes(data[:2], "big"):
        data += await stream.receive() or b""
    wire = respond(dns.message.from_wire(data[2:])).to_wire(max_size=65535)
    stream.send(len(wire).to_bytes(2, "big") + wire[:100])
    await stream.flush()
    stream.send(wire[100:])
    await stream.close()


async def ask_all(
    *questions: Question, trusted: bool = False, prepare: Callable[[DnsServer], None] | None = None
) -> tuple[list[Answer], DnsServer]:
    """The answers to the questions, all asked at once."""
    loop, network = asyncio.get_running_loop(), SocketNetwork()
    sock = bind("127.0.0.1", 0)
    port = sock.getsockname()[1]
    async with asyncio.TaskGroup() as group:
        listener = await network.listen(sock, lambda stream: group.create_task(over_tcp(stream)))
        transport, server = await loop.create_datagram_endpoint(
            DnsServer, local_addr=("127.0.0.1", port)
        )
        if prepare:
            prepare(server)
        stub = StubResolver([Endpoint("127.0.0.1", port)], network, SystemClock(), trusted)
        answers = await asyncio.gather(*(stub.ask(question) for question in questions))
        listener.close()
        transport.close()
    return answers, server


@pytest.mark.parametrize(
    ("kind", "name", "expected"),
    [
        ("A", "mx1.example.org", Answer(Status.NOERROR, ("192.0.2.1", "192.0.2.2"), True)),
        ("A", "alias.example.org", Answer(Status.NOERROR, ("192.0.2.1", "192.0.2.2"), True)),
        ("AAAA", "mx1.example.org", Answer(Status.NOERROR, (), True)),
        ("TXT", "txt.example.org", Answer(Status.NOERROR, ("v=spf1 -all",), True)),
        ("MX", "null.example.org", Answer(Status.NOERROR, ("0 .",), True)),
        (
            "TLSA",
            "_25._tcp.mx1.example.org",
            Answer(Status.NOERROR, ("3 1 1 " + "ab" * 32,), True),
        ),
        ("CNAME", "alias.example.org", Answer(Status.NOERROR, ("mx1.example.org",), True)),
        ("CNAME", "mx1.example.org", Answer(Status.NOERROR, (), True)),
        ("A", "nowhere.example.org", Answer(Status.NXDOMAIN, (), True)),
        ("A", "broken.example.org", Answer(Status.SERVFAIL)),
        ("A", "x" * 64 + ".example.org", Answer(Status.NXDOMAIN)),  # no such name can exist
    ],
)
async def test_ask(kind: str, name: str, expected: Answer) -> None:
    (answer,), _ = await ask_all(Question(kind, name))
    assert (answer.status, answer.authenticated) == (expected.status, expected.authenticated)
    assert sorted(answer.records) == list(expected.records)  # servers turn the order


async def test_mx_records_come_best_first() -> None:
    answers, _ = await ask_all(Question("MX", "example.org"))
    assert answers[0].mx() == [Mx(10, "mx1.example.org"), Mx(20, "mx2.example.org")]


@pytest.mark.rfc("1035 section 4.2.2")
async def test_a_truncated_answer_is_asked_for_again_over_tcp() -> None:
    answers, _ = await ask_all(Question("TXT", "big.example.org"))
    assert len(answers[0].records) == 20


async def test_equal_questions_share_one_answer_and_it_is_kept() -> None:
    question = Question("A", "mx1.example.org")
    answers, server = await ask_all(*[question] * 20)
    assert len({answer.records for answer in answers}) == 1
    assert server.asked == 1


async def test_an_answer_to_another_question_is_passed_over() -> None:
    def prepare(server: DnsServer) -> None:
        def other(query: dns.message.Message) -> dns.message.Message:
            response = respond(query)
            response.id ^= 1  # a guess that missed
            return response

        server.answer = other

    short, resolver.TRY_TIMEOUT = resolver.TRY_TIMEOUT, 0.05
    try:
        answers, server = await ask_all(Question("A", "mx1.example.org"), prepare=prepare)
    finally:
        resolver.TRY_TIMEOUT = short
    assert answers == [Answer(Status.TIMEOUT)]
    assert server.asked == resolver.TRIES


def test_system_servers(tmp_path) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "resolv.conf"
    path.write_text("# comment\nnameserver 192.0.2.53\nnameserver fe80::1%eth0\nsearch x\n")
    assert system_servers(path) == [Endpoint("192.0.2.53", 53), Endpoint("fe80::1", 53)]
    assert system_servers(tmp_path / "none") == [Endpoint("127.0.0.1", 53)]
    assert timedelta(hours=1) >= resolver.TTL_LIMIT


async def test_who_goes_away_takes_no_answer_with_him() -> None:
    """Two ask the same; the one who really asked hangs up, and the other hears all the same."""
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(DnsServer, local_addr=("127.0.0.1", 0))
    asked = asyncio.Event()
    server.answer = lambda query: asked.set()
    port = transport.get_extra_info("sockname")[1]
    stub = StubResolver([Endpoint("127.0.0.1", port)], SocketNetwork(), SystemClock())
    question = Question("A", "mx1.example.org")
    async with asyncio.TaskGroup() as group:
        first = group.create_task(stub.ask(question))
        second = group.create_task(stub.ask(question))
        await asked.wait()
        server.answer = respond
        first.cancel()
    transport.close()
    assert first.cancelled()
    assert second.result().status is Status.NOERROR
