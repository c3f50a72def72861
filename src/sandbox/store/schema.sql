-- Times are microseconds since the Unix epoch. A tenant is what one account sees in one mode (test or live).
CREATE TABLE IF NOT EXISTS tenant (
    id          INTEGER PRIMARY KEY,
    account     TEXT    NOT NULL,
    live        INTEGER NOT NULL,
    webhook_url TEXT,                          -- the fallback for all events
    secret      TEXT    NOT NULL,              -- signs what goes to the fallback
    log_count   INTEGER NOT NULL DEFAULT 0,    -- the number of the newest log row
    UNIQUE (account, live)
);
CREATE TABLE IF NOT EXISTS api_key (
    key    TEXT PRIMARY KEY,
    tenant INTEGER NOT NULL REFERENCES tenant (id)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS subscription (
    seq               INTEGER PRIMARY KEY AUTOINCREMENT, -- never used again: deliveries outlive their subscription
    id                BLOB    NOT NULL UNIQUE,  -- UUID
    tenant            INTEGER NOT NULL REFERENCES tenant (id),
    event_type        TEXT    NOT NULL,
    webhook_url       TEXT    NOT NULL,
    is_active         INTEGER NOT NULL DEFAULT 1,
    description       TEXT    NOT NULL DEFAULT '',
    filters           TEXT    NOT NULL DEFAULT '{}',
    secret            TEXT    NOT NULL,
    previous_secret   TEXT,                     -- still signed with until previous_until
    previous_until    INTEGER,
    created_at        INTEGER NOT NULL,
    updated_at        INTEGER NOT NULL,
    total             INTEGER NOT NULL DEFAULT 0,
    successful        INTEGER NOT NULL DEFAULT 0,
    failed            INTEGER NOT NULL DEFAULT 0,
    last_triggered_at INTEGER
);
CREATE INDEX IF NOT EXISTS subscription_match ON subscription (tenant, event_type) WHERE is_active;
CREATE INDEX IF NOT EXISTS subscription_list ON subscription (tenant, seq);
-- One event on its way to one receiver. Its id is the delivery id that the receiver sees, the same for every attempt.
CREATE TABLE IF NOT EXISTS delivery (
    seq          INTEGER PRIMARY KEY AUTOINCREMENT,
    id           TEXT    NOT NULL,
    tenant       INTEGER NOT NULL,
    subscription INTEGER,                       -- subscription.seq; null for the tenant's fallback and for tests
    event_type   TEXT    NOT NULL,
    webhook_url  TEXT    NOT NULL,
    body         BLOB    NOT NULL,
    signed       INTEGER NOT NULL DEFAULT 1,
    attempts     INTEGER NOT NULL DEFAULT 0,    -- how many have been made
    max_attempts INTEGER NOT NULL,              -- with which attempt it ends
    outcome      INTEGER NOT NULL DEFAULT 0,    -- 0 none yet, 1 delivered, 2 failed: as the statistics count it
    log          INTEGER NOT NULL,              -- log.number of its newest row
    due_at       INTEGER                        -- null once it is delivered or given up
);
CREATE INDEX IF NOT EXISTS delivery_due ON delivery (due_at) WHERE due_at IS NOT NULL;
CREATE TABLE IF NOT EXISTS log (
    tenant           INTEGER NOT NULL,
    number           INTEGER NOT NULL,          -- 1, 2, 3 … within the tenant, without a gap
    id               BLOB    NOT NULL UNIQUE,   -- UUID
    delivery         INTEGER NOT NULL,
    status           INTEGER NOT NULL,          -- 0 pending, 1 delivered, 2 failed, 3 retrying
    http_status_code INTEGER,
    attempt_number   INTEGER NOT NULL,
    error_message    TEXT,
    created_at       INTEGER NOT NULL,
    next_retry_at    INTEGER,
    PRIMARY KEY (tenant, number)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS idempotency (
    tenant      INTEGER NOT NULL,
    key         TEXT    NOT NULL,
    fingerprint BLOB    NOT NULL,               -- of method, path and body
    status      INTEGER,                        -- null while the first request is still being worked on
    answer      BLOB,
    request_id  BLOB,                           -- of the first request: its answer may hold it
    created_at  INTEGER NOT NULL,
    PRIMARY KEY (tenant, key)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS idempotency_age ON idempotency (created_at);
