"""What every visit needs of the house, and what a listener is for."""

import enum
from pathlib import Path

import msgspec

from mailstead.model.world import World
from mailstead.services.accounts import Accounts
from mailstead.services.delivery.known import KnownRecipients
from mailstead.services.delivery.recipients import Catch
from mailstead.services.delivery.relaying import Relays
from mailstead.services.doorkeeper import Doorkeeper
from mailstead.services.filters.asking import Filters
from mailstead.services.inbound.lists import Lists
from mailstead.services.inbound.own_code import OwnCode
from mailstead.services.inbound.scoring import Scoring
from mailstead.services.inbound.wishes import KnownWishes
from mailstead.services.metering import NO_METER, Meter
from mailstead.services.return_path import ReturnPaths
from mailstead.services.signing import Signing
from mailstead.services.watch import Watch
from mailstead.storage.blobs import Budget
from mailstead.storage.store import Store


class Role(enum.StrEnum):
    """What a listener is for."""

    MX = "mx"
    SUBMISSION = "submission"
    LMTP = "lmtp"  # from hosts of ours; nothing is relayed


class Site(msgspec.Struct, frozen=True):
    """What every visit needs of the house."""

    hostname: str
    size_limit: int
    spool: Path
    store: Store
    world: World
    watch: Watch
    accounts: Accounts
    signing: Signing
    known: KnownRecipients
    relays: Relays
    return_paths: ReturnPaths
    doorkeeper: Doorkeeper
    budget: Budget
    lists: Lists
    scoring: Scoring
    filters: Filters
    own_code: OwnCode
    wishes: KnownWishes
    catch: Catch | None = None
    meter: Meter = NO_METER
