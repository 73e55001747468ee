"""`setup` and `check outgoing` say whether mail can leave; the world outside is simulated."""

import stat
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from socket import AF_INET, SOCK_DGRAM, socket
from typing import Any

import pytest

from mailstead.cli import outgoing, smarthost
from mailstead.model.reply import Reply
from mailstead.server import wiring
from mailstead.server.config import load, parse_smarthost
from mailstead.services.outbound.probe import DOMAINS
from mailstead.testing.cast.refuser import closed_door
from mailstead.testing.cast.sink import sink
from mailstead.testing.network import SimulatedNetwork
from mailstead.testing.zone import Zone

ALICE, US, OURS = "alice@example.org", "mail.example.org", "203.0.113.25"
FOUR = {domain: f"198.51.101.{number}" for number, domain in enumerate(DOMAINS, 1)}


class Outside:
    """DNS and network as the command line sees them; by default nothing is wrong."""

    def __init__(self) -> None:
        self.zone, self.network = Zone(), SimulatedNetwork()
        self.zone["PTR", "25.113.0.203.in-addr.arpa"] = US
        self.zone["A", US] = OURS
        for domain, address in FOUR.items():
            self.zone["MX", domain] = f"10 mx.{domain}"
            self.zone["A", f"mx.{domain}"] = address
            self.network.listen(address, 25, sink().serve)

    def block(self) -> None:
        """From now on nobody is reached at port 25."""
        for address in FOUR.values():
            self.network.unlisten(address, 25)


@pytest.fixture
def outside(monkeypatch: pytest.MonkeyPatch) -> Outside:
    """The simulated world behind the doors that `wiring` opens."""
    simulated = Outside()
    monkeypatch.setattr(wiring, "SocketNetwork", lambda: simulated.network)
    monkeypatch.setattr(wiring, "_resolver", lambda *_: simulated.zone)
    monkeypatch.setattr(outgoing, "own_addresses", lambda: [OURS])
    return simulated


def squeeze(text: str) -> str:
    return " ".join(text.split())


# ---------------------------------------------------------------------- check outgoing


def test_all_is_well(mailstead: Any, outside: Outside) -> None:
    ran = mailstead("check", "outgoing")
    assert ran.code == 0
    assert ran.out.splitlines() == [
        "Port 25, IPv4  open (mx.gmail.com [198.51.101.1] greets us)",
        "Port 25, IPv6  unknown: The DNS names no IPv6 address of any host that was asked about",
        f"PTR            {OURS} is {US}, as it should be",
    ]


def test_blocked(mailstead: Any, outside: Outside) -> None:
    outside.block()
    ran = mailstead("check", "outgoing")
    assert ran.code == 1
    assert "blocked: none of 4 hosts can be reached (mx.gmail.com" in ran.out
    assert "* Mail cannot leave this machine." in ran.out


def test_json(mailstead: Any, outside: Outside) -> None:
    outside.block()
    done = mailstead("check", "outgoing", "--json").json()
    four, six = done["found"]["ports"]
    assert (four["family"], four["verdict"], len(four["tried"])) == ("IPv4", "blocked", 4)
    assert (six["family"], six["verdict"]) == ("IPv6", "unknown")
    assert done["found"]["ptr"][0]["verdict"] == "right"
    assert len(done["advice"]) == 1


def test_turned_away(mailstead: Any, outside: Outside) -> None:
    reply = Reply(554, "5.7.1", "Bad name")
    for address in FOUR.values():
        outside.network.listen(address, 25, closed_door(reply).serve)
    ran = mailstead("check", "outgoing")
    assert ran.code == 1
    assert "none of 4 hosts wants to talk to this address" in ran.out
    assert "554 5.7.1 Bad name" in ran.out


def test_other_domains(mailstead: Any, outside: Outside) -> None:
    outside.zone["A", "example.net"] = "198.51.101.99"
    outside.network.listen("198.51.101.99", 25, sink().serve)
    ran = mailstead("check", "outgoing", "example.net")
    assert (ran.code, "example.net [198.51.101.99] greets us" in ran.out) == (0, True)
    assert {dial.address for dial in outside.network.dials} == {"198.51.101.99"}


def test_without_dns_try_later(mailstead: Any, outside: Outside) -> None:
    for domain in DOMAINS:
        outside.zone.fail(domain)
    ran = mailstead("check", "outgoing")
    assert ran.code == 75
    assert "unknown: The DNS does not answer now" in ran.out


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("static-25.isp.example", f"set the PTR record of {OURS} to {US}."),
        (None, f"set the PTR record of {OURS} to {US}."),
    ],
)
def test_what_to_ask_the_provider_for(
    mailstead: Any, outside: Outside, name: str | None, says: str
) -> None:
    del outside.zone["PTR", "25.113.0.203.in-addr.arpa"]
    if name:
        outside.zone["PTR", "25.113.0.203.in-addr.arpa"] = name
    ran = mailstead("check", "outgoing")
    assert (ran.code, says in ran.out) == (1, True)


def test_a_name_that_does_not_lead_back(mailstead: Any, outside: Outside) -> None:
    outside.zone["A", US] = "203.0.113.99"
    ran = mailstead("check", "outgoing")
    assert ran.code == 1
    assert f"* Publish in the DNS: {US}.  A  {OURS}" in ran.out


# ---------------------------------------------------------------------- setup


def test_setup_says_it(fresh: Any, outside: Outside) -> None:
    outside.block()
    ran = fresh.setup_probing(ALICE)
    assert ran.code == 0
    assert "Port 25, IPv4  blocked" in ran.out
    assert "mailstead setup --smarthost HOST[:PORT]" in ran.out
    assert "check outgoing" in ran.out
    assert load(fresh.config).smarthost is None


def test_setup_in_json(fresh: Any, outside: Outside) -> None:
    done = fresh.setup_probing(ALICE, "--json").json()
    assert done["outgoing"]["found"]["ports"][0]["verdict"] == "open"
    assert done["outgoing"]["advice"] == []


def test_no_probe_asks_nobody(fresh: Any, outside: Outside) -> None:
    done = fresh.setup(ALICE, "--json").json()
    assert "outgoing" not in done
    assert (outside.zone.asked, outside.network.dials) == ([], [])


def test_a_smarthost_by_options(
    fresh: Any, outside: Outside, write_file: Callable[[str, str], str]
) -> None:
    word = write_file("word", "pencil\n")
    login = ("--smarthost-user", "us", "--smarthost-password-file", word)
    ran = fresh.setup_probing(ALICE, "--smarthost", "smtp.example.net:465", *login)
    assert ran.code == 0
    assert "Smarthost      smtp.example.net:465 takes all outgoing mail" in ran.out
    assert "smtp.example.net:465 does not take our mail" in ran.out  # it does not exist
    assert 'says which "include:"' in ran.out
    assert "Port 25" not in ran.out
    written = load(fresh.config).smarthost
    assert written is not None
    path = Path(written.password_file)
    assert (written.host, written.login) == ("smtp.example.net:465", "us")
    assert path == fresh.folder / "data" / "smarthost-password"
    assert path.read_text() == "pencil\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "pencil" not in fresh.config.read_text() + ran.out + ran.err
    assert fresh("check", "config").code == 0


@pytest.mark.parametrize(
    ("typed", "host", "implicit", "login"),
    [
        ("smtp.example.net\n\n", "smtp.example.net:587", False, ""),
        ("a b\nsmtp.example.net:465\n\n", "smtp.example.net:465", True, ""),
        ("[2001:db8::9]:587\nus\npencil\n", "[2001:db8::9]:587", False, "us"),
        ("submissions://a.example:99\n\n", "submissions://a.example:99", True, ""),
        ("submission://a.example\n\n", "a.example:587", False, ""),
    ],
)
def test_a_smarthost_is_offered_where_somebody_can_be_asked(
    fresh: Any,
    outside: Outside,
    monkeypatch: pytest.MonkeyPatch,
    typed: str,
    host: str,
    implicit: bool,
    login: str,
) -> None:
    outside.block()
    ran = setup_at_a_terminal(fresh, monkeypatch, typed)
    assert ran.code == 0
    written = load(fresh.config).smarthost
    assert written is not None
    assert (written.host, written.login) == (host, login)
    assert parse_smarthost(written.host)[1] is implicit
    assert "takes all outgoing mail" in ran.out
    if login:
        assert Path(written.password_file).read_text() == "pencil\n"


@pytest.mark.parametrize("typed", ["\n", "", "smtp.example.net\n", "smtp.example.net\nus\n"])
def test_no_smarthost_is_an_answer_too(
    fresh: Any, outside: Outside, monkeypatch: pytest.MonkeyPatch, typed: str
) -> None:
    outside.block()
    ran = setup_at_a_terminal(fresh, monkeypatch, typed)
    assert ran.code == 0
    assert load(fresh.config).smarthost is None
    assert "shown only now" in ran.out


def test_nobody_is_asked_while_port_25_is_open(
    fresh: Any, outside: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = setup_at_a_terminal(fresh, monkeypatch, "smtp.example.net\n\n")
    assert ran.code == 0
    assert load(fresh.config).smarthost is None


def setup_at_a_terminal(fresh: Any, monkeypatch: pytest.MonkeyPatch, typed: str) -> Any:
    monkeypatch.setattr(smarthost, "is_interactive", lambda: True)
    database = str(fresh.folder / "data/mail.db")
    options = ("--generate-password", "--database", database)
    return fresh("setup", ALICE, *options, stdin=typed)


# ---------------------------------------------------------------------- a machine without DNS


@pytest.fixture
def mute_dns() -> Iterator[str]:
    """A name server that takes every question and answers none."""
    with closing(socket(AF_INET, SOCK_DGRAM)) as deaf:
        deaf.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{deaf.getsockname()[1]}"


@pytest.mark.loopback
def test_a_dns_that_does_not_answer_holds_nobody_up(mailstead: Any, mute_dns: str) -> None:
    text = mailstead.config.read_text()
    mailstead.config.write_text(text.replace("#servers = []", f'servers = ["{mute_dns}"]'))
    began = time.monotonic()
    ran = mailstead("check", "outgoing")
    assert time.monotonic() - began < 5
    assert ran.code == 75
    assert "unknown: The DNS does not answer now" in squeeze(ran.out)
