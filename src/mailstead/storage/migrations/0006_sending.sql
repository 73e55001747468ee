-- What sending needs beyond the queue: policies of others, figures for their reports, whom not to
-- write to, and what a sender asked for (RFC 3461, RFC 8689).

-- The MTA-STS policy of a domain, as fetched (RFC 8461); `mx` is its patterns, one a line.
CREATE TABLE mta_sts (
    domain TEXT NOT NULL PRIMARY KEY,
    policy_id TEXT NOT NULL,
    mode TEXT NOT NULL,
    mx TEXT NOT NULL,
    fetched @int NOT NULL,
    expires @int NOT NULL
) @clustered;

-- TLS sessions with a domain's hosts, by day (since 1970, UTC), policy and result (RFC 8460).
CREATE TABLE tls_result (
    day @int NOT NULL,
    domain TEXT NOT NULL,
    policy_type TEXT NOT NULL,
    policy TEXT NOT NULL,
    mx_host TEXT NOT NULL,
    result TEXT NOT NULL,
    sessions @int NOT NULL,
    PRIMARY KEY (day, domain, policy_type, policy, mx_host, result)
) @clustered;

-- Secrets of our own making, by purpose: keys that sign return paths.
CREATE TABLE secret (
    name TEXT NOT NULL,
    created @int NOT NULL,
    value @bytes NOT NULL,
    PRIMARY KEY (name, created)
) @clustered;

-- Addresses that an organisation's stream writes to no more; the empty stream means all.
CREATE TABLE suppression (
    organisation @int NOT NULL,
    stream TEXT NOT NULL,
    address TEXT NOT NULL,
    reason TEXT NOT NULL,
    evidence TEXT NOT NULL,
    created @int NOT NULL,
    expires @int,
    PRIMARY KEY (organisation, stream, address)
) @clustered;
CREATE INDEX suppression_expires ON suppression (expires) WHERE expires IS NOT NULL;

-- What the sender asked for: ENVID and RET of the message, NOTIFY and ORCPT of the recipient, TLS on
-- all of the way; empty where nothing was asked.
ALTER TABLE outgoing ADD COLUMN envid TEXT NOT NULL DEFAULT '';
ALTER TABLE outgoing ADD COLUMN ret TEXT NOT NULL DEFAULT '';
ALTER TABLE outgoing ADD COLUMN require_tls @int NOT NULL DEFAULT 0;
ALTER TABLE queue ADD COLUMN notify TEXT NOT NULL DEFAULT '';
ALTER TABLE queue ADD COLUMN orcpt TEXT NOT NULL DEFAULT '';
