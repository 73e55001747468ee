"""What always holds in the store, whatever happened before: `broken` lists what does not."""

from mailstead.storage import check
from mailstead.storage.packfile import Place
from mailstead.storage.store import Tx


def broken(tx: Tx) -> list[str]:
    """Each rule that does not hold, and each packed part that cannot be read."""
    found = check.broken(tx)
    last: Place | None = (0, 0, -1, 0)
    while last:
        page = check.read_parts(tx, last[1], last[2])
        found += [one.what for one in page.damage]
        last = page.last
    return found
