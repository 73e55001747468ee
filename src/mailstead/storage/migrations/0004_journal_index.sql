-- Whom and what a row of the journal is about: 64 bits of the hash of an address, a Message-ID or
-- the number of a recipient in the queue. Keys lie in blocks of 128 rows, so that those of a commit
-- fall on one or two pages, wherever the hash would send them (docs/adr/0011).

CREATE TABLE journal_key (
    block @int NOT NULL,
    key @int NOT NULL,
    journal @int NOT NULL,
    PRIMARY KEY (block, key, journal)
) @clustered;
