"""The dialogues in tests/transcripts/imap."""

from pathlib import Path

import pytest

from mailstead.testing.house import SimulatedWorld
from mailstead.testing.transcript import play

FOLDER = Path(__file__).parents[1] / "transcripts" / "imap"
SCRIPTS = {path.stem: path.read_text("utf-8") for path in sorted(FOLDER.glob("*.txt"))}


@pytest.mark.parametrize("name", SCRIPTS)
async def test_dialogue(world: SimulatedWorld, name: str) -> None:
    await play(world, SCRIPTS[name])


@pytest.mark.parametrize("name", SCRIPTS)
async def test_dialogue_in_small_pieces(world: SimulatedWorld, name: str) -> None:
    """Any split of the same octets gives the same dialogue."""
    world.network.split = 3
    await play(world, SCRIPTS[name])
