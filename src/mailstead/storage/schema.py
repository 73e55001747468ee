"""Migrations: numbered SQL files, each run once and never changed after it has landed.

Holds: `schema_version` says which ran; a database newer than this program is a Refusal.
"""

import re
from importlib import resources

from mailstead.model.errors import Refusal
from mailstead.storage import dialect
from mailstead.storage.store import Tx


def migrate(tx: Tx, words: dict[str, str]) -> None:
    """Bring the schema up to date, inside the transaction given."""
    tx.run("CREATE TABLE IF NOT EXISTS schema_version (version INTEGER NOT NULL PRIMARY KEY)")
    done = {row[0] for row in tx.rows("SELECT version FROM schema_version")}
    steps = migrations()
    if (have := max(done, default=0)) > max(steps):
        raise Refusal(
            f"the database has schema {have}, this Mailstead knows {max(steps)}: "
            "run the newer Mailstead again, or restore a backup made before the upgrade"
        )
    for version, text in steps.items():
        if version not in done:
            for statement in _statements(dialect.spell(text, words)):
                tx.run(statement)
            tx.run("INSERT INTO schema_version (version) VALUES (:version)", version=version)


def migrations() -> dict[int, str]:
    """Number -> text of every migration, in order."""
    folder = resources.files("mailstead.storage") / "migrations"
    found = {int(file.name[:4]): file.read_text("utf-8") for file in folder.iterdir()}
    return dict(sorted(found.items()))


def _statements(text: str) -> list[str]:
    text = re.sub(r"--[^\n]*", "", text)
    return [statement.strip() for statement in text.split(";") if statement.strip()]
