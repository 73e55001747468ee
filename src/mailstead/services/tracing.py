"""The ids by which messages are found again: the trace that we give each, its own Message-ID."""

from mailstead.message import header as fields
from mailstead.model.numbers import TraceId
from mailstead.model.world import World

_DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base32


def new_trace(world: World) -> TraceId:
    """An id that nobody else has: 60 bits, in letters and digits that are easy to read out."""
    number = int.from_bytes(world.random.token(8), "big") >> 4
    return TraceId("".join(_DIGITS[number >> shift & 31] for shift in range(55, -1, -5)))


def message_id(header: bytes) -> str:
    """The Message-ID field, as text for the journal."""
    return (fields.get(header, "Message-ID") or b"").decode("utf-8", "replace")[:998]
