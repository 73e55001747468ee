"""Who is on the line: what is learned of a client once, for all the messages it brings.

Its name in the DNS and the lists that have its address are asked for at its first MAIL, so that who
only knocks costs no question; the answers are there when the first message ends.
"""

import asyncio
import ipaddress

import msgspec

from mailstead.model.world import Resolver
from mailstead.msgauth.iprev import Verdict as IprevVerdict
from mailstead.msgauth.iprev import check as check_iprev
from mailstead.services.inbound.answers import Answers, Errand
from mailstead.services.inbound.lists import Hit, Lists
from mailstead.services.outbound.asking import answer


class Known(msgspec.Struct, frozen=True):
    """What is known of a client; nothing, if the DNS was too slow."""

    iprev: IprevVerdict | None = None
    hits: tuple[Hit, ...] = ()


NOTHING_KNOWN = Known()


class Caller:
    """One client, as long as it is connected."""

    def __init__(self, address: str, lists: Lists, resolver: Resolver) -> None:
        self._address, self._lists = address.partition("%")[0], lists
        self._answers = Answers(resolver)
        self._errand: Errand[Known] | None = None
        self._known: Known | None = None
        self.pipelined = False  # it sent on before it could know that it may

    def learn(self) -> None:
        """Begin to ask, if nobody has yet."""
        if self._errand is None:
            self._errand = Errand(self._learn())

    async def known(self, deadline: float) -> Known:
        """What is known by then, at that time of the loop at the latest."""
        self.learn()
        if self._known is None and self._errand is not None:
            self._known = await self._errand.join(deadline) or NOTHING_KNOWN
        return self._known or NOTHING_KNOWN

    def close(self) -> None:
        """It has hung up."""
        if self._errand is not None:
            self._errand.end()

    async def _learn(self) -> Known:
        address = ipaddress.ip_address(self._address)
        async with asyncio.TaskGroup() as group:
            name = group.create_task(answer(check_iprev(self._address), self._answers))
            listed = group.create_task(self._lists.ask([address], self._answers))
        hits = [msgspec.structs.replace(hit, of_client=True) for hit in listed.result()]
        return Known(name.result(), tuple(hits))
