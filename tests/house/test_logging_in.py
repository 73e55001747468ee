"""Log-ins by all mechanisms: SCRAM, app passwords, tokens, old hashes; what strangers learn."""

import base64
import hashlib
import json
from datetime import timedelta
from typing import Any
from urllib.parse import unquote_plus

import msgspec
import pytest
from joserfc import jwk, jwt

from mailstead.model.entries import LoggedIn, LoginFailed
from mailstead.model.world import Stream
from mailstead.net.tls import TlsStream, opportunistic_context
from mailstead.protocol import sasl, sasl_bearer, sasl_scram
from mailstead.server.certificates import own_pair
from mailstead.server.config import Config, Tls
from mailstead.server.tls import Certificates
from mailstead.services import directory, passwords
from mailstead.services.directory import AppPasswordWish
from mailstead.storage import accounts, app_passwords, login_certificates, token_issuers
from mailstead.storage.token_issuers import Issuer
from mailstead.testing.certificates import Authority
from mailstead.testing.house import PASSWORD, SimulatedHouse, SimulatedWorld
from mailstead.testing.imap import ImapClient
from mailstead.testing.smtp import SmtpClient

ALICE = "alice@example.org"
NONCE = b"rOprNGfwEbeRWgbNEkqO"
ISSUER = "https://login.example"
WEB = "192.0.2.80"
CA = Authority()
KEY = jwk.ECKey.generate_key("P-256", {"kid": "one"}, private=True)


async def by_scram(world: SimulatedWorld, house: SimulatedHouse, login: str, word: str) -> str:
    """AUTH SCRAM-SHA-256 at the submission port: the code at the end."""
    dialogue = sasl_scram.client(login, word, NONCE)
    async with SmtpClient(world.network, house.address, 587) as client:
        first = sasl.encode(next(dialogue)).decode()
        reply = await client.command(f"AUTH SCRAM-SHA-256 {first}")
        while reply.code == 334:
            answer = dialogue.send(base64.b64decode(reply.text))
            reply = await client.command(sasl.encode(answer).decode())
        return f"{reply.code} {reply.enhanced}"


async def by_plain(world: SimulatedWorld, house: SimulatedHouse, word: str) -> str:
    """AUTH PLAIN at the submission port."""
    async with SmtpClient(world.network, house.address, 587) as client:
        reply = await client.log_in(ALICE, word)
        return f"{reply.code} {reply.enhanced}"


async def by_imap(world: SimulatedWorld, house: SimulatedHouse, word: str) -> bytes:
    """LOGIN by IMAP."""
    async with ImapClient(world.network, house.address) as client:
        return (await client.command(f"LOGIN {ALICE} {word}"))[-1].split(b" ")[0]


async def offered(world: SimulatedWorld, house: SimulatedHouse) -> str:
    """What EHLO says of AUTH."""
    async with SmtpClient(world.network, house.address, 587) as client:
        (line,) = [line for line in client.ehlo.text.split("\n") if line.startswith("AUTH ")]
        return line.removeprefix("AUTH ")


def failures(house: SimulatedHouse) -> list[str]:
    """Why log-ins failed, as the journal has it."""
    return [entry.reason for _, entry in house.told if isinstance(entry, LoginFailed)]


async def server_first(house: SimulatedHouse, world: SimulatedWorld, login: str) -> list[str]:
    """What SCRAM says of a log-in, but for the nonce."""
    first = sasl.encode(b"n,,n=" + login.encode() + b",r=" + NONCE).decode()
    async with SmtpClient(world.network, house.address, 587) as client:
        reply = await client.command(f"AUTH SCRAM-SHA-256 {first}")
        return base64.b64decode(reply.text).decode().split(",")[1:]


# ---------------------------------------------------------------------- SCRAM


@pytest.mark.rfc("5802 section 3")
async def test_scram(world: SimulatedWorld) -> None:
    house = await world.house("example.org", accounts=["alice"])
    assert await by_scram(world, house, ALICE, PASSWORD) == "235 2.7.0"
    assert await by_scram(world, house, "Alice@Example.ORG", PASSWORD) == "235 2.7.0"
    assert await by_scram(world, house, ALICE, "wrong") == "535 5.7.8"
    assert await by_scram(world, house, "nobody@example.org", PASSWORD) == "535 5.7.8"
    assert failures(house) == ["wrong password", "no such account"]


@pytest.mark.rfc("3501 section 6.2.2")
async def test_scram_by_imap(world: SimulatedWorld) -> None:
    house = await world.house("example.org", accounts=["alice"])
    dialogue = sasl_scram.client(ALICE, PASSWORD, NONCE)
    async with ImapClient(world.network, house.address) as client:
        client.stream.send(b"a AUTHENTICATE SCRAM-SHA-256\r\n")
        said = await client.response()
        assert said == b"+ "
        client.stream.send(sasl.encode(next(dialogue)) + b"\r\n")
        while (said := await client.response()).startswith(b"+ "):
            answer = dialogue.send(base64.b64decode(said[2:]))
            client.stream.send(sasl.encode(answer) + b"\r\n")
        assert said.startswith(b"a OK [CAPABILITY ")


async def test_strangers_learn_nothing_of_scram(world: SimulatedWorld) -> None:
    """Who exists and who does not: salt and rounds look the same, and stay the same."""
    house = await world.house("example.org", accounts=["alice"])
    known = await server_first(house, world, ALICE)
    unknown = await server_first(house, world, "nobody@example.org")
    assert unknown == await server_first(house, world, "Nobody@example.org")
    assert known == await server_first(house, world, ALICE)
    assert unknown != known
    assert [len(one) for one in unknown] == [len(one) for one in known]
    assert unknown[1] == known[1] == f"i={sasl_scram.ITERATIONS}"


async def test_scram_is_guessed_as_slowly_as_a_password(world: SimulatedWorld) -> None:
    house = await world.house("example.org", accounts=["alice"])
    codes = [await by_scram(world, house, ALICE, f"guess {n}") for n in range(11)]
    assert codes == ["535 5.7.8"] * 10 + ["454 4.7.0"]


@pytest.mark.rfc("4422 section 3.2")
async def test_scram_is_offered_when_everybody_can_use_it(world: SimulatedWorld) -> None:
    house = await world.house("example.org", accounts=["alice", "bob"])
    store = house.house.store
    assert await offered(world, house) == "PLAIN LOGIN SCRAM-SHA-256"
    stored = passwords.hash_password(PASSWORD)
    await store.write(lambda tx: accounts.set_password(tx, ALICE, stored))
    await world.sleep(minutes=2)
    assert await offered(world, house) == "PLAIN LOGIN"
    assert await by_plain(world, house, PASSWORD) == "235 2.7.0"  # now the password is seen
    await world.sleep(minutes=2)
    assert await offered(world, house) == "PLAIN LOGIN SCRAM-SHA-256"
    assert await by_scram(world, house, ALICE, PASSWORD) == "235 2.7.0"


async def test_an_old_hash_is_replaced_when_its_password_is_seen(world: SimulatedWorld) -> None:
    house = await world.house("example.org", accounts=["alice"])
    store = house.house.store
    key = base64.b64encode(hashlib.pbkdf2_hmac("sha256", b"old word", b"salt", 1000)).decode()
    await directory.set_hash(store, ALICE, f"pbkdf2_sha256$1000$salt${key}")
    assert await by_plain(world, house, "wrong") == "535 5.7.8"
    assert await by_plain(world, house, "old word") == "235 2.7.0"
    account = await store.read(lambda tx: accounts.get_account(tx, ALICE))
    assert account.password.startswith("$argon2id$")
    await world.sleep(minutes=2)
    assert await by_scram(world, house, ALICE, "old word") == "235 2.7.0"
    assert await by_plain(world, house, "old word") == "235 2.7.0"


# ---------------------------------------------------------------------- app passwords


async def make(house: SimulatedHouse, name: str, *scopes: str, days: int = 0) -> str:
    """An app password of Alice's."""
    lifetime = timedelta(days=days) if days else None
    wish = AppPasswordWish(ALICE, name, scopes, lifetime)
    return await directory.add_app_password(house.house.store, house.house.world, wish)


async def test_app_passwords(world: SimulatedWorld) -> None:
    house = await world.house("example.org", accounts=["alice"])
    everything, imap = await make(house, "phone"), await make(house, "reader", "imap")
    assert await by_plain(world, house, everything) == "235 2.7.0"
    assert await by_scram(world, house, ALICE, everything) == "235 2.7.0"
    assert await by_imap(world, house, everything) == b"OK"
    assert await by_imap(world, house, imap) == b"OK"
    assert await by_plain(world, house, imap) == "535 5.7.8"
    assert await by_scram(world, house, ALICE, imap) == "535 5.7.8"
    assert await by_plain(world, house, PASSWORD) == "235 2.7.0"
    assert failures(house) == ["the app password reader is not for that", "wrong password"]
    entries = [entry for _, entry in house.told if isinstance(entry, LoggedIn)]
    assert [entry.mechanism for entry in entries] == [
        "PLAIN (app password phone)",
        "SCRAM-SHA-256 (app password phone)",
        "LOGIN (app password phone)",
        "LOGIN (app password reader)",
        "PLAIN",
    ]
    store = house.house.store
    await store.write(lambda tx: app_passwords.remove(tx, ALICE, "phone"))
    assert await by_plain(world, house, everything) == "535 5.7.8"


async def test_an_app_password_ends(world: SimulatedWorld) -> None:
    house = await world.house("example.org", accounts=["alice"])
    word = await make(house, "trial", days=7)
    assert await by_plain(world, house, word) == "235 2.7.0"
    await world.sleep(days=8)
    assert await by_plain(world, house, word) == "535 5.7.8"
    assert await by_scram(world, house, ALICE, word) == "535 5.7.8"


async def test_when_an_app_password_was_used(world: SimulatedWorld) -> None:
    house = await world.house("example.org", accounts=["alice"])
    store = house.house.store
    account = await store.read(lambda tx: accounts.get_account(tx, ALICE))
    word = await make(house, "phone")

    async def last_used() -> Any:
        (one,) = await store.read(lambda tx: app_passwords.list_all(tx, account.id))
        return one.last_used

    assert await last_used() is None
    await by_plain(world, house, word)
    first = await last_used()
    assert first is not None
    await by_plain(world, house, word)
    assert await last_used() == first  # not more than once an hour
    await world.sleep(hours=2)
    await by_scram(world, house, ALICE, word)
    assert await last_used() - first > timedelta(hours=1)


async def test_a_switched_off_account_has_no_way_in(world: SimulatedWorld) -> None:
    house = await world.house("example.org", accounts=["alice"])
    word = await make(house, "phone")
    await house.house.store.write(lambda tx: accounts.set_active(tx, ALICE, False))
    for attempt in (word, PASSWORD):
        assert await by_plain(world, house, attempt) == "535 5.7.8"
        assert await by_scram(world, house, ALICE, attempt) == "535 5.7.8"
    assert set(failures(house)) == {"the account is switched off"}


# ---------------------------------------------------------------------- certificates


@pytest.mark.rfc("4422 appendix A")
async def test_a_certificate_logs_in_its_owner_alone(world: SimulatedWorld) -> None:
    folder = world.folder / "tls"
    folder.mkdir()
    (folder / "clients.pem").write_bytes(CA.pem)
    own = own_pair(folder, ["mx.example.org"], world.clock.now())
    tls = Certificates([own], ca_file=str(folder / "clients.pem")).asking
    house = await world.house("example.org", accounts=["alice", "bob"], tls=tls)
    issued = {name: CA.issue(name) for name in ("alice", "nobody")}
    fingerprint = hashlib.sha256(issued["alice"].chain[0]).hexdigest()
    store = house.house.store
    await store.write(lambda tx: login_certificates.add(tx, ALICE, fingerprint))

    async def attempt(name: str, wanted: str) -> str:
        context = opportunistic_context()
        if name:
            (folder / name).write_bytes(issued[name].pem())
            context.load_cert_chain(folder / name)
        async with SmtpClient(world.network, house.address, 587) as client:
            await client.start_tls(context)
            initial = sasl.encode(wanted.encode()).decode() or "="
            reply = await client.command(f"AUTH EXTERNAL {initial}")
            return f"{reply.code} {reply.enhanced} {'EXTERNAL' in client.ehlo.text}"

    assert await attempt("alice", "") == "235 2.7.0 True"
    assert await attempt("alice", "Alice@example.org") == "235 2.7.0 True"
    assert await attempt("alice", "bob@example.org") == "535 5.7.8 True"
    assert await attempt("nobody", ALICE) == "535 5.7.8 True"
    assert await attempt("", ALICE) == "504 5.5.4 False"


# ---------------------------------------------------------------------- tokens


class TokenHost:
    """The issuer's web server: its keys, and what it says of tokens."""

    def __init__(self) -> None:
        self.tls = CA.issue("login.example").context()
        self.keys = {"keys": [KEY.as_dict(private=False)]}
        self.known: dict[str, dict[str, Any]] = {}  # opaque tokens
        self.asked: list[bytes] = []

    async def serve(self, stream: Stream) -> None:
        """One request."""
        secured = TlsStream(stream, self.tls, server_side=True)
        await secured.handshake()
        request = b""
        while b"\r\n\r\n" not in request:
            request += await secured.receive() or b""
        self.asked.append(request)
        answer: dict[str, Any] = self.keys
        if request.startswith(b"POST"):
            form = request.partition(b"\r\n\r\n")[2].decode()
            token = unquote_plus(form.partition("token=")[2].partition("&")[0])
            answer = self.known.get(token, {"active": False})
        body = json.dumps(answer).encode()
        secured.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        await secured.close()


async def open_with_issuer(world: SimulatedWorld, **how: Any) -> tuple[SimulatedHouse, TokenHost]:
    """A house that believes an issuer."""
    folder = world.folder / "example.org"
    folder.mkdir()
    (folder / "ca.pem").write_bytes(CA.pem)
    config = Config(
        hostname="mx.example.org",
        database=f"sqlite://{folder / 'mailstead.db'}",
        tls=Tls(ca_file=str(folder / "ca.pem")),
    )
    house = await world.house("example.org", accounts=["alice", "bob"], config=config)
    host = TokenHost()
    world.zone["A", "login.example"] = how.pop("address", WEB)
    world.network.listen(WEB, 443, host.serve)
    new = msgspec.structs.replace(Issuer(ISSUER), **how)
    await house.house.store.write(lambda tx: token_issuers.add(tx, new))
    return house, host


def signed(world: SimulatedWorld, key: Any = KEY, **claims: Any) -> str:
    """A token for Alice, a day long."""
    now = int(world.clock.now().timestamp())
    usual = {"iss": ISSUER, "email": ALICE, "aud": "mail", "exp": now + 86_400}
    return jwt.encode({"alg": "ES256", "kid": key.kid}, {**usual, **claims}, key)


async def by_token(
    world: SimulatedWorld, house: SimulatedHouse, token: str, login: str = ALICE
) -> str:
    """AUTH OAUTHBEARER at the submission port."""
    message = sasl.encode(sasl_bearer.client_message(login, token)).decode()
    async with SmtpClient(world.network, house.address, 587) as client:
        reply = await client.command(f"AUTH OAUTHBEARER {message}")
        if reply.code == 334:
            assert json.loads(base64.b64decode(reply.text))["status"] == "invalid_token"
            reply = await client.command("AQ==")
        return f"{reply.code} {reply.enhanced}"


KEYS = {"jwks_url": f"{ISSUER}/keys", "audience": "mail"}


@pytest.mark.rfc("7628 section 3")
async def test_tokens_that_are_signed(world: SimulatedWorld) -> None:
    house, host = await open_with_issuer(world, **KEYS)
    assert await offered(world, house) == "PLAIN LOGIN SCRAM-SHA-256 OAUTHBEARER XOAUTH2"
    assert await by_token(world, house, signed(world)) == "235 2.7.0"
    assert await by_token(world, house, signed(world), "") == "235 2.7.0"
    assert await by_token(world, house, signed(world, aud=["x", "mail"])) == "235 2.7.0"
    assert await by_token(world, house, signed(world), "bob@example.org") == "535 5.7.8"
    assert len(host.asked) == 1


async def test_tokens_that_are_not_believed(world: SimulatedWorld) -> None:
    house, _ = await open_with_issuer(world, **KEYS)
    now = int(world.clock.now().timestamp())
    stranger = jwk.ECKey.generate_key("P-256", {"kid": "one"}, private=True)
    bad = {
        "it has expired": signed(world, exp=now - 120),
        "it is not good yet": signed(world, nbf=now + 3600),
        "it is meant for somebody else": signed(world, aud="chat"),
        "its issuer is not believed": signed(world, iss="https://other.example"),
        "it is nobody's here": signed(world, email="alice@elsewhere.example"),
        "it has no claim email": signed(world, email=7),
        "its issuer has not verified the address": signed(world, email_verified=False),
        "it is not signed by its issuer": signed(world, key=stranger),
    }
    for token in (*bad.values(), "opaque", "a.b.c", signed(world)[:-3] + "AAA"):
        assert await by_token(world, house, token) == "535 5.7.8"
        await world.sleep(minutes=16)
    told = " ".join(failures(house))
    assert [reason for reason in bad if reason not in told] == []
    none = jwt.encode(
        {"alg": "HS256"}, {"iss": ISSUER, "email": ALICE}, jwk.OctKey.import_key("x" * 32)
    )
    assert await by_token(world, house, none) == "535 5.7.8"


async def test_an_issuer_with_new_keys(world: SimulatedWorld) -> None:
    house, host = await open_with_issuer(world, **KEYS)
    assert await by_token(world, house, signed(world)) == "235 2.7.0"
    fresh = jwk.ECKey.generate_key("P-256", {"kid": "two"}, private=True)
    host.keys = {"keys": [fresh.as_dict(private=False)]}
    await world.sleep(minutes=2)
    assert await by_token(world, house, signed(world, key=fresh)) == "235 2.7.0"
    assert len(host.asked) == 2
    for _ in range(5):  # whoever makes up keys does not make us ask each time
        assert await by_token(world, house, signed(world, key=KEY)) == "535 5.7.8"
    assert len(host.asked) == 2


async def test_tokens_that_are_asked_about(world: SimulatedWorld) -> None:
    how = {"introspection_url": f"{ISSUER}/about", "client_id": "us", "client_secret": b"ours"}
    house, host = await open_with_issuer(world, **how, claim="username")
    host.known["abc"] = {"active": True, "username": ALICE}
    assert await by_token(world, house, "abc") == "235 2.7.0"
    assert await by_token(world, house, "abd") == "535 5.7.8"
    host.known["of+another"] = {"active": True, "username": ALICE, "iss": "https://other.example"}
    host.known["old"] = {"active": True, "username": ALICE, "exp": 1}
    for token in ("of+another", "old"):
        assert await by_token(world, house, token) == "535 5.7.8"
    assert b"Authorization: Basic dXM6b3Vycw==\r\n" in host.asked[0]


async def test_an_issuer_inside_our_network_is_not_asked(world: SimulatedWorld) -> None:
    house, host = await open_with_issuer(world, address="10.0.0.5", **KEYS)
    assert await by_token(world, house, signed(world)) == "535 5.7.8"
    assert host.asked == []
    assert [dial for dial in world.network.dials if dial.address == "10.0.0.5"] == []


async def test_an_issuer_of_another_organisation(world: SimulatedWorld) -> None:
    house, _ = await open_with_issuer(world, organisation=77, **KEYS)
    assert await by_token(world, house, signed(world)) == "535 5.7.8"
    assert failures(house) == ["its issuer is not believed about that account"]
