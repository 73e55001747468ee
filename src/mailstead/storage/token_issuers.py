"""Who issues the tokens that are believed (OAUTHBEARER, RFC 7628), and how they are checked.

By its keys (`jwks_url`) or by asking it (`introspection_url`, RFC 7662). `claim` is where a token
says whose it is. An organisation of 0 is everybody.
"""

from typing import Any

import msgspec

from mailstead.model.errors import Refusal
from mailstead.model.numbers import OrganisationId
from mailstead.storage.store import Tx, to_micros

ISSUERS_LIMIT = 20  # each may be asked about a token that does not say whose it is


class Issuer(msgspec.Struct, frozen=True):
    """One of them."""

    issuer: str
    organisation: OrganisationId = OrganisationId(0)
    jwks_url: str = ""
    introspection_url: str = ""
    client_id: str = ""
    client_secret: bytes = b""
    audience: str = ""
    claim: str = "email"

    def __repr__(self) -> str:
        return f"Issuer({self.issuer!r})"


def add(tx: Tx, new: Issuer) -> None:
    """Believe it from now on; Refusal if it is believed already."""
    have = list_all(tx)
    if any(one.issuer == new.issuer for one in have):
        raise Refusal(f"{new.issuer} is there already", "ALREADYEXISTS")
    if len(have) >= ISSUERS_LIMIT:
        raise Refusal(f"there are at most {ISSUERS_LIMIT} issuers", "LIMIT")
    tx.run(
        f"INSERT INTO token_issuer ({_ISSUER}, created) VALUES (:issuer, :organisation, :jwks_url,"
        " :introspection_url, :client_id, :client_secret, :audience, :claim, :now)",
        now=to_micros(tx.now),
        **msgspec.structs.asdict(new),
    )


def list_all(tx: Tx) -> list[Issuer]:
    """All of them, by name."""
    rows = tx.rows(f"SELECT {_ISSUER} FROM token_issuer ORDER BY issuer")
    return [_issuer(*row) for row in rows]


def remove(tx: Tx, issuer: str) -> None:
    """Believe it no longer; Refusal if it never was."""
    if not tx.run("DELETE FROM token_issuer WHERE issuer = :issuer", issuer=issuer):
        raise Refusal(f"there is no issuer {issuer}", "NONEXISTENT")


def any_at_all(tx: Tx) -> bool:
    """Whether any is believed."""
    return tx.value("SELECT 1 FROM token_issuer LIMIT 1") is not None


def _issuer(*row: Any) -> Issuer:
    named = dict(zip(Issuer.__struct_fields__, row, strict=True))
    return Issuer(**{**named, "client_secret": bytes(named["client_secret"])})


_ISSUER = (
    "issuer, organisation, jwks_url, introspection_url, client_id, client_secret, audience, claim"
)
