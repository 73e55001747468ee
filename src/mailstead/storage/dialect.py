"""Where the databases differ: the words of the migrations. All other SQL is the same text."""

SQLITE = {
    "@id": "INTEGER NOT NULL PRIMARY KEY",
    "@int": "INTEGER",
    "@bytes": "BLOB",
    "@clustered": "WITHOUT ROWID",
}


def spell(migration: str, words: dict[str, str]) -> str:
    """The migration as this database spells it."""
    for word, meaning in words.items():
        migration = migration.replace(word, meaning)
    return migration
