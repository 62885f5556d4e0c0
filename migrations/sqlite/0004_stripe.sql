-- Events that Stripe delivered; `body` has the signed bytes. Only columns about processing change.
CREATE TABLE stripe_events (
    id           TEXT PRIMARY KEY,
    type         TEXT NOT NULL,
    created      INTEGER NOT NULL,
    livemode     INTEGER,
    customer     TEXT,
    received_at  INTEGER NOT NULL,
    waiting_since INTEGER NOT NULL, -- when it was received, or replayed by a person
    state        TEXT NOT NULL,
    attempts     INTEGER NOT NULL DEFAULT 0,
    due_at       INTEGER NOT NULL,
    processed_at INTEGER,
    error        TEXT,
    body         BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX stripe_events_of_customer ON stripe_events (customer);
CREATE INDEX stripe_events_due ON stripe_events (due_at) WHERE state = 'pending';

-- A customer at Stripe belongs to at most one organization.
CREATE UNIQUE INDEX organizations_by_customer ON organizations (stripe_customer_id)
    WHERE stripe_customer_id IS NOT NULL;

-- A customer's billing state as it was committed last. The next commit is compared with it.
CREATE TABLE billing_customers (
    customer     TEXT PRIMARY KEY,
    organization BLOB NOT NULL,
    standing     TEXT NOT NULL, -- JSON
    revision     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Each revision can be inserted once: of two commits from the same read, the second fails
-- completely.
CREATE TABLE billing_revisions (
    customer TEXT NOT NULL,
    revision INTEGER NOT NULL,
    PRIMARY KEY (customer, revision)
) STRICT, WITHOUT ROWID;

-- Stripe's invoices, mirrored.
CREATE TABLE invoices_mirror (
    id           TEXT PRIMARY KEY,
    organization BLOB NOT NULL,
    created      INTEGER NOT NULL,
    invoice      TEXT NOT NULL -- JSON
) STRICT, WITHOUT ROWID;
CREATE INDEX invoices_of_organization ON invoices_mirror (organization, created);
