//! The object's storage: an organization's ledger and audit chain.
//!
//! All statements of a call run inside `transactionSync` without an await between them. An error or
//! a panic rolls back, and cached state is dropped. The platform delays the answer until the writes
//! are durable.

use std::cell::{Cell, RefCell, RefMut};
use std::rc::Rc;

use driftlock_domain::alert::Alert;
use driftlock_domain::audit::AuditRecord;
use driftlock_domain::denial::Fault;
use driftlock_domain::entitlement::Terms;
use driftlock_domain::id::{KeyId, OrganizationId};
use driftlock_domain::period::Period;
use driftlock_domain::shipment::{ShipCursor, Shipment};
use driftlock_domain::stripe::meter::{Next, PeriodSums, Report, ReportState, SealRule};
use driftlock_domain::time::Timestamp;
use driftlock_domain::usage::{Settled, Settlement};
use driftlock_gateway::ports::Clock;
use driftlock_sqlite_core::shipment::{self, Mirror, Portion};
use driftlock_sqlite_core::{self as core, LedgerCache, Sql, alerts, meter};
use worker::Storage;

use super::revoked::{self, RevokedKeys};
use super::settler::Queue;
use super::sql::ObjectSql;
use crate::clock::EdgeClock;

/// Most bytes of stored answers of idempotency keys, of an object's 10 GB. Beyond it the oldest are
/// deleted, and a repeated key is answered as if its answer had been too large to store.
const ANSWER_BYTES_MAX: u64 = 1 << 30;

/// Storage runs low beyond this size, of an object's 10 GB. The rest is for rows that are not yet
/// mirrored while a project does not answer.
const ROOM_BYTES: f64 = 6e9;

/// The storage of one object; clones share it.
#[derive(Clone)]
pub(crate) struct ObjectStore(Rc<Inner>);

struct Inner {
    sql: ObjectSql,
    cache: RefCell<LedgerCache>,
    revoked: RefCell<RevokedKeys>,
    /// An upper estimate of the bytes of stored answers: purging does not lower it; the exact sum
    /// is not read before the estimate exceeds the bound.
    kept_bytes: Cell<Option<u64>>,
    queue: Queue,
}

impl ObjectStore {
    /// The storage, with its schema up to date.
    ///
    /// # Errors
    /// A failure of the database.
    pub(super) fn open(storage: &Storage) -> Result<Self, Fault> {
        let sql = ObjectSql::new(storage);
        let revoked = sql.transaction(|| {
            super::schema::migrate(&sql)?;
            RevokedKeys::read(&sql)
        })?;
        let (cache, revoked) = (RefCell::default(), RefCell::new(revoked));
        let (kept_bytes, queue) = (Cell::new(None), Queue::default());
        Ok(Self(Rc::new(Inner { sql, cache, revoked, kept_bytes, queue })))
    }

    /// Sets the terms of an organization if the object does not know them, because it was evicted
    /// since admission.
    pub(super) fn know_if_new(&self, organization: OrganizationId, terms: Terms) {
        self.0.cache.borrow_mut().know_if_new(organization, terms);
    }

    /// Whether there is any idempotency record.
    ///
    /// # Errors
    /// A failure of the database.
    pub(super) fn keeps_any(&self) -> Result<bool, Fault> {
        let query = "SELECT EXISTS (SELECT 1 FROM idempotency_keys)";
        Ok(self.sql().first(query, &[], |row| row.int(0))? == Some(1))
    }

    /// Appends rows of the directory's outbox that were not appended before.
    ///
    /// # Errors
    /// A failure of the database.
    pub(super) fn append_once(
        &self,
        organization: OrganizationId,
        rows: Vec<(i64, AuditRecord)>,
    ) -> Result<(), Fault> {
        let now = EdgeClock.now();
        let revoked = self.write(|cache, sql| {
            let seen = super::schema::shipped(sql)?;
            let (mut last, mut revokes) = (seen, false);
            for (number, record) in rows.into_iter().filter(|(number, _)| *number > seen) {
                revokes |= revoked::note(sql, &record, now)?;
                cache.append(sql, organization, record)?;
                last = last.max(number);
            }
            super::schema::set_shipped(sql, last)?;
            if revokes { RevokedKeys::read(sql).map(Some) } else { Ok(None) }
        })?;
        if let Some(revoked) = revoked {
            self.0.revoked.replace(revoked);
        }
        Ok(())
    }

    /// Whether a key is revoked at this time.
    pub(super) fn is_revoked(&self, key: KeyId, now: Timestamp) -> bool {
        self.0.revoked.borrow().is_revoked(key, now)
    }

    /// The organization of this object, once anything was written.
    ///
    /// # Errors
    /// A failure of the database.
    pub(super) fn organization(&self) -> Result<Option<OrganizationId>, Fault> {
        let query = "SELECT organization FROM audit_logs LIMIT 1";
        self.sql().first(query, &[], |row| row.bytes(0).map(OrganizationId::from_bytes))
    }

    pub(super) fn shipment(
        &self,
        organization: OrganizationId,
        portion: Portion,
        now: Timestamp,
    ) -> Result<Shipment, Fault> {
        shipment::next(self.sql(), organization, portion, now)
    }

    pub(super) fn shipped(&self, cursor: &ShipCursor) -> Result<(), Fault> {
        self.write(|_, sql| shipment::set_cursor(sql, cursor))
    }

    /// Whether rows are not mirrored yet.
    pub(super) fn has_unshipped(&self) -> Result<bool, Fault> {
        shipment::is_due(self.sql())
    }

    pub(super) fn remove_receipts(&self, before: Timestamp, mirror: Mirror) -> Result<bool, Fault> {
        self.write(|_, sql| shipment::remove_receipts(sql, before, mirror))
    }

    /// Removes a portion of the mirrored audit entries, behind a checkpoint; returns how many.
    pub(super) fn prune_mirrored(
        &self,
        organization: OrganizationId,
        now: Timestamp,
    ) -> Result<u64, Fault> {
        self.write(|cache, sql| cache.prune_mirrored(sql, organization, now, now))
    }

    /// Whether storage runs low, so that mirrored rows are deleted immediately.
    pub(super) fn is_short_of_room(&self) -> bool {
        self.sql().bytes() > ROOM_BYTES
    }

    /// Whether there are receipts older than this time.
    pub(super) fn has_receipts(&self, before: Timestamp) -> Result<bool, Fault> {
        shipment::has_receipts(self.sql(), before)
    }

    /// Settles all of these in one transaction; returns the outcome of each.
    ///
    /// # Errors
    /// A failure of the database; then none is settled.
    pub(super) fn settle_all(
        &self,
        all: Vec<(Settlement, Timestamp)>,
    ) -> Result<Vec<Result<Settled, Fault>>, Fault> {
        let mut kept_bytes = self.0.kept_bytes.get();
        let outcomes = self.write(|cache, sql| {
            let mut outcomes = Vec::with_capacity(all.len());
            for (settlement, now) in all {
                let added = settlement.answer.as_ref().map(|answer| answer.body.len() as u64);
                #[cfg(feature = "panic-trigger")]
                let panics = &*settlement.request_id == "panic-in-settle";
                let settled = cache.settle(sql, settlement, now)?;
                #[cfg(feature = "panic-trigger")]
                assert!(!panics, "a test asked for it, in the middle of a transaction");
                if let (Ok(Settled::Committed { .. }), Some(added)) = (&settled, added) {
                    kept_bytes = Some(make_room(sql, kept_bytes, added)?);
                }
                outcomes.push(settled);
            }
            Ok(outcomes)
        })?;
        self.0.kept_bytes.set(kept_bytes);
        Ok(outcomes)
    }

    /// Waits until all writes are durable. If the storage fails, the platform restarts the object.
    pub(super) async fn durable(&self) {
        if let Err(fault) = self.sql().durable().await {
            tracing::error!(error = fault.cause, "the object's storage failed");
        }
    }

    pub(super) fn queue(&self) -> &Queue {
        &self.0.queue
    }

    pub(super) fn seal(
        &self,
        organization: OrganizationId,
        rule: SealRule,
        now: Timestamp,
    ) -> Result<u64, Fault> {
        self.write(|_, sql| meter::seal(sql, organization, rule, now))
    }

    pub(super) fn take_report(
        &self,
        organization: OrganizationId,
        now: Timestamp,
    ) -> Result<Option<Report>, Fault> {
        self.write(|_, sql| meter::take(sql, organization, now))
    }

    pub(super) fn answer_report(
        &self,
        identifier: &str,
        next: &Next,
        now: Timestamp,
    ) -> Result<(), Fault> {
        self.write(|_, sql| meter::answered(sql, identifier, next, now))
    }

    pub(super) fn reports(
        &self,
        organization: OrganizationId,
        window: Period,
    ) -> Result<Vec<Report>, Fault> {
        meter::reports(self.sql(), organization, window)
    }

    pub(super) fn reports_in(
        &self,
        state: Option<ReportState>,
        after: &str,
        limit: usize,
    ) -> Result<Vec<Report>, Fault> {
        meter::reports_in(self.sql(), state, after, limit)
    }

    pub(super) fn report(
        &self,
        organization: OrganizationId,
        identifier: &str,
    ) -> Result<Option<Report>, Fault> {
        meter::one(self.sql(), organization, identifier)
    }

    pub(super) fn revive_report(
        &self,
        organization: OrganizationId,
        identifier: &str,
        audit: AuditRecord,
        now: Timestamp,
    ) -> Result<bool, Fault> {
        self.write(|cache, sql| {
            let revived = meter::revive(sql, organization, identifier, now)?;
            if revived {
                cache.append(sql, organization, audit)?;
            }
            Ok(revived)
        })
    }

    pub(super) fn report_sums(
        &self,
        organization: OrganizationId,
        limit: usize,
    ) -> Result<Vec<PeriodSums>, Fault> {
        meter::sums(self.sql(), organization, limit)
    }

    pub(super) fn alerts(
        &self,
        organization: OrganizationId,
        limit: usize,
    ) -> Result<Vec<Alert>, Fault> {
        let values = [organization.as_bytes().into(), (limit as u64).into()];
        self.sql().query(alerts::ALERTS, &values, alerts::alert)
    }

    pub(super) fn write<T>(
        &self,
        work: impl FnOnce(&mut LedgerCache, &ObjectSql) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let Inner { sql, cache, .. } = &*self.0;
        let mut writing = Writing { cache: cache.borrow_mut(), committed: false };
        let outcome = sql.transaction(|| {
            let value = work(&mut writing.cache, sql)?;
            writing.cache.before_commit(sql)?;
            Ok(value)
        });
        writing.committed = outcome.is_ok();
        outcome
    }

    pub(super) fn sql(&self) -> &ObjectSql {
        &self.0.sql
    }
}

/// Deletes the oldest answers if the added bytes exceed the bound; returns the bytes that stay.
fn make_room(sql: &ObjectSql, known: Option<u64>, added: u64) -> Result<u64, Fault> {
    let bytes = match known {
        Some(known) => known + added,
        None => core::kept_bytes(sql)?,
    };
    if bytes <= ANSWER_BYTES_MAX {
        return Ok(bytes);
    }
    core::drop_answers(sql, ANSWER_BYTES_MAX / 4 * 3)
}

/// Drops the cache unless the transaction committed, also after a panic.
struct Writing<'a> {
    cache: RefMut<'a, LedgerCache>,
    committed: bool,
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        if !self.committed {
            self.cache.forget();
        }
    }
}
