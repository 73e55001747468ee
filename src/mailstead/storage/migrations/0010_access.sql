-- What mail programs need beyond one password and one's own mailboxes.

-- What SCRAM proves the password of the account with (RFC 5803), empty where it is not known.
ALTER TABLE account ADD COLUMN scram TEXT NOT NULL DEFAULT '';

-- Passwords for one program each; random, so a keyed hash is enough. `scopes` names protocols.
CREATE TABLE app_password (
    id @id,
    account @int NOT NULL,
    name TEXT NOT NULL,
    secret TEXT NOT NULL,
    scram TEXT NOT NULL,
    scopes TEXT NOT NULL,
    created @int NOT NULL,
    expires @int,
    last_used @int,
    UNIQUE (account, name)
);

-- Who issues the tokens of OAUTHBEARER (RFC 7628), and how they are checked: by its keys or by
-- asking it. `claim` is where a token says whose it is. An organisation of 0 is everybody.
CREATE TABLE token_issuer (
    issuer TEXT NOT NULL PRIMARY KEY,
    organisation @int NOT NULL,
    jwks_url TEXT NOT NULL,
    introspection_url TEXT NOT NULL,
    client_id TEXT NOT NULL,
    client_secret @bytes NOT NULL,
    audience TEXT NOT NULL,
    claim TEXT NOT NULL,
    created @int NOT NULL
) @clustered;

-- Certificates that log in by themselves (EXTERNAL, RFC 4422): SHA-256 of the whole.
CREATE TABLE login_certificate (
    fingerprint TEXT NOT NULL PRIMARY KEY,
    account @int NOT NULL,
    created @int NOT NULL
) @clustered;
CREATE INDEX login_certificate_account ON login_certificate (account);

-- Rights that others have in a mailbox (RFC 4314); an account of 0 is all of the organisation.
CREATE TABLE mailbox_right (
    mailbox @int NOT NULL,
    account @int NOT NULL,
    rights TEXT NOT NULL,
    PRIMARY KEY (mailbox, account)
) @clustered;
CREATE INDEX mailbox_right_account ON mailbox_right (account);

-- Annotations (RFC 5464): of a mailbox, or with a mailbox of 0 of the server; `owner` is the account
-- that sees a private one, 0 for a shared one.
CREATE TABLE annotation (
    mailbox @int NOT NULL,
    owner @int NOT NULL,
    entry TEXT NOT NULL,
    value @bytes NOT NULL,
    PRIMARY KEY (mailbox, owner, entry)
) @clustered;
CREATE INDEX annotation_owner ON annotation (owner);

-- Who has the maildrop of an account (RFC 1939 section 3), until when if nobody says more; and what
-- was retrieved when, for accounts that keep such mail `pop3_days`.
CREATE TABLE maildrop_lock (
    account @int NOT NULL PRIMARY KEY,
    holder TEXT NOT NULL,
    until @int NOT NULL
) @clustered;
ALTER TABLE account ADD COLUMN pop3_days @int;
CREATE TABLE retrieved (
    mailbox @int NOT NULL,
    uid @int NOT NULL,
    at @int NOT NULL,
    PRIMARY KEY (mailbox, uid)
) @clustered;
CREATE INDEX retrieved_at ON retrieved (at);

-- The thread that a Message-ID of an account leads to (64 bits of its hash; RFC 5256).
CREATE TABLE thread_key (
    account @int NOT NULL,
    key @int NOT NULL,
    thread @int NOT NULL,
    PRIMARY KEY (account, key)
) @clustered;
