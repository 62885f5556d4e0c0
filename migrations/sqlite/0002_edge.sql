-- Columns and tables of a directory whose ledgers and audit chains are elsewhere (D1 with Durable
-- Objects). An embedded store does not use them.

-- Increases with each change of the row: detects stale writes.
ALTER TABLE organizations ADD COLUMN revision INTEGER NOT NULL DEFAULT 0;

-- Audit records that were committed with their change and still have to be appended to their chain.
CREATE TABLE audit_outbox (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    organization BLOB NOT NULL,
    record       TEXT NOT NULL -- JSON
) STRICT;
CREATE INDEX audit_outbox_of_organization ON audit_outbox (organization, id);

-- Settlements of unknown outcome whose clients got an error: the objects must void them.
CREATE TABLE pending_voids (
    usage        BLOB PRIMARY KEY,
    organization BLOB NOT NULL,
    due_at       INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX pending_voids_by_time ON pending_voids (due_at);

-- Keys that are revoked, now or at a later time. The object refuses them even if the calling
-- isolate still has a cached record.
CREATE TABLE revoked_keys (
    key BLOB PRIMARY KEY,
    at  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- A receipt's id ends like its organization's id: the index finds the object that has the receipt.
CREATE INDEX organizations_by_tag ON organizations (substr(id, 13));
