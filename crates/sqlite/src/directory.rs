//! Organizations and keys: each change commits together with its audit entry.

use driftlock_domain::audit::AuditRecord;
use driftlock_domain::denial::{Fault, FaultKind};
use driftlock_domain::id::{KeyId, OrganizationId};
use driftlock_domain::key::{KeyHash, KeyRecord};
use driftlock_domain::organization::{Organization, OrganizationPatch};
use driftlock_domain::time::Timestamp;
use driftlock_gateway::ports::{Directory, Page};
use driftlock_sqlite_core::{self as core, Sql, Statement};

use crate::sql::Native;
use crate::store::SqliteStore;

impl Directory for SqliteStore {
    /// Writes to the disk like any other write. The value is random, since SQLite does not write a
    /// page that has not changed.
    async fn ready(&self) -> Result<(), Fault> {
        let put = "INSERT INTO meta (name, value) VALUES ('ready', randomblob(8)) \
                   ON CONFLICT (name) DO UPDATE SET value = excluded.value";
        self.writer().write(move |_, sql| sql.execute(put, &[]).map(drop)).await
    }

    async fn key_by_hash(&self, hash: &KeyHash) -> Result<Option<KeyRecord>, Fault> {
        let hash = hash.0;
        self.readers()
            .read(move |sql| sql.first(core::KEY_BY_HASH, &[(&hash).into()], core::key))
            .await
    }

    async fn key(&self, id: KeyId) -> Result<Option<KeyRecord>, Fault> {
        self.readers().read(move |sql| key(sql, id)).await
    }

    async fn organization(&self, id: OrganizationId) -> Result<Option<Organization>, Fault> {
        self.readers().read(move |sql| organization(sql, id)).await
    }

    async fn organizations(&self, page: Page<OrganizationId>) -> Result<Vec<Organization>, Fault> {
        let after = page.after.map_or([0; 16], |id| *id.as_bytes());
        self.readers()
            .read(move |sql| {
                let values = [(&after).into(), (page.limit as u64).into()];
                sql.query(core::ORGANIZATIONS, &values, core::organization)
            })
            .await
    }

    async fn create_organization(
        &self,
        organization: &Organization,
        audit: AuditRecord,
    ) -> Result<(), Fault> {
        let made = organization.clone();
        self.writer()
            .write(move |cache, sql| {
                if self::organization(sql, made.id)?.is_some() {
                    return Ok(Err(conflict("an organization of this id")));
                }
                if is_taken(sql, &made)? {
                    return Ok(Err(conflict("an organization with this customer")));
                }
                run(sql, &core::insert_organization(&made)?)?;
                cache.append(sql, made.id, audit).map(Ok)
            })
            .await?
    }

    async fn patch_organization(
        &self,
        id: OrganizationId,
        patch: OrganizationPatch,
        audit: AuditRecord,
    ) -> Result<Option<Organization>, Fault> {
        self.writer()
            .write(move |cache, sql| {
                let revision = sql.first(core::REVISION, &[id.as_bytes().into()], |r| r.int(0))?;
                let (Some(revision), Some(mut changed)) = (revision, organization(sql, id)?) else {
                    return Ok(Ok(None));
                };
                patch.apply(&mut changed);
                if is_taken(sql, &changed)? {
                    return Ok(Err(conflict("an organization with this customer")));
                }
                run(sql, &core::update_organization(&changed, revision)?)?;
                cache.append(sql, id, audit)?;
                Ok(Ok(Some(changed)))
            })
            .await?
    }

    async fn keys(
        &self,
        organization: OrganizationId,
        page: Page<KeyId>,
    ) -> Result<Vec<KeyRecord>, Fault> {
        let after = page.after.map_or([0; 16], |id| *id.as_bytes());
        self.readers()
            .read(move |sql| {
                let limit = page.limit as u64;
                let values = [organization.as_bytes().into(), (&after).into(), limit.into()];
                sql.query(core::KEYS_OF_ORGANIZATION, &values, core::key)
            })
            .await
    }

    async fn create_key(
        &self,
        key: &KeyRecord,
        hash: &KeyHash,
        audit: AuditRecord,
    ) -> Result<(), Fault> {
        let (key, hash) = (key.clone(), *hash);
        self.writer()
            .write(move |cache, sql| {
                if exists(sql, &key, &hash)? {
                    return Ok(Err(conflict("a key of this id or hash")));
                }
                run(sql, &core::insert_key(&key, &hash)?)?;
                cache.append(sql, key.organization, audit).map(Ok)
            })
            .await?
    }

    async fn revoke_key(
        &self,
        id: KeyId,
        at: Timestamp,
        audit: AuditRecord,
    ) -> Result<Option<KeyRecord>, Fault> {
        self.writer()
            .write(move |cache, sql| {
                let Some(key) = revoke(sql, id, at)? else { return Ok(None) };
                cache.append(sql, key.organization, audit)?;
                Ok(Some(key))
            })
            .await
    }

    async fn rotate_key(
        &self,
        id: KeyId,
        successor: &KeyRecord,
        hash: &KeyHash,
        revoke_at: Timestamp,
        audit: AuditRecord,
    ) -> Result<Option<KeyRecord>, Fault> {
        let (successor, hash) = (successor.clone(), *hash);
        self.writer()
            .write(move |cache, sql| {
                if exists(sql, &successor, &hash)? {
                    return Ok(Err(conflict("a key of this id or hash")));
                }
                let Some(key) = revoke(sql, id, revoke_at)? else { return Ok(Ok(None)) };
                run(sql, &core::insert_key(&successor, &hash)?)?;
                cache.append(sql, key.organization, audit)?;
                Ok(Ok(Some(key)))
            })
            .await?
    }

    async fn touch_keys(&self, used: &[(KeyId, Timestamp)]) -> Result<(), Fault> {
        let used = used.to_vec();
        self.writer()
            .write(move |_, sql| {
                used.iter().try_for_each(|(id, at)| {
                    let values = [id.as_bytes().into(), at.micros().into()];
                    sql.execute(core::TOUCH_KEY, &values).map(drop)
                })
            })
            .await
    }
}

fn conflict(what: &str) -> Fault {
    Fault::new(FaultKind::Conflict, format!("there is {what} already"))
}

fn run(sql: &Native<'_>, statement: &Statement) -> Result<(), Fault> {
    sql.execute(statement.sql, &statement.values).map(drop)
}

fn organization(sql: &Native<'_>, id: OrganizationId) -> Result<Option<Organization>, Fault> {
    sql.first(core::ORGANIZATION_BY_ID, &[id.as_bytes().into()], core::organization)
}

fn key(sql: &Native<'_>, id: KeyId) -> Result<Option<KeyRecord>, Fault> {
    sql.first(core::KEY_BY_ID, &[id.as_bytes().into()], core::key)
}

fn exists(sql: &Native<'_>, key: &KeyRecord, hash: &KeyHash) -> Result<bool, Fault> {
    let values = [key.id.as_bytes().into(), (&hash.0).into()];
    Ok(sql.first(core::KEY_EXISTS, &values, |row| row.int(0))? == Some(1))
}

/// Whether another organization has the same customer at Stripe.
fn is_taken(sql: &Native<'_>, organization: &Organization) -> Result<bool, Fault> {
    let Some(customer) = organization.stripe_customer_id.as_deref() else { return Ok(false) };
    let owner = sql.first(core::inbox::ORGANIZATION_OF_CUSTOMER, &[customer.into()], |row| {
        row.bytes(0).map(OrganizationId::from_bytes)
    })?;
    Ok(owner.is_some_and(|owner| owner != organization.id))
}

fn revoke(sql: &Native<'_>, id: KeyId, at: Timestamp) -> Result<Option<KeyRecord>, Fault> {
    sql.execute(core::REVOKE_KEY, &[id.as_bytes().into(), at.micros().into()])?;
    key(sql, id)
}
