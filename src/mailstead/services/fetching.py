"""A page of another server's over HTTPS, at a URL that an operator or a stranger has named.

The host is looked up here, and only addresses that `Targets` allows are connected to, so that no
URL leads into our own network; no redirects are followed. Both have a time limit.
"""

import asyncio
import ssl
from datetime import timedelta
from urllib.parse import urlsplit

import msgspec

from mailstead.model.world import World
from mailstead.net import https
from mailstead.net.https import HttpError, Page, Request
from mailstead.services.outbound.asking import answer
from mailstead.services.outbound.route import find_addresses
from mailstead.services.outbound.targets import Targets

FETCH_TIMEOUT = timedelta(seconds=10)
ADDRESSES_LIMIT = 2  # of a host


class FetchFailed(msgspec.Struct, frozen=True):
    """There is no page to be had; the reason is for people."""

    reason: str


class Fetching(msgspec.Struct, frozen=True):
    """What is needed to ask: the world, where to go at all, whom to trust."""

    world: World
    targets: Targets
    context: ssl.SSLContext

    async def fetch(
        self, url: str, size_limit: int, form: bytes = b"", authorization: str = ""
    ) -> Page | FetchFailed:
        """What the URL gives, of any status."""
        try:
            request = make_request(url, size_limit, form, authorization)
            async with asyncio.timeout(FETCH_TIMEOUT.total_seconds()):
                return await self._fetch(request)
        except TimeoutError:
            return FetchFailed(f"{url} takes too long")
        except (HttpError, OSError, ValueError) as error:  # ValueError: no name for TLS
            return FetchFailed(f"{url}: {error}")

    async def _fetch(self, request: Request) -> Page:
        found = await answer(find_addresses(request.host), self.world.resolver)
        usable = [one for one in found.addresses if self.targets.is_usable(one)][:ADDRESSES_LIMIT]
        failure: Exception = HttpError("the host has no address that can be used")
        for address in usable:
            try:
                return await https.get(self.world.network, address, request, self.context)
            except OSError as error:
                failure = error
        raise failure


def make_request(url: str, size_limit: int, form: bytes, authorization: str) -> Request:
    """The request for the URL; ValueError if it is no https URL."""
    parts = urlsplit(url)
    if parts.scheme != "https" or not parts.hostname or parts.username is not None:
        raise ValueError("it is no https URL")
    path = parts.path or "/"
    return Request(
        host=parts.hostname,
        path=f"{path}?{parts.query}" if parts.query else path,
        size_limit=size_limit,
        port=parts.port or https.PORT,
        accept="application/json",
        form=form,
        authorization=authorization,
    )
