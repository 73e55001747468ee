"""Duties that one worker has, while the disk is in the way."""

import asyncio

from mailstead.server.duties import Duties
from mailstead.testing.house import SimulatedWorld


async def test_a_lock_that_cannot_be_made_is_tried_again(world: SimulatedWorld) -> None:
    house = await world.house("example.org")
    folder = world.folder / "absent"
    async with asyncio.TaskGroup() as group:
        duties = group.create_task(Duties(folder, house.house).run())
        await world.sleep(seconds=10)
        assert not duties.done()
        folder.mkdir()
        await world.sleep(seconds=10)
        assert (folder / "duties.lock").exists()
        duties.cancel()
