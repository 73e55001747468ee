"""systemd finds nothing wrong with the unit."""

from collections.abc import Callable
from pathlib import Path

UNIT = Path(__file__).parents[2] / "contrib/mailstead.service"


def test_systemd_accepts_the_unit(
    need: Callable[..., None], run: Callable[..., str], tmp_path: Path
) -> None:
    need("systemd-analyze")
    unit = tmp_path / "mailstead.service"
    text = UNIT.read_text("utf-8")
    assert "ExecStart=/opt/mailstead/bin/mailstead " in text
    unit.write_text(text.replace("/opt/mailstead/bin/mailstead", "/bin/true"))
    assert run("systemd-analyze", "verify", unit) == ""
