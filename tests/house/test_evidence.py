"""Evidence of messages that nobody sends in good faith: always there, and never an error."""

import random

from mailstead.services.inbound.caller import Caller
from mailstead.services.inbound.evidence import (
    DOMAINS_LIMIT,
    Client,
    Gathering,
    Setting,
    subjects_of_domains,
)
from mailstead.services.inbound.manners import Manners
from mailstead.testing.house import SimulatedWorld

PIECES = (
    *("From: ", "Reply-To: ", "DKIM-Signature: ", "ARC-Seal: i=1; ", "Received: ", "List-Id: "),
    *(
        "a@example.net",
        '"a b"@example.net',
        "<",
        ">",
        ",",
        ";",
        "\r\n",
        "\r\n ",
        "\0",
        "=?utf-8?b?",
    ),
    *(
        "v=1; a=rsa-sha256; d=example.net; s=x; h=from; bh=",
        "b=",
        "i=1;",
        "@",
        "xn--",
        "ä",
        "\ud800",
    ),
    *("=?utf-8?b?", "\ud800", "{d}"),
    *("[192.0.2.1]", "[IPv6:::1%eth0]", "192.0.2.1", "." * 300, "a." * 200, "x" * 70, "%"),
)


async def test_nonsense(world: SimulatedWorld) -> None:
    house = await world.house("example.org", ["alice"])
    lists, chance = house.house.site.lists, random.Random(1)

    def nonsense(most: int) -> str:
        return "".join(chance.choice(PIECES) for _ in range(chance.randrange(most)))

    for _ in range(300):
        header = nonsense(30).encode("utf-8", "surrogatepass") + b"\r\n\r\n"
        address = chance.choice(["192.0.2.1", "2001:db8::1", "::ffff:192.0.2.1", "fe80::1%eth0"])
        client = Client(address, nonsense(4), nonsense(4))
        caller = Caller(address, lists, world.zone)
        gathering = Gathering(header, client, Setting("mx.example.org", world.zone, lists, caller))
        gathering.add(b"Hello\r\n")
        more = subjects_of_domains([nonsense(5) for _ in range(5)])
        evidence = await gathering.finish(world.clock.now(), Manners(client.helo), more)
        assert evidence.client == client


def test_the_domains_that_are_asked_about() -> None:
    found = subjects_of_domains(["www.a.example.co.uk", "EXAMPLE.net.", "192.0.2.1", "x", "ä.de"])
    assert found == ["co.uk", "example.co.uk", "example.net", "xn--4ca.de"]
    many = subjects_of_domains(f"w.{number}.example" for number in range(1000))
    assert len(many) <= 2 * DOMAINS_LIMIT + 1
