"""`mailstead localserve`: who may log in with what."""

import asyncio
from pathlib import Path

import pytest

from mailstead.cli import localserve
from mailstead.server.config import format_toml, load


def passwords(folder: Path, address: str) -> dict[str, str]:
    config = localserve._config(folder, address, 0, {}, 1)
    loopback = localserve._is_loopback(address)
    return asyncio.run(localserve._populate(config, loopback))


def test_the_known_password_is_for_loopback_alone(tmp_path: Path) -> None:
    known = dict.fromkeys(localserve.LOGINS, "secret")
    assert passwords(tmp_path, "127.0.0.1") == known
    assert passwords(tmp_path, "127.0.0.1") == known
    generated = passwords(tmp_path, "192.0.2.1")  # the same data, now open to others
    assert set(generated) == set(localserve.LOGINS)
    assert "secret" not in generated.values()
    assert len(set(generated.values())) == 3
    assert passwords(tmp_path, "192.0.2.1") == {}  # kept, and known to whoever saw them
    assert passwords(tmp_path, "127.0.0.1") == known


def test_the_configuration_it_writes_can_be_read(tmp_path: Path) -> None:
    config = localserve._config(tmp_path, "::1", 100, {"sink.test": "127.0.0.1:2599"}, 2)
    path = tmp_path / "mailstead.toml"
    path.write_text(format_toml(config))
    assert load(path) == config
    assert config.listen.smtp == ("[::1]:2625",)


def test_only_a_folder_of_ours_is_emptied(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(Exception, match="does not look like ours"):
        localserve._empty(tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "precious"
