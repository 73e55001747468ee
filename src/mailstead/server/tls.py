"""Which certificate a client gets: by the name it asks for, always the newest of the files.

One context stands for all listeners; its sni_callback chooses at each handshake (RFC 6066 section
3), so that a renewed certificate needs no restart. A file that cannot be used leaves the old one
in place, and says so.
"""

import logging
import os
import ssl
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
from cryptography import x509

from mailstead.net.tls import server_context

LOOK_AGAIN = 5.0  # seconds after which a file is looked at again

log = logging.getLogger("mailstead.tls")


class Pair(msgspec.Struct, frozen=True):
    """A certificate chain and its key, as PEM files."""

    certificate: Path
    key: Path


class _Loaded(msgspec.Struct, frozen=True):
    context: ssl.SSLContext
    names: frozenset[str]
    version: tuple[int, ...]


class Certificates:
    """All certificates of the server; the first one that can be loaded serves who names none.

    `more` says which others there are by now, and is asked again and again. `asking` is for ports
    where people log in: it asks for a client's certificate, takes none as well, and of others only
    those that a CA of the file has signed, or that stand there themselves.
    """

    def __init__(
        self, pairs: list[Pair], more: Callable[[], list[Pair]] = list, ca_file: str = ""
    ) -> None:
        self._first, self._more, self._ca_file = pairs, more, ca_file
        self._pairs = pairs
        self._loaded: dict[Pair, _Loaded] = {}
        self._bad: dict[Pair, tuple[int, ...]] = {}  # versions that cannot be used, told once
        self._looked = -LOOK_AGAIN
        self._look()
        if not self._loaded:
            raise OSError("no certificate can be used; the log above says why")
        self.context, self.asking = server_context(), server_context()
        for context in (self.context, self.asking):
            context.sni_callback = self._choose
        if ca_file:
            self.asking.verify_mode = ssl.CERT_OPTIONAL
            self.asking.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN

    def _choose(self, connection: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> int | None:
        if time.monotonic() - self._looked > LOOK_AGAIN:
            self._look()
        connection.context = self._find(name or "")
        return None

    def _find(self, name: str) -> ssl.SSLContext:
        name = name.lower().rstrip(".")
        wildcard = "*." + name.partition(".")[2]
        loaded = [self._loaded[pair] for pair in self._pairs if pair in self._loaded]
        for one in loaded:
            if name in one.names or wildcard in one.names:
                return one.context
        return loaded[0].context

    def _look(self) -> None:
        """Load what is new."""
        self._looked = time.monotonic()
        self._pairs = [*self._first, *self._more()]
        for pair in self._pairs:
            try:
                version = _version(pair)
            except OSError:
                continue  # not there yet: it may be asked for at this moment
            have = self._loaded.get(pair)
            if version not in (have and have.version, self._bad.get(pair)):
                self._load(pair, version)

    def _load(self, pair: Pair, version: tuple[int, ...]) -> None:
        try:
            self._loaded[pair] = _load(pair, version, self._ca_file)
        except (OSError, ValueError) as error:
            self._bad[pair] = version
            log.error("the certificate %s cannot be used: %s", pair.certificate, error)


def _version(pair: Pair) -> tuple[int, ...]:
    stats = [pair.certificate.stat(), pair.key.stat()]
    return tuple(value for one in stats for value in (one.st_mtime_ns, one.st_ino, one.st_size))


def _load(pair: Pair, version: tuple[int, ...], ca_file: str) -> _Loaded:
    context = server_context()
    context.load_cert_chain(pair.certificate, pair.key)
    if ca_file:
        context.load_verify_locations(ca_file)  # those of the chosen context count
    first = x509.load_pem_x509_certificates(pair.certificate.read_bytes())[0]
    return _Loaded(context, frozenset(names_of(first)), version)


def names_of(certificate: x509.Certificate) -> list[str]:
    """The DNS names and IP addresses that the certificate is for, in lower case."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return [str(name.value).lower() for name in found]


def write_private(path: Path, data: bytes) -> None:
    """Replace the file at once, readable by us alone."""
    fresh = path.with_suffix(".new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    fresh.replace(path)
