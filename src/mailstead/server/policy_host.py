"""https://mta-sts.DOMAIN/.well-known/mta-sts.txt: the policies of domains hosted here.

RFC 8461 section 3.3. Nothing else is served there; a domain without a policy is not found.
"""

from datetime import timedelta

from mailstead.model.address import parse_domain
from mailstead.msgauth.mtasts import PATH, Mode, policy_host, policy_text
from mailstead.server.operator import Answer, Request, failure
from mailstead.server.wiring import House
from mailstead.storage import sts_policies

# A policy that is tried out can be taken back within a day; one that is meant lasts a month, so
# that nobody who was attacked for a week forgets it (RFC 8461 section 3.2).
MAX_AGES = {
    Mode.NONE: timedelta(days=1),
    Mode.TESTING: timedelta(days=1),
    Mode.ENFORCE: timedelta(days=30),
}
_PREFIX = policy_host("")  # "mta-sts."


async def answer(house: House, request: Request) -> Answer:
    """The policy of the domain whose policy host was asked."""
    if request.target != PATH or not request.host.startswith(_PREFIX):
        return failure(404)
    try:
        domain = parse_domain(request.host.removeprefix(_PREFIX))
    except ValueError:
        return failure(404)
    found = await house.store.look_up(lambda tx: sts_policies.find(tx, domain))
    if found is None:
        return failure(404)
    hosts = (house.config.hostname, *found.mx)
    return Answer(200, policy_text(hosts, found.mode, MAX_AGES[found.mode]), "text/plain")
