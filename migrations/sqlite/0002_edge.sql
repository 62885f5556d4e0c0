-- What the directory needs where ledger and audit chains live elsewhere (D1 beside Durable
-- Objects); an embedded store leaves all of it unused.

-- Counts a row's changes, so that one made from an outdated reading is found out.
ALTER TABLE organizations ADD COLUMN revision INTEGER NOT NULL DEFAULT 0;

-- Audit rows that were committed with the change they tell of, and still have to join their chain.
CREATE TABLE audit_outbox (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    organization BLOB NOT NULL,
    record       TEXT NOT NULL -- JSON
) STRICT;
CREATE INDEX audit_outbox_of_organization ON audit_outbox (organization, id);

-- Settlements of unknown outcome whose clients got no success: their objects are to void them.
CREATE TABLE pending_voids (
    usage        BLOB PRIMARY KEY,
    organization BLOB NOT NULL,
    due_at       INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX pending_voids_by_time ON pending_voids (due_at);

-- Keys that an object was told are revoked, or will be: it refuses them whatever its askers remember.
CREATE TABLE revoked_keys (
    key BLOB PRIMARY KEY,
    at  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- A receipt's number ends like its organization's, which finds the object that knows it.
CREATE INDEX organizations_by_tag ON organizations (substr(id, 13));
