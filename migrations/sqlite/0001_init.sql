-- The gateway's embedded store. Ids are 16-byte UUIDs, times are microseconds since 1970 (UTC).

CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- The process that serves this file, and the head of the file's commit history: one row, which
-- every commit of the native gateway writes. Times are microseconds since 1970.
CREATE TABLE store_owner (
    id            INTEGER PRIMARY KEY CHECK (id = 1),
    owner         BLOB NOT NULL, -- 16 random bytes, new each time the file is opened
    machine       TEXT NOT NULL,
    boot          TEXT NOT NULL,
    pid           INTEGER NOT NULL,
    path          TEXT NOT NULL,
    renewed_until INTEGER,       -- NULL after a clean stop
    commits       INTEGER NOT NULL,
    head          BLOB NOT NULL, -- of the hash chain over all commits
    settlements   INTEGER NOT NULL,
    units         INTEGER NOT NULL,
    committed_at  INTEGER NOT NULL
) STRICT;

CREATE TABLE organizations (
    id                  BLOB PRIMARY KEY,
    name                TEXT NOT NULL,
    plan                TEXT NOT NULL,
    status              TEXT NOT NULL,
    quota               TEXT NOT NULL, -- JSON: settings that differ from the plan's quota
    requests_per_minute INTEGER,
    stripe_customer_id  TEXT,
    contract            TEXT,          -- JSON: the subscription that an operator set
    purchases           TEXT,          -- JSON: what its customer bought at Stripe
    created_at          INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE api_keys (
    id                  BLOB PRIMARY KEY,
    organization        BLOB NOT NULL REFERENCES organizations (id),
    key_hash            BLOB NOT NULL UNIQUE, -- SHA-256; the key itself is not stored
    name                TEXT NOT NULL,
    key_prefix          TEXT NOT NULL,
    scopes              TEXT NOT NULL, -- JSON
    requests_per_minute INTEGER,
    ip_allow            TEXT NOT NULL, -- JSON
    expires_at          INTEGER,
    revoked_at          INTEGER,
    last_used_at        INTEGER,
    created_at          INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX api_keys_of_organization ON api_keys (organization, id);

-- A unit belongs to the period in which it is settled.
CREATE TABLE billing_periods (
    id              INTEGER PRIMARY KEY,
    organization    BLOB NOT NULL,
    starts_at       INTEGER NOT NULL,
    ends_at         INTEGER NOT NULL,
    last_settled_at INTEGER NOT NULL DEFAULT 0,
    -- The terms of the last lease; a closed period is shown with these terms.
    included        INTEGER,
    base_micros     INTEGER,
    overage_micros  INTEGER,
    UNIQUE (organization, starts_at, ends_at)
) STRICT;

CREATE TABLE routes (
    id    INTEGER PRIMARY KEY,
    label TEXT NOT NULL UNIQUE
) STRICT;

-- One row per settled request: narrow, and appended in order of its UUIDv7.
CREATE TABLE usage_events (
    id           BLOB PRIMARY KEY,
    organization BLOB NOT NULL,
    key          BLOB NOT NULL,
    route        INTEGER NOT NULL,
    units        INTEGER NOT NULL,
    period       INTEGER NOT NULL,
    at           INTEGER NOT NULL,
    request_id   TEXT NOT NULL,
    voided       INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

-- A settlement that was voided before it arrived has period 0: its id must be refused.
CREATE INDEX usage_events_refused ON usage_events (id) WHERE period = 0;

-- Usage summed up by hour: written once per group of settlements.
CREATE TABLE usage_counters (
    organization BLOB NOT NULL,
    period       INTEGER NOT NULL,
    hour         INTEGER NOT NULL, -- seconds since 1970
    key          BLOB NOT NULL,
    route        INTEGER NOT NULL,
    units        INTEGER NOT NULL,
    requests     INTEGER NOT NULL,
    PRIMARY KEY (organization, period, hour, key, route)
) STRICT, WITHOUT ROWID;

-- Usage to be sent to Stripe: a row is a bucket.
CREATE TABLE meter_outbox (
    organization BLOB NOT NULL,
    period       INTEGER NOT NULL,
    hour         INTEGER NOT NULL,
    units        INTEGER NOT NULL,
    sealed_at    INTEGER,
    PRIMARY KEY (organization, period, hour)
) STRICT, WITHOUT ROWID;

CREATE TABLE idempotency_keys (
    key            BLOB PRIMARY KEY, -- SHA-256 over organization, route and key
    fingerprint    BLOB NOT NULL,
    usage          BLOB NOT NULL,
    at             INTEGER NOT NULL,
    answer_status  INTEGER,
    answer_headers TEXT,             -- JSON
    answer_body    BLOB
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_keys_by_age ON idempotency_keys (at);

-- A hash chain per organization.
CREATE TABLE audit_logs (
    organization BLOB NOT NULL,
    seq          INTEGER NOT NULL,
    at           INTEGER NOT NULL,
    actor        TEXT NOT NULL,
    action       TEXT NOT NULL,
    resource     TEXT NOT NULL,
    outcome      TEXT NOT NULL,
    request_id   TEXT NOT NULL,
    ip           TEXT NOT NULL,
    details      TEXT NOT NULL,
    prev_hash    BLOB NOT NULL,
    hash         BLOB NOT NULL,
    PRIMARY KEY (organization, seq)
) STRICT, WITHOUT ROWID;
