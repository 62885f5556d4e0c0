//! The directory in D1: organizations and keys.
//!
//! A change and its audit row commit together, in one batch. The row waits in D1's outbox until it
//! was appended to the audit chain, which is in the organization's object.

mod inbox;
mod notes;
mod outbox;
mod schema;

use std::rc::Rc;

use driftlock_domain::alert::Alert;
use driftlock_domain::audit::AuditRecord;
use driftlock_domain::denial::{Fault, FaultKind};
use driftlock_domain::id::{KeyId, OrganizationId, UsageId};
use driftlock_domain::key::{KeyHash, KeyRecord};
use driftlock_domain::ledger_host::{LedgerHost, LedgerKind};
use driftlock_domain::organization::{Organization, OrganizationPatch};
use driftlock_domain::time::Timestamp;
use driftlock_gateway::ports::{Directory, Page};
use driftlock_sqlite_core::{self as core, Row, Statement, Value, alerts};
use js_sys::Array;
use wasm_bindgen::{JsCast, JsValue};
use worker::{D1Database, D1PreparedStatement};

use crate::js::{JsRow, bound};
use crate::objects::Objects;

/// Attempts for a change that others precede.
const ATTEMPTS_MAX: usize = 8;

/// The database, and the objects that its audit rows are sent to.
#[derive(Clone)]
pub(crate) struct D1Directory {
    database: Rc<D1Database>,
    objects: Objects,
}

impl D1Directory {
    pub(crate) fn new(database: D1Database, objects: Objects) -> Self {
        Self { database: Rc::new(database), objects }
    }

    /// Applies the migrations that the database does not have yet.
    pub(crate) async fn prepare(&self) -> Result<(), Fault> {
        schema::migrate(&self.database).await
    }

    /// The key of a hash and its organization, if the key exists and the schema is up to date.
    pub(crate) async fn key_with_owner_and_schema(
        &self,
        hash: &KeyHash,
    ) -> Option<(KeyRecord, Option<Organization>)> {
        let query =
            format!("SELECT ({}), * FROM ({})", schema::VERSION_IN_META, core::CALLER_BY_HASH);
        let values = [(&hash.0).into()];
        let read = |row: Row<'_>| Ok((row.int(0)?, caller(Row(&row.from(1)))?));
        // Before the first migration there is no table; `prepare` then migrates.
        let found = self.first(&query, &values, read).await.unwrap_or(None);
        found.filter(|(version, _)| schema::is_current(*version)).map(|(_, caller)| caller)
    }

    /// The organizations, nearly always one, whose receipts end like this one.
    pub(crate) async fn organizations_of(
        &self,
        usage: UsageId,
    ) -> Result<Vec<OrganizationId>, Fault> {
        let query = "SELECT id FROM organizations WHERE substr(id, 13) = ?1 LIMIT 8";
        let tag = [Value::from(&usage.as_bytes()[12..])];
        self.query(query, &tag, |row| row.bytes(0).map(OrganizationId::from_bytes)).await
    }

    async fn query<T>(
        &self,
        sql: &str,
        values: &[Value<'_>],
        read: impl Fn(Row<'_>) -> Result<T, Fault>,
    ) -> Result<Vec<T>, Fault> {
        let statement = prepare(&self.database, sql, values)?;
        let rows = statement.raw_js_value().await.map_err(Fault::store)?;
        let read = |row: JsValue| match row.dyn_into::<Array>() {
            Ok(row) => read(Row(&JsRow(row))),
            Err(_) => Err(Fault::store("D1 gave a row that is no array")),
        };
        rows.into_iter().map(read).collect()
    }

    async fn first<T>(
        &self,
        sql: &str,
        values: &[Value<'_>],
        read: impl Fn(Row<'_>) -> Result<T, Fault>,
    ) -> Result<Option<T>, Fault> {
        Ok(self.query(sql, values, read).await?.into_iter().next())
    }

    /// Runs a statement; returns whether it changed a row.
    async fn change(&self, sql: &str, values: &[Value<'_>]) -> Result<bool, Fault> {
        Ok(self.changes(sql, values).await? > 0)
    }

    /// Runs a statement; returns how many rows it changed.
    async fn changes(&self, sql: &str, values: &[Value<'_>]) -> Result<u64, Fault> {
        let done = prepare(&self.database, sql, values)?.run().await.map_err(Fault::store)?;
        let meta = done.meta().map_err(Fault::store)?;
        Ok(meta.and_then(|meta| meta.changes).unwrap_or(0) as u64)
    }

    /// Commits a change together with its audit row; returns whether the change affected a row. If
    /// it did not, no audit row is written.
    async fn commit(
        &self,
        organization: OrganizationId,
        change: Statement,
        also: Option<Statement>,
        audit: &AuditRecord,
    ) -> Result<bool, Fault> {
        let changed = self.write(organization, change, also, audit).await?;
        self.ship(organization).await;
        Ok(changed)
    }

    async fn write(
        &self,
        organization: OrganizationId,
        change: Statement,
        also: Option<Statement>,
        audit: &AuditRecord,
    ) -> Result<bool, Fault> {
        let mut batch = vec![prepare(&self.database, change.sql, &change.values)?];
        batch.push(outbox::insert(&self.database, organization, audit)?);
        if let Some(also) = also {
            batch.push(prepare(&self.database, also.sql, &also.values)?);
        }
        let results = self.database.batch(batch).await.map_err(conflict)?;
        let meta = results.first().map(worker::D1Result::meta).transpose().map_err(Fault::store)?;
        Ok(meta.flatten().and_then(|meta| meta.changes).unwrap_or(0) > 0)
    }

    /// A revocation is in force once the organization's object has its audit row, so the caller is
    /// answered only after that.
    async fn in_force(&self, organization: OrganizationId) -> Result<(), Fault> {
        outbox::ship(&self.database, &self.objects, organization).await
    }

    /// Appends outbox rows to the organization's audit chain. After a failure they stay in the
    /// outbox and are sent with the next rows.
    pub(crate) async fn ship(&self, organization: OrganizationId) {
        if let Err(fault) = outbox::ship(&self.database, &self.objects, organization).await {
            tracing::error!(%organization, error = fault.cause, "could not ship audit rows");
        }
    }

    /// Organizations that are customers at Stripe.
    pub(crate) async fn customers(
        &self,
        page: Page<OrganizationId>,
    ) -> Result<Vec<OrganizationId>, Fault> {
        let query = "SELECT id FROM organizations WHERE stripe_customer_id IS NOT NULL \
                     AND id > ?1 ORDER BY id LIMIT ?2";
        let after = page.after.map_or([0; 16], |id| *id.as_bytes());
        let values = [(&after).into(), (page.limit as u64).into()];
        self.query(query, &values, |row| row.bytes(0).map(OrganizationId::from_bytes)).await
    }

    /// Stores an alert, unless one of its kind and subject exists.
    pub(crate) async fn raise(&self, alert: &Alert) -> Result<(), Fault> {
        let Statement { sql, values } = alerts::raise(alert);
        prepare(&self.database, sql, &values)?.run().await.map(drop).map_err(Fault::store)
    }

    /// The alerts that the directory keeps of an organization, the newest first.
    pub(crate) async fn alerts(
        &self,
        organization: OrganizationId,
        limit: usize,
    ) -> Result<Vec<Alert>, Fault> {
        let values = [organization.as_bytes().into(), (limit as u64).into()];
        self.query(alerts::ALERTS, &values, alerts::alert).await
    }

    /// Appends the outbox rows of all organizations to their audit chains.
    pub(crate) async fn ship_all(&self) -> Result<(), Fault> {
        let query = "SELECT DISTINCT organization FROM audit_outbox LIMIT 100";
        let waiting = self.query(query, &[], |row| row.bytes(0).map(OrganizationId::from_bytes));
        for organization in waiting.await? {
            self.ship(organization).await;
        }
        Ok(())
    }
}

impl Directory for D1Directory {
    async fn key_by_hash(&self, hash: &KeyHash) -> Result<Option<KeyRecord>, Fault> {
        self.first(core::KEY_BY_HASH, &[(&hash.0).into()], core::key).await
    }

    async fn key_with_owner(
        &self,
        hash: &KeyHash,
    ) -> Result<Option<(KeyRecord, Option<Organization>)>, Fault> {
        self.first(core::CALLER_BY_HASH, &[(&hash.0).into()], caller).await
    }

    async fn key(&self, id: KeyId) -> Result<Option<KeyRecord>, Fault> {
        self.first(core::KEY_BY_ID, &[id.as_bytes().into()], core::key).await
    }

    async fn organization(&self, id: OrganizationId) -> Result<Option<Organization>, Fault> {
        let values = [id.as_bytes().into()];
        self.first(core::ORGANIZATION_BY_ID, &values, organization).await
    }

    async fn organizations(&self, page: Page<OrganizationId>) -> Result<Vec<Organization>, Fault> {
        let after = page.after.map_or([0; 16], |id| *id.as_bytes());
        let values = [(&after).into(), (page.limit as u64).into()];
        self.query(core::ORGANIZATIONS, &values, organization).await
    }

    async fn create_organization(
        &self,
        organization: &Organization,
        audit: AuditRecord,
    ) -> Result<(), Fault> {
        let insert = core::insert_organization(organization)?;
        self.commit(organization.id, insert, None, &audit).await.map(drop)
    }

    async fn patch_organization(
        &self,
        id: OrganizationId,
        patch: OrganizationPatch,
        audit: AuditRecord,
    ) -> Result<Option<Organization>, Fault> {
        for _ in 0..ATTEMPTS_MAX {
            let number = [id.as_bytes().into()];
            let revision = self.first(core::REVISION, &number, |row| row.int(0)).await?;
            let (Some(revision), Some(mut changed)) = (revision, self.organization(id).await?)
            else {
                return Ok(None);
            };
            patch.clone().apply(&mut changed);
            let update = core::update_organization(&changed, revision)?;
            if self.commit(id, update, None, &audit).await? {
                return Ok(Some(changed));
            }
        }
        Err(Fault::new(FaultKind::Overloaded, "too many concurrent changes of the organization"))
    }

    async fn keys(
        &self,
        organization: OrganizationId,
        page: Page<KeyId>,
    ) -> Result<Vec<KeyRecord>, Fault> {
        let after = page.after.map_or([0; 16], |id| *id.as_bytes());
        let values = [organization.as_bytes().into(), (&after).into(), (page.limit as u64).into()];
        self.query(core::KEYS_OF_ORGANIZATION, &values, core::key).await
    }

    async fn create_key(
        &self,
        key: &KeyRecord,
        hash: &KeyHash,
        audit: AuditRecord,
    ) -> Result<(), Fault> {
        let insert = core::insert_key(key, hash)?;
        self.commit(key.organization, insert, None, &audit).await.map(drop)
    }

    async fn revoke_key(
        &self,
        id: KeyId,
        at: Timestamp,
        audit: AuditRecord,
    ) -> Result<Option<KeyRecord>, Fault> {
        let Some(key) = self.key(id).await? else { return Ok(None) };
        self.write(key.organization, revoke(id, at), None, &audit).await?;
        self.in_force(key.organization).await?;
        self.key(id).await
    }

    async fn rotate_key(
        &self,
        id: KeyId,
        successor: &KeyRecord,
        hash: &KeyHash,
        revoke_at: Timestamp,
        audit: AuditRecord,
    ) -> Result<Option<KeyRecord>, Fault> {
        let Some(key) = self.key(id).await? else { return Ok(None) };
        let (insert, revoke) = (core::insert_key(successor, hash)?, revoke(id, revoke_at));
        self.commit(key.organization, revoke, Some(insert), &audit).await?;
        self.key(id).await
    }

    async fn touch_keys(&self, used: &[(KeyId, Timestamp)]) -> Result<(), Fault> {
        let touch = |(id, at): &(KeyId, Timestamp)| {
            let values = [id.as_bytes().into(), at.micros().into()];
            prepare(&self.database, core::TOUCH_KEY, &values)
        };
        let batch = used.iter().map(touch).collect::<Result<Vec<_>, Fault>>()?;
        self.database.batch(batch).await.map(drop).map_err(Fault::store)
    }
}

/// A row of [`core::CALLER_BY_HASH`].
fn caller(row: Row<'_>) -> Result<(KeyRecord, Option<Organization>), Fault> {
    let owner = organization(Row(&row.from(core::KEY_COLUMNS)))?;
    Ok((core::key(row)?, Some(owner)))
}

/// With D1, Durable Objects meter every organization.
fn organization(row: Row<'_>) -> Result<Organization, Fault> {
    let found = core::organization(row)?;
    Ok(Organization { ledger: LedgerHost::of(LedgerKind::Objects), ..found })
}

fn revoke(id: KeyId, at: Timestamp) -> Statement {
    let id = Value::from(id.as_bytes()).into_owned();
    Statement { sql: core::REVOKE_KEY, values: vec![id, at.micros().into()] }
}

fn prepare(
    database: &D1Database,
    sql: &str,
    values: &[Value<'_>],
) -> Result<D1PreparedStatement, Fault> {
    let values: Vec<JsValue> = values.iter().map(bound).collect();
    database.prepare(sql).bind(&values).map_err(Fault::store)
}

fn conflict(error: worker::Error) -> Fault {
    let cause = error.to_string();
    let exists = core::conflict::exists_already(&cause);
    Fault::new(if exists { FaultKind::Conflict } else { FaultKind::Store }, cause)
}
