"""The dialogues in tests/transcripts/pop3."""

from pathlib import Path

import pytest

from mailstead.testing.house import SimulatedWorld
from mailstead.testing.transcript import play

FOLDER = Path(__file__).parents[1] / "transcripts" / "pop3"
SCRIPTS = {path.stem: path.read_text("utf-8") for path in sorted(FOLDER.glob("*.txt"))}


@pytest.mark.parametrize("name", SCRIPTS)
@pytest.mark.parametrize("split", [0, 1, 7])
async def test_dialogue(world: SimulatedWorld, name: str, split: int) -> None:
    """As it is written, and with the same octets in pieces of any size."""
    world.network.split = split
    await play(world, SCRIPTS[name])
