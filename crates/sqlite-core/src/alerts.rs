//! Alerts. Each is written once, in the commit that causes it.

use driftlock_domain::alert::Alert;
use driftlock_domain::denial::Fault;
use driftlock_domain::id::OrganizationId;
use driftlock_domain::time::Timestamp;

use crate::sql::{Row, Sql, Statement, Value};

/// An organization's alerts, the newest first.
pub const ALERTS: &str = "SELECT organization, kind, subject, at, details FROM alerts \
     WHERE organization = ?1 ORDER BY at DESC, kind, subject LIMIT ?2";

const RAISE: &str = "INSERT INTO alerts (organization, kind, subject, at, details) \
     VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (organization, kind, subject) DO NOTHING";

/// Writes an alert, unless there is one of the same kind and subject.
#[must_use]
pub fn raise(alert: &Alert) -> Statement {
    let values = vec![
        Value::from(alert.organization.as_bytes()).into_owned(),
        alert.kind.as_str().to_owned().into(),
        alert.subject.clone().into(),
        alert.at.micros().into(),
        alert.details.to_string().into(),
    ];
    Statement { sql: RAISE, values }
}

/// Writes alerts inside a transaction.
///
/// # Errors
/// When the database fails.
pub fn raise_all(sql: &impl Sql, alerts: impl IntoIterator<Item = Alert>) -> Result<(), Fault> {
    for alert in alerts {
        let Statement { sql: text, values } = raise(&alert);
        sql.execute(text, &values)?;
    }
    Ok(())
}

/// A row of [`ALERTS`].
///
/// # Errors
/// When it holds something else.
pub fn alert(row: Row<'_>) -> Result<Alert, Fault> {
    let kind = row.text(1)?.into_owned();
    Ok(Alert {
        organization: OrganizationId::from_bytes(row.bytes(0)?),
        kind: serde_json::from_value(serde_json::Value::String(kind))
            .map_err(|error| Fault::store(error.to_string()))?,
        subject: row.text(2)?.into_owned(),
        at: Timestamp::from_micros(row.int(3)?),
        details: row.json(4)?,
    })
}
