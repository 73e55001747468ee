"""Keys: which there are, which sign, and that they go with their domain."""

from collections.abc import Callable

import pytest

from mailstead.model.address import Domain
from mailstead.model.errors import Refusal
from mailstead.model.numbers import DomainId
from mailstead.storage import accounts, dkim
from mailstead.storage.store import Store, Tx

ORG = Domain("example.org")


def populate(tx: Tx) -> DomainId:
    organisation = accounts.create_organisation(tx, "example")
    accounts.create_domain(tx, organisation, Domain("example.net"))
    id_ = accounts.create_domain(tx, organisation, ORG)
    dkim.create(tx, id_, "m1", "rsa", b"PEM 1", True)
    dkim.create(tx, id_, "m2", "rsa", b"PEM 2", False)
    return id_


def signing(tx: Tx, name: str = ORG) -> list[str]:
    return [key.selector for key in dkim.active(tx, name)]


async def test_keys_live_as_long_as_their_domain(open_store: Callable[[], Store]) -> None:
    store = open_store()
    id_ = await store.write(populate)
    assert await store.read(signing) == ["m1"]
    assert await store.read(lambda tx: signing(tx, "example.net")) == []
    assert await store.read(lambda tx: signing(tx, "elsewhere.example")) == []
    await store.write(lambda tx: dkim.activate(tx, id_, "m2"))
    assert await store.read(signing) == ["m2", "m1"]
    await store.write(lambda tx: dkim.retire(tx, id_, "m1"))
    keys = await store.read(lambda tx: dkim.list_all(tx, id_))
    assert [(k.selector, k.algorithm, k.private_key, k.active) for k in keys] == [
        ("m2", "rsa", b"PEM 2", True),
        ("m1", "rsa", b"PEM 1", False),
    ]
    await store.write(lambda tx: accounts.delete_domain(tx, ORG))
    assert await store.read(lambda tx: tx.value("SELECT count(*) FROM dkim_key")) == 0
    await store.close()


async def test_what_is_refused(open_store: Callable[[], Store]) -> None:
    store = open_store()
    id_ = await store.write(populate)
    with pytest.raises(Refusal, match="m1 already"):
        await store.write(lambda tx: dkim.create(tx, id_, "m1", "rsa", b"PEM", True))
    for change in (dkim.activate, dkim.retire):
        with pytest.raises(Refusal, match="there is no key m3"):
            await store.write(lambda tx, change=change: change(tx, id_, "m3"))  # type: ignore[misc]
    await store.close()
