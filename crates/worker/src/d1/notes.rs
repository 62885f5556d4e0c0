//! The cron's records in D1: notes for its next run, and pending voids.

use std::time::Duration;

use driftlock_domain::denial::Fault;
use driftlock_domain::id::{OrganizationId, UsageId};
use driftlock_domain::time::Timestamp;

use super::D1Directory;

impl D1Directory {
    /// The note of this name.
    pub(crate) async fn note(&self, name: &str) -> Result<Option<String>, Fault> {
        let query = "SELECT CAST(value AS TEXT) FROM meta WHERE name = ?1";
        self.first(query, &[name.into()], |row| Ok(row.text(0)?.into_owned())).await
    }

    /// Sets or deletes a note for a job's next run.
    pub(crate) async fn set_note(&self, name: &str, value: Option<&str>) -> Result<(), Fault> {
        let changed = match value {
            Some(value) => {
                let put = "INSERT INTO meta (name, value) VALUES (?1, CAST(?2 AS BLOB)) \
                           ON CONFLICT (name) DO UPDATE SET value = excluded.value";
                self.change(put, &[name.into(), value.into()]).await
            }
            None => self.change("DELETE FROM meta WHERE name = ?1", &[name.into()]).await,
        };
        changed.map(drop)
    }

    /// Claims periodic work: true if it was last claimed at least `every` ago. A caller that gets
    /// true does the work.
    pub(crate) async fn claim(
        &self,
        name: &str,
        every: Duration,
        now: Timestamp,
    ) -> Result<bool, Fault> {
        let claim = "INSERT INTO meta (name, value) VALUES (?1, CAST(?2 AS BLOB)) \
                     ON CONFLICT (name) DO UPDATE SET value = excluded.value \
                     WHERE CAST(meta.value AS INTEGER) <= ?3";
        let text = now.micros().to_string();
        let before = now.minus(every).micros();
        self.change(claim, &[name.into(), text.into(), before.into()]).await
    }

    /// Records a pending void, due at `at`.
    pub(crate) async fn void_at(
        &self,
        organization: OrganizationId,
        usage: UsageId,
        at: Timestamp,
    ) -> Result<(), Fault> {
        let put = "INSERT INTO pending_voids (usage, organization, due_at) \
                   VALUES (?1, ?2, ?3) ON CONFLICT (usage) DO UPDATE SET \
                   organization = excluded.organization, due_at = excluded.due_at";
        let values = [usage.as_bytes().into(), organization.as_bytes().into(), at.micros().into()];
        self.change(put, &values).await.map(drop)
    }

    /// Pending voids that are due, the oldest first.
    pub(crate) async fn voids_due(
        &self,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<(OrganizationId, UsageId)>, Fault> {
        let query = "SELECT organization, usage FROM pending_voids WHERE due_at <= ?1 \
                     ORDER BY due_at LIMIT ?2";
        let values = [now.micros().into(), (limit as u64).into()];
        self.query(query, &values, |row| {
            Ok((OrganizationId::from_bytes(row.bytes(0)?), UsageId::from_bytes(row.bytes(1)?)))
        })
        .await
    }

    /// Deletes a pending void, because the settlement is voided.
    pub(crate) async fn void_done(&self, usage: UsageId) -> Result<(), Fault> {
        let delete = "DELETE FROM pending_voids WHERE usage = ?1";
        self.change(delete, &[usage.as_bytes().into()]).await.map(drop)
    }
}
