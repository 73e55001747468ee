"""Domains whose ARC seals are believed (RFC 8617): by an organisation, or with 0 by everybody."""

import msgspec

from mailstead.model.address import Domain
from mailstead.model.errors import Refusal
from mailstead.model.numbers import OrganisationId
from mailstead.storage.store import Tx, to_micros

SEALERS_LIMIT = 1000  # of one organisation
EVERYBODY = OrganisationId(0)


class Sealer(msgspec.Struct, frozen=True):
    """One domain, and who believes it."""

    organisation: OrganisationId
    domain: Domain


def add(tx: Tx, organisation: OrganisationId, domain: Domain) -> None:
    """Believe the domain from now on."""
    remove(tx, organisation, domain)
    count = tx.value(
        "SELECT count(*) FROM arc_sealer WHERE organisation = :organisation",
        organisation=organisation,
    )
    if count >= SEALERS_LIMIT:
        raise Refusal(f"there are {SEALERS_LIMIT} sealers, and no more can be", "LIMIT")
    tx.run(
        "INSERT INTO arc_sealer (organisation, domain, created)"
        " VALUES (:organisation, :domain, :now)",
        organisation=organisation,
        domain=domain,
        now=to_micros(tx.now),
    )


def remove(tx: Tx, organisation: OrganisationId, domain: Domain) -> bool:
    """Believe it no more; whether it was."""
    sql = "DELETE FROM arc_sealer WHERE organisation = :organisation AND domain = :domain"
    return tx.run(sql, organisation=organisation, domain=domain) > 0


def list_all(tx: Tx) -> list[Sealer]:
    """All sealers of all organisations."""
    rows = tx.rows("SELECT organisation, domain FROM arc_sealer ORDER BY organisation, domain")
    return [Sealer(organisation, domain) for organisation, domain in rows]


def believed_by(tx: Tx, organisation: OrganisationId) -> frozenset[str]:
    """The domains that the organisation believes, with those that everybody does."""
    rows = tx.rows(
        "SELECT domain FROM arc_sealer WHERE organisation = :organisation OR organisation = 0",
        organisation=organisation,
    )
    return frozenset(domain for (domain,) in rows)
