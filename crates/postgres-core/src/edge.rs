//! What a Worker's platform asks of the database beside the ports: rows on their way to an object's
//! chain, whose object a receipt is in, and what the cron notes.

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

/// A row as functions take and keep it.
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
    /// Audit rows of an organization that still have to join their chain, the oldest first, each with
    /// its number.
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

    /// Organizations that have such rows, so many at most.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn outbox_organizations(&self, limit: usize) -> Result<Vec<OrganizationId>, Fault> {
        let args = json!({ "limit": limit });
        read(self.call.call("driftlock_outbox_organizations", args).await?)
    }

    /// Forgets an organization's rows up to a number: they joined their chain.
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

    /// The organizations, nearly always one, whose receipts end like this.
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

    /// What a job noted.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn note(&self, name: &str) -> Result<Option<String>, Fault> {
        read(self.call.call("driftlock_note", json!({ "name": name })).await?)
    }

    /// Notes something for a job's next run.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn set_note(&self, name: &str, value: Option<&str>) -> Result<(), Fault> {
        let args = json!({ "name": name, "value": value });
        self.call.call("driftlock_set_note", args).await.map(drop)
    }

    /// Whether something is due that is done every so often; whoever is told so does it.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn claim(&self, name: &str, every: Duration, now: Timestamp) -> Result<bool, Fault> {
        let every = int(every.as_micros().try_into().unwrap_or(u64::MAX));
        let args = json!({ "name": name, "every": every, "now": self.stamp(now) });
        read(self.call.call("driftlock_claim", args).await?)
    }

    /// Notes a settlement that is to be voided at an instant.
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

    /// Settlements that are to be voided by now, so many at most.
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

    /// It is voided.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn void_done(&self, usage: UsageId) -> Result<(), Fault> {
        let args = json!({ "usage": uuid!(usage) });
        self.call.call("driftlock_void_done", args).await.map(drop)
    }

    /// Takes a portion of what an organization's object counted; it may come again.
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
