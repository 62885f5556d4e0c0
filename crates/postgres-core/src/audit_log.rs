//! The audit log. The database computes the chain's hashes, since it locks the chain's head.

use driftlock_domain::audit::{AuditEntry, AuditHash, AuditHead, AuditRecord, Pruned};
use driftlock_domain::denial::Fault;
use driftlock_domain::id::OrganizationId;
use driftlock_domain::time::Timestamp;
use driftlock_gateway::ports::AuditLog;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::args::{read, record, uuid};
use crate::{Call, FunctionStore};

/// The maximum number of entries removed in one commit.
const PRUNED_MAX: usize = 5_000;

#[derive(Deserialize)]
struct Head {
    seq: u64,
    hash: AuditHash,
}

impl<C: Call> FunctionStore<C> {
    async fn end(&self, function: &'static str, of: OrganizationId) -> Result<AuditHead, Fault> {
        let args = json!({ "organization": uuid!(of) });
        let head: Option<Head> = read(self.call.call(function, args).await?)?;
        let found = head.map(|Head { seq, hash }| AuditHead { seq, hash });
        Ok(found.unwrap_or_else(|| AuditHead::empty(of)))
    }
}

impl<C: Call> AuditLog for FunctionStore<C> {
    async fn append(&self, records: Vec<(OrganizationId, AuditRecord)>) -> Result<(), Fault> {
        let records: Vec<Value> = records
            .iter()
            .map(|(id, row)| json!({ "organization": uuid!(id), "record": record(row) }))
            .collect();
        self.call.call("driftlock_append", json!({ "records": records })).await.map(drop)
    }

    async fn entries(
        &self,
        organization: OrganizationId,
        after: u64,
        limit: usize,
    ) -> Result<Vec<AuditEntry>, Fault> {
        let args = json!({ "organization": uuid!(organization), "after": after, "limit": limit });
        read(self.call.call("driftlock_entries", args).await?)
    }

    async fn head(&self, organization: OrganizationId) -> Result<AuditHead, Fault> {
        self.end("driftlock_head", organization).await
    }

    async fn checkpoint(&self, organization: OrganizationId) -> Result<AuditHead, Fault> {
        self.end("driftlock_checkpoint", organization).await
    }

    async fn prune(
        &self,
        organization: OrganizationId,
        before: Timestamp,
        now: Timestamp,
    ) -> Result<u64, Fault> {
        // Nearly always no entry is old enough: look at the oldest one first.
        if Pruned::of(&self.entries(organization, 0, 1).await?, before).is_none() {
            return Ok(0);
        }
        let oldest = self.entries(organization, 0, PRUNED_MAX).await?;
        let Some(pruned) = Pruned::of(&oldest, before) else { return Ok(0) };
        let args = json!({
            "organization": uuid!(organization), "seq": pruned.checkpoint.seq,
            "hash": pruned.checkpoint.hash.to_string(),
            "audit": [record(&pruned.record(organization, now))],
        });
        let is_done = self.call.call("driftlock_prune", args).await? == Value::Bool(true);
        Ok(if is_done { pruned.entries } else { 0 })
    }
}
