"""The TLS policies of other domains, all together: what to demand of a host, and how it went.

Owns: MTA-STS policies (sts) and figures for reports (tls_figures). What follows from policies is
decided in `demand`. Asked about hosts that the DNS names; routes and smarthosts are the operator's.
"""

import asyncio
import ssl

from mailstead.model.world import World
from mailstead.msgauth import dane
from mailstead.msgauth.tlsrpt import Policy, PolicyType, Result, Session
from mailstead.services.outbound.asking import answer
from mailstead.services.outbound.demand import Demand, NextHop, Unusable, decide
from mailstead.services.outbound.route import MxHost
from mailstead.services.outbound.sts import StsPolicies
from mailstead.services.outbound.targets import Targets
from mailstead.services.outbound.tls_figures import TlsFigures
from mailstead.storage.store import Store


class TlsPolicies:
    """The service. `run` it in a TaskGroup; `close` it at the end."""

    def __init__(
        self, store: Store, world: World, targets: Targets, verifying: ssl.SSLContext
    ) -> None:
        self._world = world
        self._figures = TlsFigures(store, world)
        self._sts = StsPolicies(store, world, targets, verifying, self._note_failure)

    async def run(self) -> None:
        """Refresh policies and write down figures, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._sts.run())
            group.create_task(self._figures.run())

    async def close(self) -> None:
        """Write down what is not yet."""
        await self._figures.flush()

    async def demand(self, hop: NextHop, host: MxHost) -> Demand | Unusable:
        """What is demanded of one of the domain's hosts."""
        binding = None
        if hop.secure:  # else DANE does not apply (RFC 7672 section 2.2.1)
            lookup = dane.find_binding(host.name, hop.port, host.secure)
            binding = await answer(lookup, self._world.resolver)
        needless = isinstance(binding, dane.Unknown) or (binding and binding.usable)
        sts = None if needless else await self._sts.find(hop.domain)
        demanded = decide(hop, host.name, binding, sts)
        if isinstance(demanded, Unusable) and demanded.result:
            self.note(hop.domain, demanded.policy, host.name, demanded.result)
        return demanded

    def note(self, domain: str, policy: Policy, host: str, result: Result) -> None:
        """Count a session that was had, or that failed for want of TLS."""
        self._figures.note(Session(domain, policy, host, result))

    def _note_failure(self, domain: str, result: Result) -> None:
        self._figures.note(Session(domain, Policy(PolicyType.STS), "", result))
