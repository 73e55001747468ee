"""What dialogues cannot show of CONTEXT=SEARCH: many messages at once."""

import pytest

from mailstead.sessions.imap.updating import FEW
from mailstead.testing.house import SimulatedWorld
from mailstead.testing.transcript import compose, open_house

MANY = FEW + 10


@pytest.mark.rfc("5267 section 4.3")
async def test_many_messages_change_at_once(world: SimulatedWorld) -> None:
    house = await open_house(world)
    for number in range(MANY):
        await house.deliver("alice", compose(f"{number}"))
    client = await house.log_in("alice")
    await client.command("a SELECT INBOX")
    await client.command("b UID SEARCH RETURN (UPDATE COUNT) FLAGGED")
    assert await client.command("c STORE 2:* +FLAGS.SILENT (\\Flagged)") == [
        f'* ESEARCH (TAG "b") UID ADDTO (0 2:{MANY})',
        "c OK STORE completed",
    ]
    assert await client.command("d STORE 1,3 FLAGS.SILENT (\\Flagged)") == [
        '* ESEARCH (TAG "b") UID ADDTO (0 1)',
        "d OK STORE completed",
    ]
    assert await client.command("e STORE 2:* -FLAGS.SILENT (\\Flagged)") == [
        f'* ESEARCH (TAG "b") UID REMOVEFROM (0 2:{MANY})',
        "e OK STORE completed",
    ]
    await client.command("f STORE 1 +FLAGS.SILENT (\\Deleted)")
    assert (await client.command("g EXPUNGE"))[0] == '* ESEARCH (TAG "b") UID REMOVEFROM (0 1)'
