"""All mechanisms that there are, and which of them a session may offer (RFC 4422 section 3.2)."""

import base64

import msgspec

from mailstead.protocol import sasl, sasl_bearer, sasl_scram
from mailstead.protocol.sasl import Exchange

PASSWORD_MECHANISMS = ("PLAIN", "LOGIN")


class Offer(msgspec.Struct, frozen=True):
    """What can work here: passwords always, the others where there is something to check with."""

    scram: bool = False  # every account has keys
    tokens: bool = False  # an issuer is believed
    certificate: bool = False  # the peer has shown one


def names(offer: Offer) -> tuple[str, ...]:
    """The mechanisms that can work."""
    scram = (sasl_scram.MECHANISM,) * offer.scram
    tokens = (sasl_bearer.OAUTHBEARER, sasl_bearer.XOAUTH2) * offer.tokens
    return (*PASSWORD_MECHANISMS, *scram, *tokens, *(("EXTERNAL",) * offer.certificate))


def begin(name: str, initial: bytes | None, random: bytes) -> Exchange:
    """The server's side of the mechanism; KeyError if there is none of that name."""
    match name:
        case "PLAIN":
            return sasl.plain(initial)
        case "LOGIN":
            return sasl.login(initial)
        case sasl_scram.MECHANISM:
            return sasl_scram.server(initial, base64.b64encode(random))
        case sasl_bearer.OAUTHBEARER:
            return sasl_bearer.oauthbearer(initial)
        case sasl_bearer.XOAUTH2:
            return sasl_bearer.xoauth2(initial)
        case "EXTERNAL":
            return sasl.external(initial)
        case _:
            raise KeyError(name)
