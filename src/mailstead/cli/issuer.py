"""`mailstead issuer`: whose tokens are believed at log-in (OAUTHBEARER, XOAUTH2)."""

from pathlib import Path

import click
import msgspec

from mailstead.cli.house import read, teaching, write
from mailstead.cli.printing import for_operators, show, table
from mailstead.model.errors import Refusal
from mailstead.model.numbers import OrganisationId
from mailstead.services.fetching import make_request
from mailstead.storage import accounts, token_issuers
from mailstead.storage.store import Tx
from mailstead.storage.token_issuers import Issuer

SECRET_LIMIT = 4096  # octets


class ShownIssuer(msgspec.Struct, frozen=True):
    """An issuer as it is listed: all but its secret."""

    issuer: str
    checked: str
    audience: str
    claim: str


@click.group()
def issuer() -> None:
    """Who issues tokens that log in instead of a password."""


@issuer.command()
@click.argument("issuer")
@click.option("--jwks", default="", metavar="URL", help="Its keys (RFC 7517).")
@click.option("--introspection", default="", metavar="URL", help="Where to ask (RFC 7662).")
@click.option("--client-id", default="", help="Our name there, for asking.")
@click.option(
    "--client-secret-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The first line of this file is our password there.",
)
@click.option("--audience", default="", help="Whom its tokens have to be meant for (aud).")
@click.option("--claim", default="email", show_default=True, help="Says whose the token is.")
@click.option("--organisation", default="", help="Believed about its accounts only.")
@for_operators
def add(
    issuer: str,
    jwks: str,
    introspection: str,
    client_id: str,
    client_secret_file: Path | None,
    audience: str,
    claim: str,
    organisation: str,
    as_json: bool,
) -> None:
    """Believe tokens of ISSUER (their "iss"): by its keys, or by asking it about each.

    Give --audience wherever the issuer serves other programs too: else a token that was made for
    one of them lets its owner read mail.
    """
    if bool(jwks) == bool(introspection):
        raise click.UsageError("give --jwks, or --introspection")
    try:
        make_request(jwks or introspection, 0, b"", "")
    except ValueError as error:
        raise click.UsageError(f"{jwks or introspection}: {error}") from error
    new = Issuer(
        issuer=issuer,
        jwks_url=jwks,
        introspection_url=introspection,
        client_id=client_id,
        client_secret=_secret(client_secret_file) if client_secret_file else b"",
        audience=audience,
        claim=claim,
    )
    with teaching(ALREADYEXISTS="mailstead issuer list"):
        write(lambda tx: _add(tx, new, organisation))
    show({"issuer": issuer}, f"Tokens of {issuer} are believed.", as_json)


def _add(tx: Tx, new: Issuer, organisation: str) -> None:
    owner = OrganisationId(0)
    if organisation:
        found = accounts.find_organisation(tx, organisation)
        if found is None:
            raise Refusal(f"there is no organisation {organisation}: mailstead domain list")
        owner = found
    token_issuers.add(tx, msgspec.structs.replace(new, organisation=owner))


def _secret(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.readline(SECRET_LIMIT).rstrip(b"\r\n")
    except OSError as error:
        raise Refusal(f"{path}: {error.strerror}") from error


@issuer.command("list")
@for_operators
def list_(as_json: bool) -> None:
    """List whose tokens are believed."""
    found = [
        ShownIssuer(one.issuer, one.jwks_url or one.introspection_url, one.audience, one.claim)
        for one in read(token_issuers.list_all)
    ]
    rows = [(one.issuer, one.checked, one.audience or "-", one.claim) for one in found]
    text = table(("ISSUER", "CHECKED AT", "AUDIENCE", "CLAIM"), rows)
    show(found, text if rows else "None. Next: mailstead issuer add URL --jwks URL", as_json)


@issuer.command()
@click.argument("issuer")
@for_operators
def remove(issuer: str, as_json: bool) -> None:
    """Believe its tokens no longer."""
    with teaching(NONEXISTENT="mailstead issuer list"):
        write(lambda tx: token_issuers.remove(tx, issuer))
    show({"removed": issuer}, f"Tokens of {issuer} are no longer believed.", as_json)
