-- Where the kept part of an organization's chain begins: the last entry that retention removed.
CREATE TABLE audit_checkpoints (
    organization BLOB PRIMARY KEY,
    seq          INTEGER NOT NULL,
    hash         BLOB NOT NULL
) STRICT, WITHOUT ROWID;
