-- What a sender of much mail needs: streams, sources, rules that hold mail back, domains that we
-- relay for, and limits for accounts that somebody else got hold of.

-- A kind of mail that an organisation sends apart from what its people write; lower priorities
-- leave first. Its recipients get a return path each, so that bounces come home to us.
CREATE TABLE stream (
    organisation @int NOT NULL,
    name TEXT NOT NULL,
    priority @int NOT NULL,
    created @int NOT NULL,
    PRIMARY KEY (organisation, name)
) @clustered;

-- The stream that a message belongs to, the domain of its signed return paths, and what was said of
-- a release in the future (RFC 4865); empty: none.
ALTER TABLE outgoing ADD COLUMN stream TEXT NOT NULL DEFAULT '';
ALTER TABLE outgoing ADD COLUMN release TEXT NOT NULL DEFAULT '';
ALTER TABLE outgoing ADD COLUMN return_domain TEXT NOT NULL DEFAULT '';

-- The source that a recipient's mail leaves from, and when it is given up; empty: as usual.
ALTER TABLE queue ADD COLUMN source TEXT NOT NULL DEFAULT '';
ALTER TABLE queue ADD COLUMN expires @int;

-- Claiming goes by priority, organisation and time; what stands before is skipped by its lane.
DROP INDEX queue_due;
CREATE INDEX queue_turn ON queue (priority, organisation, due, lane) WHERE hold = 0;

-- Mail that is kept back when its turn comes; what is empty (0 of organisation) matches all.
CREATE TABLE hold_rule (
    id @id,
    organisation @int NOT NULL,
    stream TEXT NOT NULL,
    reverse_path TEXT NOT NULL,
    recipient TEXT NOT NULL,
    reason TEXT NOT NULL,
    created @int NOT NULL
);

-- Outgoing addresses; `warming` is when a new one began to send, until it is warm.
CREATE TABLE source (
    name TEXT NOT NULL PRIMARY KEY,
    address TEXT NOT NULL,
    helo TEXT NOT NULL,
    warming @int,
    created @int NOT NULL
) @clustered;

CREATE TABLE pool (
    name TEXT NOT NULL,
    source TEXT NOT NULL,
    PRIMARY KEY (name, source)
) @clustered;

-- Who sends from which pool; 0 and the empty text mean all, the more exact row counts.
CREATE TABLE pool_use (
    organisation @int NOT NULL,
    domain TEXT NOT NULL,
    stream TEXT NOT NULL,
    pool TEXT NOT NULL,
    PRIMARY KEY (organisation, domain, stream)
) @clustered;

-- What a warming source sent to a provider on a day (since 1970, UTC).
CREATE TABLE source_day (
    source TEXT NOT NULL,
    provider TEXT NOT NULL,
    day @int NOT NULL,
    sent @int NOT NULL,
    PRIMARY KEY (source, provider, day)
) @clustered;

-- Domains whose mail we take for another server. One that is hosted here as well is split: only
-- addresses that do not exist here go there. `host` is host:port, empty for what the DNS says;
-- `recipients` says how they are known ("list", "call"); `days` is how long mail waits.
CREATE TABLE relay_domain (
    name TEXT NOT NULL PRIMARY KEY,
    organisation @int NOT NULL,
    host TEXT NOT NULL,
    transport TEXT NOT NULL,
    recipients TEXT NOT NULL,
    days @int NOT NULL,
    created @int NOT NULL
) @clustered;

CREATE TABLE relay_recipient (
    domain TEXT NOT NULL,
    local_part TEXT NOT NULL,
    PRIMARY KEY (domain, local_part)
) @clustered;

-- What another server said when it was asked whether it takes mail for an address.
CREATE TABLE call_ahead (
    address TEXT NOT NULL PRIMARY KEY,
    taken @int NOT NULL,
    reply TEXT NOT NULL,
    expires @int NOT NULL
) @clustered;
CREATE INDEX call_ahead_expires ON call_ahead (expires);

-- Addresses beyond its own that an account may write as; "@domain" is all of a domain.
CREATE TABLE send_as (
    account @int NOT NULL,
    address TEXT NOT NULL,
    PRIMARY KEY (account, address)
) @clustered;

-- Recipients of an account by day (since 1970, UTC), those among them it never wrote to before,
-- and whom it wrote to. Limits of the account; NULL is the usual one.
CREATE TABLE account_day (
    account @int NOT NULL,
    day @int NOT NULL,
    recipients @int NOT NULL,
    strangers @int NOT NULL,
    PRIMARY KEY (account, day)
) @clustered;
CREATE TABLE correspondent (
    account @int NOT NULL,
    address TEXT NOT NULL,
    last @int NOT NULL,
    PRIMARY KEY (account, address)
) @clustered;
CREATE INDEX correspondent_last ON correspondent (last);
CREATE INDEX account_day_day ON account_day (day);
ALTER TABLE account ADD COLUMN recipients_a_day @int;
ALTER TABLE account ADD COLUMN strangers_a_day @int;

-- The stream of what the account sends without naming another.
ALTER TABLE account ADD COLUMN stream TEXT NOT NULL DEFAULT '';

-- Sites that say that we are blocked or not believed, from when to when; NULL of closed: still.
CREATE TABLE incident (
    id @id,
    site TEXT NOT NULL,
    source TEXT NOT NULL,
    kind TEXT NOT NULL,
    host TEXT NOT NULL,
    said TEXT NOT NULL,
    trace TEXT NOT NULL,
    opened @int NOT NULL,
    last @int NOT NULL,
    times @int NOT NULL,
    closed @int
);
CREATE INDEX incident_open ON incident (site, source, kind) WHERE closed IS NULL;
CREATE INDEX incident_closed ON incident (closed) WHERE closed IS NOT NULL;

-- The MTA-STS policy that we publish for a domain (RFC 8461): its mode, empty for none; the hosts
-- beside ours, with spaces; its id, which changes with it.
ALTER TABLE domain ADD COLUMN sts_mode TEXT NOT NULL DEFAULT '';
ALTER TABLE domain ADD COLUMN sts_mx TEXT NOT NULL DEFAULT '';
ALTER TABLE domain ADD COLUMN sts_id TEXT NOT NULL DEFAULT '';
