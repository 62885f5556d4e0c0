-- Checkpoints: the last entry of each organization's chain that retention removed.
CREATE TABLE audit_checkpoints (
    organization BLOB PRIMARY KEY,
    seq          INTEGER NOT NULL,
    hash         BLOB NOT NULL
) STRICT, WITHOUT ROWID;
