-- What judging mail needs: what was learnt of spam, who wrote before, what an organisation wants.
-- An account of 0 is all of its organisation, an organisation of 0 everybody.

-- How many messages were learnt, and how often their tokens came. `generation` changes with them.
CREATE TABLE spam_corpus (
    organisation @int NOT NULL,
    account @int NOT NULL,
    ham @int NOT NULL,
    spam @int NOT NULL,
    generation @int NOT NULL,
    PRIMARY KEY (organisation, account)
) @clustered;
CREATE TABLE spam_token (
    organisation @int NOT NULL,
    account @int NOT NULL,
    token @int NOT NULL,
    ham @int NOT NULL,
    spam @int NOT NULL,
    PRIMARY KEY (organisation, account, token)
) @clustered;

-- What an email was learnt as, so that it can be taken back; and what waits to be learnt.
CREATE TABLE spam_learnt (
    email @int NOT NULL PRIMARY KEY,
    account @int NOT NULL,
    spam @int NOT NULL,
    learnt @int NOT NULL
) @clustered;
CREATE TABLE spam_lesson (
    id @id,
    account @int NOT NULL,
    email @int NOT NULL,
    spam @int NOT NULL,
    created @int NOT NULL
);

-- What came from a domain, an address or a network before (`kind`), and what was thought of it.
CREATE TABLE sender_memory (
    organisation @int NOT NULL,
    kind TEXT NOT NULL,
    sender TEXT NOT NULL,
    ham @int NOT NULL,
    spam @int NOT NULL,
    first @int NOT NULL,
    last @int NOT NULL,
    PRIMARY KEY (organisation, kind, sender)
) @clustered;
CREATE INDEX sender_memory_last ON sender_memory (last);

-- Who was asked to come again (`source`: a network or an SPF domain), and when it did.
CREATE TABLE greylist (
    source TEXT NOT NULL,
    reverse_path TEXT NOT NULL,
    recipient TEXT NOT NULL,
    first @int NOT NULL,
    passed @int,
    last @int NOT NULL,
    PRIMARY KEY (source, reverse_path, recipient)
) @clustered;
CREATE INDEX greylist_last ON greylist (last);

-- How an organisation, one of its domains or an account wants its mail judged; the most exact row
-- counts. Without a row: as everybody.
CREATE TABLE filter_setting (
    organisation @int NOT NULL,
    domain TEXT NOT NULL,
    account @int NOT NULL,
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (organisation, domain, account, name)
) @clustered;

-- Networks, addresses and domains that are always welcome or never ("allow", "block").
CREATE TABLE filter_list (
    organisation @int NOT NULL,
    account @int NOT NULL,
    entry TEXT NOT NULL,
    verdict TEXT NOT NULL,
    note TEXT NOT NULL,
    created @int NOT NULL,
    PRIMARY KEY (organisation, account, entry)
) @clustered;

-- Other programs that are asked about mail ("milter", "rspamd", "clamd", "http"), in the order of
-- `place`; `direction` is "in", "out" or "both"; `failure` what happens without an answer.
CREATE TABLE filter_engine (
    name TEXT NOT NULL PRIMARY KEY,
    kind TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    direction TEXT NOT NULL,
    failure TEXT NOT NULL,
    time_limit @int NOT NULL,
    place @int NOT NULL,
    created @int NOT NULL
) @clustered;

-- Block lists that are used, beyond or against what is usual, with the key of a registration.
CREATE TABLE dnsbl_use (
    zone TEXT NOT NULL PRIMARY KEY,
    active @int NOT NULL,
    key TEXT NOT NULL,
    created @int NOT NULL
) @clustered;

-- Domains whose ARC seals an organisation believes (RFC 8617).
CREATE TABLE arc_sealer (
    organisation @int NOT NULL,
    domain TEXT NOT NULL,
    created @int NOT NULL,
    PRIMARY KEY (organisation, domain)
) @clustered;
