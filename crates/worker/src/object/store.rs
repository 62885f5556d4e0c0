//! The object's storage: an organization's ledger and audit chain.
//!
//! All of a call's statements run without an await between them, inside `transactionSync`: an error
//! or a panic rolls back, and what was remembered is forgotten. The platform holds the answer back
//! until the writes are durable.

use std::cell::{RefCell, RefMut};
use std::rc::Rc;

use driftlock_domain::alert::Alert;
use driftlock_domain::audit::{AuditEntry, AuditHead, AuditRecord};
use driftlock_domain::denial::Fault;
use driftlock_domain::entitlement::Terms;
use driftlock_domain::id::{NodeId, OrganizationId, UsageId};
use driftlock_domain::idempotency::{IdempotencyKey, Kept, KeptAnswer};
use driftlock_domain::lease::{LeaseAsk, LeaseGrant};
use driftlock_domain::period::Period;
use driftlock_domain::receipt::Receipt;
use driftlock_domain::shipment::{ShipCursor, Shipment};
use driftlock_domain::stripe::meter::{Next, PeriodSums, Report, ReportState, SealRule};
use driftlock_domain::time::Timestamp;
use driftlock_domain::usage::{Grouping, Settled, Settlement, UsageSummary};
use driftlock_gateway::ports::{AuditLog, Ledger, UsageRecords};
use driftlock_sqlite_core::shipment::{self, Portion};
use driftlock_sqlite_core::{self as core, Books, Sql, alerts, meter};
use worker::Storage;

use super::sql::ObjectSql;

/// The storage of one object; clones are the same one.
#[derive(Clone)]
pub(crate) struct ObjectStore(Rc<Inner>);

struct Inner {
    sql: ObjectSql,
    books: RefCell<Books>,
}

impl ObjectStore {
    /// The storage, with its schema up to date.
    ///
    /// # Errors
    /// What the database says.
    pub(super) fn open(storage: &Storage) -> Result<Self, Fault> {
        let sql = ObjectSql::new(storage);
        sql.transaction(|| super::schema::migrate(&sql))?;
        Ok(Self(Rc::new(Inner { sql, books: RefCell::default() })))
    }

    /// Learns the terms of an organization, if the object was evicted since it admitted.
    pub(super) fn know_if_new(&self, organization: OrganizationId, terms: Terms) {
        self.0.books.borrow_mut().know_if_new(organization, terms);
    }

    /// Whether any idempotency record is kept.
    ///
    /// # Errors
    /// What the database says.
    pub(super) fn keeps_any(&self) -> Result<bool, Fault> {
        let query = "SELECT EXISTS (SELECT 1 FROM idempotency_keys)";
        Ok(self.sql().first(query, &[], |row| row.int(0))? == Some(1))
    }

    /// Appends rows of the directory that have not been appended before.
    ///
    /// # Errors
    /// What the database says.
    pub(super) fn append_once(
        &self,
        organization: OrganizationId,
        rows: Vec<(i64, AuditRecord)>,
    ) -> Result<(), Fault> {
        self.write(|books, sql| {
            let seen = super::schema::shipped(sql)?;
            let mut last = seen;
            for (number, record) in rows.into_iter().filter(|(number, _)| *number > seen) {
                books.append(sql, organization, record)?;
                last = last.max(number);
            }
            super::schema::set_shipped(sql, last)
        })
    }

    /// Whose object it is, once anything was written.
    ///
    /// # Errors
    /// What the database says.
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

    pub(super) fn remove_receipts(&self, before: Timestamp) -> Result<u64, Fault> {
        self.write(|_, sql| shipment::remove_receipts(sql, before))
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
        self.write(|books, sql| {
            let revived = meter::revive(sql, organization, identifier, now)?;
            if revived {
                books.append(sql, organization, audit)?;
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

    fn write<T>(
        &self,
        work: impl FnOnce(&mut Books, &ObjectSql) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let Inner { sql, books } = &*self.0;
        let mut writing = Writing { books: books.borrow_mut(), committed: false };
        let outcome = sql.transaction(|| {
            let value = work(&mut writing.books, sql)?;
            writing.books.before_commit(sql)?;
            Ok(value)
        });
        writing.committed = outcome.is_ok();
        outcome
    }

    fn sql(&self) -> &ObjectSql {
        &self.0.sql
    }
}

/// What is remembered is forgotten unless it was committed, also when a panic passes.
struct Writing<'a> {
    books: RefMut<'a, Books>,
    committed: bool,
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        if !self.committed {
            self.books.forget();
        }
    }
}

impl Ledger for ObjectStore {
    async fn lease(
        &self,
        organization: OrganizationId,
        node: NodeId,
        ask: &LeaseAsk,
        now: Timestamp,
    ) -> Result<LeaseGrant, Fault> {
        self.write(|books, sql| books.lease(sql, organization, node, ask, now))
    }

    async fn settle(&self, settlement: Settlement, now: Timestamp) -> Result<Settled, Fault> {
        self.write(|books, sql| books.settle(sql, settlement, now))?
    }

    async fn void(&self, organization: OrganizationId, usage: UsageId) -> Result<(), Fault> {
        self.write(|books, sql| books.void(sql, organization, usage))?
    }
}

impl UsageRecords for ObjectStore {
    async fn usage(
        &self,
        organization: OrganizationId,
        at: Timestamp,
        grouping: Grouping,
    ) -> Result<Option<UsageSummary>, Fault> {
        core::summary(self.sql(), organization, at, grouping)
    }

    async fn receipt(&self, usage: UsageId) -> Result<Option<Receipt>, Fault> {
        core::receipt(self.sql(), usage)
    }

    async fn kept(
        &self,
        _organization: OrganizationId,
        key: &IdempotencyKey,
        now: Timestamp,
    ) -> Result<Option<Kept>, Fault> {
        core::kept(self.sql(), key, now)
    }

    async fn keep_answer(
        &self,
        _organization: OrganizationId,
        key: &IdempotencyKey,
        answer: &KeptAnswer,
    ) -> Result<(), Fault> {
        self.write(|_, sql| core::keep_answer(sql, key, answer))
    }

    async fn purge_kept(&self, now: Timestamp) -> Result<u64, Fault> {
        self.write(|_, sql| core::purge_kept(sql, now))
    }
}

impl AuditLog for ObjectStore {
    async fn append(&self, records: Vec<(OrganizationId, AuditRecord)>) -> Result<(), Fault> {
        self.write(|books, sql| {
            records
                .into_iter()
                .try_for_each(|(organization, record)| books.append(sql, organization, record))
        })
    }

    async fn entries(
        &self,
        organization: OrganizationId,
        after: u64,
        limit: usize,
    ) -> Result<Vec<AuditEntry>, Fault> {
        core::entries(self.sql(), organization, after, limit)
    }

    async fn head(&self, organization: OrganizationId) -> Result<AuditHead, Fault> {
        core::head(self.sql(), organization)
    }

    async fn checkpoint(&self, organization: OrganizationId) -> Result<AuditHead, Fault> {
        core::checkpoint(self.sql(), organization)
    }

    async fn prune(
        &self,
        organization: OrganizationId,
        before: Timestamp,
        now: Timestamp,
    ) -> Result<u64, Fault> {
        self.write(|books, sql| books.prune(sql, organization, before, now))
    }
}
