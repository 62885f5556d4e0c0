-- The units of a bucket that are sealed. Units that are settled later get another report (a part).
ALTER TABLE meter_outbox ADD COLUMN sealed_units INTEGER NOT NULL DEFAULT 0;
ALTER TABLE meter_outbox ADD COLUMN parts INTEGER NOT NULL DEFAULT 0;
CREATE INDEX meter_outbox_open ON meter_outbox (organization, hour) WHERE units <> sealed_units;

-- Sealed buckets: the meter report of each, which never changes, and the state of its delivery.
CREATE TABLE meter_reports (
    identifier   TEXT PRIMARY KEY,
    organization BLOB NOT NULL,
    period       INTEGER NOT NULL,
    hour         INTEGER NOT NULL,
    units        INTEGER NOT NULL, -- settled
    value        INTEGER NOT NULL, -- reported: all units, or those beyond the included ones
    timestamp    INTEGER NOT NULL, -- seconds since 1970
    sealed_at    INTEGER NOT NULL,
    state        TEXT NOT NULL,    -- pending, reconcile, done, dead
    attempts     INTEGER NOT NULL DEFAULT 0,
    first_at     INTEGER,
    due_at       INTEGER NOT NULL,
    taken_until  INTEGER NOT NULL DEFAULT 0, -- until then one process may be sending it
    done_at      INTEGER,
    error        TEXT
) STRICT, WITHOUT ROWID;
CREATE INDEX meter_reports_due ON meter_reports (organization, due_at)
    WHERE state IN ('pending', 'reconcile');
CREATE INDEX meter_reports_dead ON meter_reports (identifier) WHERE state = 'dead';
CREATE INDEX meter_reports_of_period ON meter_reports (organization, period);
CREATE INDEX meter_reports_by_time ON meter_reports (organization, timestamp);

-- Alerts for people, each raised once. `subject` is the period, invoice or bucket of the alert.
CREATE TABLE alerts (
    organization BLOB NOT NULL,
    kind         TEXT NOT NULL,
    subject      TEXT NOT NULL,
    at           INTEGER NOT NULL,
    details      TEXT NOT NULL, -- JSON
    PRIMARY KEY (organization, kind, subject)
) STRICT, WITHOUT ROWID;
CREATE INDEX alerts_by_time ON alerts (organization, at);
