-- Keys that domains sign with (RFC 6376). `private_key` is PEM; the public half follows from it.
-- An active key signs; the others wait to be published, or have been replaced.

CREATE TABLE dkim_key (
    id @id,
    domain @int NOT NULL,
    selector TEXT NOT NULL,
    algorithm TEXT NOT NULL,
    private_key @bytes NOT NULL,
    active @int NOT NULL,
    created @int NOT NULL,
    UNIQUE (domain, selector)
);
