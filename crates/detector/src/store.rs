//! The anomalies of each organization, in an SQLite file.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, OptionalExtension, Row, params};
use serde_json::{Value, json};

const SCHEMA: &str = "
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = NORMAL;
    CREATE TABLE IF NOT EXISTS anomalies (
        id               TEXT PRIMARY KEY,
        organization     TEXT NOT NULL,
        severity         TEXT NOT NULL,
        source           TEXT NOT NULL,
        title            TEXT NOT NULL,
        description      TEXT NOT NULL,
        explanation      TEXT NOT NULL,
        metrics          TEXT NOT NULL,
        detected_at      TEXT NOT NULL,
        resolved_at      TEXT,
        resolution_notes TEXT
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS anomalies_of_organization ON anomalies (organization, detected_at);
";

/// A new anomaly to be stored.
#[derive(Clone, Debug)]
pub struct NewAnomaly {
    /// The anomaly's id.
    pub id: String,
    /// The severity.
    pub severity: &'static str,
    /// The stream that it was found in, or `api`.
    pub source: String,
    /// What differs, in a sentence.
    pub why: String,
    /// The first events of the anomaly, redacted.
    pub event: String,
    /// The measurements.
    pub metrics: Value,
    /// The time of detection, in RFC 3339.
    pub detected_at: String,
}

/// The filter of a list of anomalies.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// A severity's name.
    pub severity: Option<String>,
    /// `Some(true)`: resolved ones; `Some(false)`: active ones.
    pub resolved: Option<bool>,
    /// A source.
    pub source: Option<String>,
    /// The earliest time, RFC 3339 in UTC.
    pub from: Option<String>,
    /// The latest time, RFC 3339 in UTC.
    pub to: Option<String>,
}

/// The store. Clones share one connection.
#[derive(Clone)]
pub struct Anomalies(Arc<Mutex<Connection>>);

impl Anomalies {
    /// Opens the file, or creates it.
    ///
    /// # Errors
    /// Errors of SQLite.
    pub fn open(path: &Path) -> rusqlite::Result<Self> {
        // Only the owner may read the file. If creating it fails here, SQLite reports the error.
        let _ = OpenOptions::new().create(true).append(true).mode(0o600).open(path);
        let connection = Connection::open(path)?;
        connection.execute_batch(SCHEMA)?;
        Ok(Self(Arc::new(Mutex::new(connection))))
    }

    /// Stores anomalies of an organization, all of them or none.
    ///
    /// # Errors
    /// Errors of SQLite.
    pub fn add(&self, organization: &str, anomalies: &[NewAnomaly]) -> rusqlite::Result<()> {
        let mut connection = self.connection();
        let transaction = connection.transaction()?;
        for anomaly in anomalies {
            let insert = "INSERT INTO anomalies (id, organization, severity, source, title, \
                          description, explanation, metrics, detected_at) \
                          VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
            transaction.prepare_cached(insert)?.execute(params![
                anomaly.id,
                organization,
                anomaly.severity,
                anomaly.source,
                format!("{} anomaly in {}", capital(anomaly.severity), anomaly.source),
                anomaly.event,
                anomaly.why,
                anomaly.metrics.to_string(),
                anomaly.detected_at,
            ])?;
        }
        transaction.commit()
    }

    /// A page of anomalies, newest first, and the total number. Pages count from 1.
    ///
    /// # Errors
    /// Errors of SQLite.
    pub fn list(
        &self,
        organization: &str,
        filter: &Filter,
        page: u64,
        limit: u64,
    ) -> rusqlite::Result<(Vec<Value>, u64)> {
        let condition = "organization = ?1 AND (?2 IS NULL OR severity = ?2) \
                         AND (?3 IS NULL OR (resolved_at IS NOT NULL) = ?3) \
                         AND (?4 IS NULL OR source = ?4) AND (?5 IS NULL OR detected_at >= ?5) \
                         AND (?6 IS NULL OR detected_at <= ?6)";
        let connection = self.connection();
        let Filter { severity, resolved, source, from, to } = filter;
        let count = format!("SELECT count(*) FROM anomalies WHERE {condition}");
        let total: i64 = connection
            .prepare_cached(&count)?
            .query_row(params![organization, severity, resolved, source, from, to], |row| {
                row.get(0)
            })?;
        let query = format!(
            "SELECT {COLUMNS} FROM anomalies WHERE {condition} \
             ORDER BY detected_at DESC, id DESC LIMIT ?7 OFFSET ?8"
        );
        let offset = i64::try_from((page - 1).saturating_mul(limit)).unwrap_or(i64::MAX);
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut statement = connection.prepare_cached(&query)?;
        let bounds = params![organization, severity, resolved, source, from, to, limit, offset];
        let rows = statement.query_map(bounds, anomaly)?.collect::<Result<_, _>>()?;
        Ok((rows, total.unsigned_abs()))
    }

    /// One anomaly.
    ///
    /// # Errors
    /// Errors of SQLite.
    pub fn get(&self, organization: &str, id: &str) -> rusqlite::Result<Option<Value>> {
        get(&self.connection(), organization, id)
    }

    /// Resolves an anomaly. If it is resolved already, only its notes change.
    ///
    /// # Errors
    /// Errors of SQLite.
    pub fn resolve(
        &self,
        organization: &str,
        id: &str,
        notes: Option<&str>,
        at: &str,
    ) -> rusqlite::Result<Option<Value>> {
        let connection = self.connection();
        let update = "UPDATE anomalies SET resolved_at = coalesce(resolved_at, ?3), \
                      resolution_notes = coalesce(?4, resolution_notes) \
                      WHERE organization = ?1 AND id = ?2";
        connection.prepare_cached(update)?.execute(params![organization, id, at, notes])?;
        get(&connection, organization, id)
    }

    /// Locks the connection, ignoring poison: a panic rolls its transaction back.
    fn connection(&self) -> MutexGuard<'_, Connection> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const COLUMNS: &str = "id, severity, title, description, source, detected_at, explanation, \
                       metrics, resolved_at, resolution_notes";

fn get(connection: &Connection, organization: &str, id: &str) -> rusqlite::Result<Option<Value>> {
    let query = format!("SELECT {COLUMNS} FROM anomalies WHERE organization = ?1 AND id = ?2");
    connection.prepare_cached(&query)?.query_row([organization, id], anomaly).optional()
}

fn anomaly(row: &Row<'_>) -> rusqlite::Result<Value> {
    let text = |column| row.get::<_, Option<String>>(column);
    let metrics: Option<Value> = text(7)?.and_then(|json| serde_json::from_str(&json).ok());
    let resolved_at = text(8)?;
    Ok(json!({
        "id": text(0)?,
        "type": "compression",
        "severity": text(1)?,
        "title": text(2)?,
        "description": text(3)?,
        "source": text(4)?,
        "detected_at": text(5)?,
        "explanation": text(6)?,
        "compression_metrics": metrics,
        "resolved": resolved_at.is_some(),
        "resolved_at": resolved_at,
        "resolution_notes": text(9)?,
    }))
}

fn capital(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn anomaly(id: &str, severity: &'static str) -> NewAnomaly {
        NewAnomaly {
            id: id.into(),
            severity,
            source: "api".into(),
            why: "because".into(),
            event: "line".into(),
            metrics: json!({ "ncd": 0.9 }),
            detected_at: "2026-01-01T00:00:00Z".into(),
        }
    }

    #[test]
    fn organizations_see_their_own() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Anomalies::open(&folder.path().join("a.db")).expect("opens");
        store.add("a", &[anomaly("1", "high"), anomaly("2", "medium")]).expect("stored");
        assert_eq!(store.get("b", "1").expect("read"), None);
        let (all, total) = store.list("a", &Filter::default(), 1, 1).expect("read");
        assert_eq!((all.len(), total), (1, 2));
        let high = Filter { severity: Some("high".into()), ..Filter::default() };
        assert_eq!(store.list("a", &high, 1, 10).expect("read").1, 1);
        let resolved = store.resolve("a", "1", Some("fixed"), "t").expect("written");
        assert_eq!(resolved.expect("known")["resolved"], true);
        let active = Filter { resolved: Some(false), ..Filter::default() };
        assert_eq!(store.list("a", &active, 1, 10).expect("read").1, 1);
        assert_eq!(store.resolve("b", "2", None, "t").expect("written"), None);
    }
}
