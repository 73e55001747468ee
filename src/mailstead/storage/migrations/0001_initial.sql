-- The first schema. One statement text for both databases; the words with @ are replaced by
-- storage/dialect.py. Times are microseconds since 1970 (UTC), sizes octets, switches 0 or 1.
-- Ids come from `sequence` and are never used again.

CREATE TABLE sequence (
    name TEXT NOT NULL PRIMARY KEY,
    next @int NOT NULL
) @clustered;

-- Who there is: organisations own domains and accounts; an address leads to one account or is an
-- alias with targets. Local-parts are stored folded, domains as A-labels.

CREATE TABLE organisation (
    id @id,
    name TEXT NOT NULL UNIQUE,
    journal_days @int NOT NULL,
    trash_days @int NOT NULL,
    created @int NOT NULL
);

CREATE TABLE domain (
    id @id,
    organisation @int NOT NULL,
    name TEXT NOT NULL UNIQUE,
    catch_all TEXT,
    created @int NOT NULL
);
CREATE INDEX domain_organisation ON domain (organisation);

CREATE TABLE account (
    id @id,
    organisation @int NOT NULL,
    login TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    password TEXT NOT NULL,
    active @int NOT NULL,
    quota @int NOT NULL,
    used @int NOT NULL,
    emails @int NOT NULL,
    modseq @int NOT NULL,
    created @int NOT NULL
);
CREATE INDEX account_organisation ON account (organisation);

CREATE TABLE address (
    domain @int NOT NULL,
    local_part TEXT NOT NULL,
    account @int,
    PRIMARY KEY (domain, local_part)
) @clustered;
CREATE INDEX address_account ON address (account);

CREATE TABLE alias_target (
    domain @int NOT NULL,
    local_part TEXT NOT NULL,
    target TEXT NOT NULL,
    PRIMARY KEY (domain, local_part, target)
) @clustered;

-- Mailboxes and what lies in them. `content` and `blob` never change; an email is a content in one
-- account; a placement is an email in a mailbox, and the only row that flags touch.

CREATE TABLE mailbox (
    id @id,
    account @int NOT NULL,
    name TEXT NOT NULL,
    special_use TEXT,
    uidvalidity @int NOT NULL,
    uidnext @int NOT NULL,
    modseq @int NOT NULL,
    messages @int NOT NULL,
    unseen @int NOT NULL,
    deleted @int NOT NULL,
    size @int NOT NULL,
    first_recent @int NOT NULL,
    created_modseq @int NOT NULL,
    UNIQUE (account, name)
);

CREATE TABLE keyword (
    mailbox @int NOT NULL,
    name TEXT NOT NULL,
    PRIMARY KEY (mailbox, name)
) @clustered;

CREATE TABLE subscription (
    account @int NOT NULL,
    name TEXT NOT NULL,
    PRIMARY KEY (account, name)
) @clustered;

-- A body lies in consecutive blob rows of at most 256 KiB; `content.blob` is the first.
CREATE TABLE blob (
    id @id,
    data @bytes NOT NULL
);

CREATE TABLE content (
    id @id,
    blob @int NOT NULL,
    body_size @int NOT NULL,
    header @bytes NOT NULL,
    structure @bytes NOT NULL,
    envelope @bytes NOT NULL,
    bodystructure @bytes NOT NULL,
    render_version @int NOT NULL,
    message_id TEXT NOT NULL,
    ancestors TEXT NOT NULL,
    base_subject TEXT NOT NULL,
    sent @int,
    from_key TEXT NOT NULL,
    to_key TEXT NOT NULL,
    cc_key TEXT NOT NULL,
    attachment @int NOT NULL
);
CREATE INDEX content_blob ON content (blob);

CREATE TABLE email (
    id @id,
    account @int NOT NULL,
    content @int NOT NULL,
    thread @int NOT NULL,
    trace TEXT NOT NULL,
    modseq @int NOT NULL
);
CREATE INDEX email_account ON email (account);
CREATE INDEX email_content ON email (content);

CREATE TABLE placement (
    mailbox @int NOT NULL,
    uid @int NOT NULL,
    email @int NOT NULL,
    content @int NOT NULL,
    modseq @int NOT NULL,
    flags @int NOT NULL,
    keywords TEXT NOT NULL,
    internal_date @int NOT NULL,
    saved @int NOT NULL,
    size @int NOT NULL,
    PRIMARY KEY (mailbox, uid)
) @clustered;
CREATE INDEX placement_modseq ON placement (mailbox, modseq);
CREATE INDEX placement_email ON placement (email, mailbox);

CREATE TABLE expunged (
    mailbox @int NOT NULL,
    modseq @int NOT NULL,
    uid @int NOT NULL,
    PRIMARY KEY (mailbox, modseq, uid)
) @clustered;

CREATE TABLE email_gone (
    account @int NOT NULL,
    modseq @int NOT NULL,
    email @int NOT NULL,
    PRIMARY KEY (account, modseq, email)
) @clustered;

CREATE TABLE mailbox_gone (
    account @int NOT NULL,
    modseq @int NOT NULL,
    mailbox @int NOT NULL,
    PRIMARY KEY (account, modseq, mailbox)
) @clustered;

-- The queue: an outgoing message, and one row for each recipient that still waits. A claimed row
-- has `lease`, and `due` set to the same time: when the lease runs out it is due again by itself.

CREATE TABLE outgoing (
    id @id,
    trace TEXT NOT NULL,
    organisation @int NOT NULL,
    account @int,
    reverse_path TEXT NOT NULL,
    header @bytes NOT NULL,
    blob @int NOT NULL,
    body_size @int NOT NULL,
    body_type TEXT NOT NULL,
    smtputf8 @int NOT NULL,
    notify @int NOT NULL,
    created @int NOT NULL
);
CREATE INDEX outgoing_blob ON outgoing (blob);
CREATE INDEX outgoing_trace ON outgoing (trace);

CREATE TABLE queue (
    id @id,
    outgoing @int NOT NULL,
    organisation @int NOT NULL,
    recipient TEXT NOT NULL,
    transport TEXT NOT NULL,
    lane TEXT NOT NULL,
    priority @int NOT NULL,
    due @int NOT NULL,
    hold @int NOT NULL,
    lease @int,
    attempts @int NOT NULL,
    created @int NOT NULL,
    delay_notified @int NOT NULL,
    route TEXT NOT NULL,
    last_tried @int,
    last_reply TEXT NOT NULL
);
CREATE INDEX queue_lane ON queue (lane, due);
CREATE INDEX queue_due ON queue (due) WHERE hold = 0;
CREATE INDEX queue_outgoing ON queue (outgoing);

-- What happened to each message, as JSON (model/entries.py); one row a transaction.

CREATE TABLE journal (
    id @id,
    at @int NOT NULL,
    organisation @int NOT NULL,
    trace TEXT NOT NULL,
    arrival @int NOT NULL,
    entries @bytes NOT NULL
);
CREATE INDEX journal_trace ON journal (trace);
CREATE INDEX journal_at ON journal (at);
