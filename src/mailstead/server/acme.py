"""Certificates by ACME (RFC 8555) with HTTP-01: asked for, renewed in time, the key kept.

One worker has this duty. Challenges are files: any worker answers them on port 80, or a web server
that is there already, whose `webroot` they are also written to. Until the first certificate is
there, one of our own making serves. The key stays through renewals, so TLSA records stay true.
"""

import logging
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, cast

from acme import challenges, client, crypto_util, errors, messages
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from josepy.errors import Error as JoseError
from josepy.jwk import JWK, JWKRSA
from requests.utils import DEFAULT_CA_BUNDLE_PATH

from mailstead.model.errors import TemporaryFailure
from mailstead.model.world import World
from mailstead.msgauth.mtasts import policy_host
from mailstead.server.config import Acme, Config
from mailstead.server.operator import Answer, Request, failure
from mailstead.server.tls import Pair, names_of, write_private
from mailstead.storage import sts_policies
from mailstead.storage.store import Store

RENEW_BEFORE = timedelta(days=30)
LOOK_AGAIN = timedelta(seconds=30)  # at a file: nobody is asked unless it is due
TRY_AGAIN = timedelta(hours=1)
ORDER_LIMIT = timedelta(minutes=3)
TOKEN_LIMIT = 200  # characters of a challenge's name
HOSTS = "hosts"  # the folder with those of other names than ours
HOSTS_LIMIT = 1000
CHALLENGES = "/.well-known/acme-challenge/"

log = logging.getLogger("mailstead.acme")


class AcmeFolder:
    """Where account, certificate and challenges lie."""

    def __init__(self, folder: Path, host: str = "") -> None:
        """Those of our own name, or of another host's."""
        base = folder / "acme"
        self.path = base / HOSTS / host if host else base
        self.pair = Pair(self.path / "certificate.pem", self.path / "key.pem")
        self.account = base / "account.json"
        self.challenges = base / "challenges"
        self._hosts = base / HOSTS

    def bundle(self, ca_file: str) -> Path:
        """The CAs that are believed anyway, and those of the file, in one."""
        path = self.path / "ca-bundle.pem"
        path.write_bytes(
            Path(DEFAULT_CA_BUNDLE_PATH).read_bytes() + b"\n" + Path(ca_file).read_bytes()
        )
        return path

    def pairs_of_hosts(self) -> list[Pair]:
        """The certificates of other hosts that there are."""
        try:
            found = sorted(self._hosts.iterdir())[:HOSTS_LIMIT]
        except OSError:
            return []
        return [Pair(one / "certificate.pem", one / "key.pem") for one in found]

    def find_challenge(self, token: str) -> str | None:
        """What to answer to a challenge, if it is one of ours."""
        if len(token) > TOKEN_LIMIT or not token.replace("-", "").replace("_", "").isalnum():
            return None
        try:
            return (self.challenges / token).read_text("ascii")
        except OSError:
            return None


async def answer(folder: AcmeFolder, request: Request) -> Answer:
    """What port 80 says: the proof that an ACME server asks for, and nothing else."""
    token = request.target.removeprefix(CHALLENGES)
    proof = folder.find_challenge(token) if token != request.target else None
    return failure(404) if proof is None else Answer(200, proof, "application/octet-stream")


class AcmeKeeper:
    """The service. `run` it in a TaskGroup; cancel it to end it."""

    def __init__(self, settings: Acme, config: Config, world: World, store: Store) -> None:
        self._settings, self._config, self._world, self._store = settings, config, world, store
        self._names = list(dict.fromkeys([config.hostname, *settings.names]))
        self._not_before: dict[str, datetime] = {}  # by folder, after a failure

    async def run(self) -> None:
        """Renew what is due, for ever."""
        while True:
            await self._look(AcmeFolder(self._config.folder), self._names)
            for host in await self._policy_hosts():
                # One of its own for each: a host that does not lead here costs the others nothing.
                await self._look(AcmeFolder(self._config.folder, host), [host])
            await self._world.clock.sleep(LOOK_AGAIN)

    async def _policy_hosts(self) -> list[str]:
        """Where domains hosted here publish their MTA-STS policy."""
        if not self._config.listen.https:
            return []
        try:
            found = await self._store.read(lambda tx: sts_policies.list_all(tx, HOSTS_LIMIT))
        except TemporaryFailure as failure:
            log.warning("certificates of policy hosts have to wait: %s", failure.reason)
            return []
        return [policy_host(one.domain) for one in found]

    async def _look(self, folder: AcmeFolder, names: list[str]) -> None:
        now, key = self._world.clock.now(), str(folder.path)
        waits = self._not_before.get(key, now) > now
        if waits or not is_due(folder.pair.certificate, names, now):
            return
        if not await self._renew(folder, names):
            self._not_before[key] = now + TRY_AGAIN

    async def _renew(self, folder: AcmeFolder, names: list[str]) -> bool:
        told = ", ".join(names)
        try:
            now = self._world.clock.now()
            await self._world.offload.run(
                lambda: obtain(self._settings, names, folder, now, self._config.tls.ca_file)
            )
        except (errors.Error, OSError, ValueError, JoseError) as error:
            log.error("no certificate for %s yet: %s; tried again in an hour", told, error)
            return False
        log.info("a new certificate for %s is in use", told)
        return True


def is_due(certificate: Path, names: list[str], now: datetime) -> bool:
    """Whether the certificate is missing, for other names, or about to end."""
    try:
        have = x509.load_pem_x509_certificates(certificate.read_bytes())[0]
    except (OSError, ValueError):
        return True
    return not set(names) <= set(names_of(have)) or have.not_valid_after_utc < now + RENEW_BEFORE


def obtain(
    settings: Acme, names: list[str], folder: AcmeFolder, now: datetime, ca_file: str = ""
) -> None:
    """Ask for a certificate and put it in its place; takes seconds, on a thread.

    Raises acme's errors, or OSError where the server cannot be reached.
    """
    folder.path.mkdir(mode=0o700, parents=True, exist_ok=True)
    jwk = _account_key(folder.account)
    net = client.ClientNetwork(jwk, user_agent="mailstead")
    if ca_file:
        cast(Any, net).verify_ssl = str(folder.bundle(ca_file))  # requests takes a path too
    directory = client.ClientV2.get_directory(settings.directory, net)
    acme = client.ClientV2(directory, net)
    net.account = _register(acme, settings.email)
    key = _key(folder.pair.key)
    order = acme.new_order(crypto_util.make_csr(key, names))
    # What was proved lately need not be proved again (RFC 8555 section 7.1.4).
    open_ = [one for one in order.authorizations if one.body.status != messages.STATUS_VALID]
    tokens = [_answer(acme, jwk, authorization, folder, settings) for authorization in open_]
    try:
        deadline = now.replace(tzinfo=None) + ORDER_LIMIT
        done = acme.poll_and_finalize(order, deadline)
    finally:
        for path in (path for paths in tokens for path in paths):
            path.unlink(missing_ok=True)
    write_private(folder.pair.certificate, done.fullchain_pem.encode())


def _register(acme: client.ClientV2, email: str) -> messages.RegistrationResource:
    new = messages.NewRegistration.from_data(email=email or None, terms_of_service_agreed=True)
    try:
        return acme.new_account(new)
    except errors.ConflictError as known:
        found = messages.RegistrationResource(uri=known.location, body=messages.Registration())
        return acme.query_registration(found)


def _answer(
    acme: client.ClientV2,
    jwk: JWK,
    authorization: messages.AuthorizationResource,
    folder: AcmeFolder,
    settings: Acme,
) -> list[Path]:
    """Lay out the answer to the HTTP-01 challenge, then say that it can be fetched."""
    for body in authorization.body.challenges:
        if isinstance(body.chall, challenges.HTTP01):
            response, validation = body.response_and_validation(jwk)
            token = body.chall.encode("token")
            paths = [folder.challenges / token]
            if settings.webroot:
                paths.append(Path(settings.webroot + CHALLENGES) / token)
            for path in paths:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(validation, "ascii")
            acme.answer_challenge(body, response)
            return paths
    raise errors.Error(f"{authorization.body.identifier.value}: no HTTP-01 challenge is offered")


def _account_key(path: Path) -> JWKRSA:
    try:
        return JWKRSA.json_loads(path.read_text("ascii"))
    except FileNotFoundError:
        jwk = JWKRSA(key=rsa.generate_private_key(65537, 2048))
        write_private(path, jwk.json_dumps().encode())
        return jwk


def _key(path: Path) -> bytes:
    """The certificate's key, made at the first time."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        pem = ec.generate_private_key(ec.SECP256R1()).private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        write_private(path, pem)
        return pem
