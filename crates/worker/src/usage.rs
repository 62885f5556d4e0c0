//! Usage records, read from the organizations' objects. The tag in a receipt's id identifies its
//! object.

use std::time::Duration;

use driftlock_domain::denial::Fault;
use driftlock_domain::id::{OrganizationId, UsageId};
use driftlock_domain::idempotency::{Claim, Claimed, IdempotencyKey, Kept};
use driftlock_domain::period::Period;
use driftlock_domain::receipt::Receipt;
use driftlock_domain::time::Timestamp;
use driftlock_domain::usage::{Grouping, UsageSummary};
use driftlock_gateway::ports::UsageRecords;

use crate::directory::EdgeDirectory;
use crate::objects::Objects;
use crate::request_idempotency::RequestIdempotency;
use crate::wire::Ask;

/// The objects, and the directory that maps a receipt to its organization.
pub(crate) struct EdgeUsage {
    pub(crate) objects: Objects,
    pub(crate) directory: EdgeDirectory,
    pub(crate) key: RequestIdempotency,
}

impl UsageRecords for EdgeUsage {
    async fn usage(
        &self,
        organization: OrganizationId,
        at: Timestamp,
        in_force: Period,
        grouping: Grouping,
    ) -> Result<Option<UsageSummary>, Fault> {
        self.objects.ask(organization, &Ask::Usage(at, in_force, grouping)).await
    }

    async fn receipt(&self, usage: UsageId) -> Result<Option<Receipt>, Fault> {
        for organization in self.directory.organizations_of(usage).await? {
            let found: Option<Receipt> =
                self.objects.ask(organization, &Ask::Receipt(usage)).await?;
            if found.is_some() {
                return Ok(found);
            }
        }
        // Objects delete mirrored receipts after some time; then only the mirror has them.
        self.directory.receipt(usage).await
    }

    async fn kept(
        &self,
        organization: OrganizationId,
        key: &IdempotencyKey,
        _now: Timestamp,
    ) -> Result<Option<Kept>, Fault> {
        self.objects.ask(organization, &Ask::Kept(*key)).await
    }

    async fn claim(
        &self,
        organization: OrganizationId,
        claim: &Claim,
        _usage: UsageId,
        _lifetime: Duration,
        now: Timestamp,
    ) -> Result<Claimed, Fault> {
        // The object's cell holds the claim, so no other request settled under the key since
        // admission.
        if let Some(found) = self.key.found() {
            return Ok(found);
        }
        self.kept(organization, &claim.key, now).await.map(Claimed::from)
    }

    async fn purge_kept(&self, _now: Timestamp) -> Result<u64, Fault> {
        // Each object purges its own records, by its alarm.
        Ok(0)
    }
}
