//! Usage, receipts and idempotency records.

use driftlock_domain::denial::Fault;
use driftlock_domain::id::{NodeId, OrganizationId, UsageId};
use driftlock_domain::idempotency::{IdempotencyKey, Kept};
use driftlock_domain::lease::{LeaseAsk, LeaseGrant};
use driftlock_domain::period::Period;
use driftlock_domain::receipt::Receipt;
use driftlock_domain::time::Timestamp;
use driftlock_domain::usage::{Grouping, Settled, Settlement, UsageSummary};
use driftlock_gateway::ports::{Ledger, UsageRecords};
use driftlock_sqlite_core as core;

use crate::store::SqliteStore;

impl Ledger for SqliteStore {
    async fn lease(
        &self,
        organization: OrganizationId,
        node: NodeId,
        ask: &LeaseAsk,
        now: Timestamp,
    ) -> Result<LeaseGrant, Fault> {
        let ask = ask.clone();
        self.writer().write(move |cache, sql| cache.lease(sql, organization, node, &ask, now)).await
    }

    async fn settle(&self, settlement: Settlement, now: Timestamp) -> Result<Settled, Fault> {
        self.writer().write(move |cache, sql| cache.settle(sql, settlement, now)).await?
    }

    async fn void(&self, organization: OrganizationId, usage: UsageId) -> Result<(), Fault> {
        self.writer().write(move |cache, sql| cache.void(sql, organization, usage)).await?
    }
}

impl UsageRecords for SqliteStore {
    async fn usage(
        &self,
        organization: OrganizationId,
        at: Timestamp,
        in_force: Period,
        grouping: Grouping,
    ) -> Result<Option<UsageSummary>, Fault> {
        self.readers()
            .read(move |sql| core::summary(sql, organization, at, in_force, grouping))
            .await
    }

    async fn receipt(&self, usage: UsageId) -> Result<Option<Receipt>, Fault> {
        self.readers().read(move |sql| core::receipt(sql, usage)).await
    }

    async fn kept(
        &self,
        _organization: OrganizationId,
        key: &IdempotencyKey,
        now: Timestamp,
    ) -> Result<Option<Kept>, Fault> {
        let key = *key;
        self.readers().read(move |sql| core::kept(sql, &key, now)).await
    }

    async fn purge_kept(&self, now: Timestamp) -> Result<u64, Fault> {
        self.writer().write(move |_, sql| core::purge_kept(sql, now)).await
    }
}
