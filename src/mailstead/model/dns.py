"""Questions to the DNS and what may come back, with failures as answers (RFC 1035)."""

import enum

import msgspec


class Question(msgspec.Struct, frozen=True):
    """`type` as "MX", "A", "AAAA", "TXT", "PTR", "TLSA", "CNAME"; `name` in lower-case A-labels."""

    type: str
    name: str


class Status(enum.StrEnum):
    """How the look-up ended. The last two say nothing about the name itself: try again later."""

    NOERROR = "noerror"  # the name exists; there may be no record of this type
    NXDOMAIN = "nxdomain"  # the name does not exist (RFC 8020)
    SERVFAIL = "servfail"  # also REFUSED, and anything malformed
    TIMEOUT = "timeout"


class Mx(msgspec.Struct, frozen=True, order=True):
    """One mail exchanger; an exchange of "." is the null MX (RFC 7505)."""

    preference: int
    exchange: str


class Answer(msgspec.Struct, frozen=True):
    """What the DNS said: each record in presentation form without a final dot ("10 mx.example").

    TXT records are joined into one string each (RFC 7208 section 3.3). `authenticated` is the AD
    bit, and true only if it came from a resolver we have reason to trust.
    """

    status: Status
    records: tuple[str, ...] = ()
    authenticated: bool = False

    @property
    def failed(self) -> bool:
        """Nothing was learned: neither that the name exists nor that it does not."""
        return self.status in (Status.SERVFAIL, Status.TIMEOUT)

    def mx(self) -> list[Mx]:
        """The records of an MX question, best first."""
        pairs = (record.split(maxsplit=1) for record in self.records)
        return sorted(Mx(int(preference), exchange) for preference, exchange in pairs)
