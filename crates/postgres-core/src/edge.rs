//! Functions for Workers that are not part of a port: the audit outbox, the search for a receipt's
//! object, the notes of scheduled jobs, pending voids, and the mirror.

use std::time::Duration;

use driftlock_domain::audit::{AuditEntry, AuditRecord};
use driftlock_domain::denial::Fault;
use driftlock_domain::id::{OrganizationId, UsageId};
use driftlock_domain::shipment::{Shipment, ShippedReceipt, ShippedSum};
use driftlock_domain::time::Timestamp;
use driftlock_gateway::ports::Page;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::args::{FIRST_UUID, int, read, record, uuid};
use crate::{Call, FunctionStore};

/// An audit record in the outbox.
#[derive(Deserialize)]
struct Row {
    at: i64,
    actor: String,
    action: String,
    resource: String,
    outcome: String,
    request_id: String,
    ip: String,
    details: String,
}

impl From<Row> for AuditRecord {
    fn from(row: Row) -> Self {
        Self {
            at: Timestamp::from_micros(row.at),
            actor: row.actor.into(),
            action: row.action.into(),
            resource: row.resource.into(),
            outcome: row.outcome.into(),
            request_id: row.request_id.into(),
            ip: row.ip.into(),
            details: row.details.into(),
        }
    }
}

impl<C: Call> FunctionStore<C> {
    /// Audit records of an organization that still have to be appended to their chain, each with
    /// its id, the oldest first.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn outbox(
        &self,
        organization: OrganizationId,
        limit: usize,
    ) -> Result<Vec<(i64, AuditRecord)>, Fault> {
        let args = json!({ "organization": uuid!(organization), "limit": limit });
        let rows: Vec<(i64, Row)> = read(self.call.call("driftlock_outbox", args).await?)?;
        Ok(rows.into_iter().map(|(number, row)| (number, row.into())).collect())
    }

    /// Organizations that have records in the audit outbox, at most `limit`.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn outbox_organizations(&self, limit: usize) -> Result<Vec<OrganizationId>, Fault> {
        let args = json!({ "limit": limit });
        read(self.call.call("driftlock_outbox_organizations", args).await?)
    }

    /// Removes an organization's records up to an id, which were appended to their chain.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn outbox_shipped(
        &self,
        organization: OrganizationId,
        last: i64,
    ) -> Result<(), Fault> {
        let args = json!({ "organization": uuid!(organization), "last": last });
        self.call.call("driftlock_outbox_shipped", args).await.map(drop)
    }

    /// The organizations whose receipts' ids end like this one: nearly always one.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn organizations_of(&self, usage: UsageId) -> Result<Vec<OrganizationId>, Fault> {
        let args = json!({ "tag": hex::encode(&usage.as_bytes()[12..]) });
        read(self.call.call("driftlock_tagged", args).await?)
    }

    /// Organizations that are customers at Stripe.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn customers(
        &self,
        page: Page<OrganizationId>,
    ) -> Result<Vec<OrganizationId>, Fault> {
        let after = page.after.map_or(FIRST_UUID.to_owned(), |id| uuid!(id));
        let args = json!({ "after": after, "limit": page.limit });
        read(self.call.call("driftlock_customers", args).await?)
    }

    /// The value that a job stored under a name.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn note(&self, name: &str) -> Result<Option<String>, Fault> {
        read(self.call.call("driftlock_note", json!({ "name": name })).await?)
    }

    /// Stores a value for a job's next run.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn set_note(&self, name: &str, value: Option<&str>) -> Result<(), Fault> {
        let args = json!({ "name": name, "value": value });
        self.call.call("driftlock_set_note", args).await.map(drop)
    }

    /// Returns true at most once in `every`. The caller that gets true does the work.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn claim(&self, name: &str, every: Duration, now: Timestamp) -> Result<bool, Fault> {
        let every = int(every.as_micros().try_into().unwrap_or(u64::MAX));
        let args = json!({ "name": name, "every": every, "now": self.stamp(now) });
        read(self.call.call("driftlock_claim", args).await?)
    }

    /// Stores that a settlement must be voided at an instant.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn void_at(
        &self,
        organization: OrganizationId,
        usage: UsageId,
        at: Timestamp,
    ) -> Result<(), Fault> {
        let args = json!({
            "organization": uuid!(organization), "usage": uuid!(usage), "at": at.micros(),
        });
        self.call.call("driftlock_void_at", args).await.map(drop)
    }

    /// Settlements that must be voided by now, at most `limit`.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn voids_due(
        &self,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<(OrganizationId, UsageId)>, Fault> {
        let args = json!({ "now": now.micros(), "limit": limit });
        read(self.call.call("driftlock_voids_due", args).await?)
    }

    /// Removes a pending void after the settlement was voided.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn void_done(&self, usage: UsageId) -> Result<(), Fault> {
        let args = json!({ "usage": uuid!(usage) });
        self.call.call("driftlock_void_done", args).await.map(drop)
    }

    /// Mirrors a portion of an object's usage and audit log. Repeating a portion does no harm.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn ship(
        &self,
        organization: OrganizationId,
        shipment: &Shipment,
    ) -> Result<(), Fault> {
        let args = json!({
            "organization": uuid!(organization),
            "sums": shipment.sums.iter().map(sum).collect::<Vec<_>>(),
            "receipts": shipment.receipts.iter().map(receipt).collect::<Vec<_>>(),
            "audit": shipment.audit.iter().map(entry).collect::<Vec<_>>(),
        });
        self.call.call("driftlock_ship", args).await.map(drop)
    }
}

fn sum(sum: &ShippedSum) -> Value {
    json!({
        "start": sum.period.start.micros(), "end": sum.period.end.micros(),
        "hour": sum.hour.secs(), "key": uuid!(sum.key), "route": sum.route,
        "units": int(sum.units), "requests": int(sum.requests),
    })
}

fn receipt(shipped: &ShippedReceipt) -> Value {
    let ShippedReceipt { receipt, period, voided } = shipped;
    json!({
        "start": period.start.micros(), "end": period.end.micros(), "id": uuid!(receipt.id),
        "key": uuid!(receipt.key_id), "route": receipt.route, "units": receipt.units,
        "at": receipt.at.micros(), "request_id": receipt.request_id, "voided": voided,
    })
}

fn entry(entry: &AuditEntry) -> Value {
    let mut row = record(&entry.record);
    row["seq"] = int(entry.seq).into();
    row["prev_hash"] = hex::encode(entry.prev_hash.0).into();
    row["hash"] = hex::encode(entry.hash.0).into();
    row
}
