"""The key that our return paths are signed with: made when first needed, kept in the store."""

from mailstead.model.world import Random
from mailstead.storage import secrets
from mailstead.storage.store import Store

PURPOSE = "return path"
KEY_LENGTH = 32  # octets


class ReturnPaths:
    """The service."""

    def __init__(self, store: Store, random: Random) -> None:
        self._store, self._random = store, random
        self._key = b""

    async def key(self) -> bytes:
        """The key for new return paths."""
        if not self._key:
            fresh = self._random.token(KEY_LENGTH)
            self._key = await self._store.write(lambda tx: secrets.ensure(tx, PURPOSE, fresh))
        return self._key
