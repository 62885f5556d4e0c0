//! Organizations and keys: each change commits together with its audit row.

use driftlock_domain::audit::AuditRecord;
use driftlock_domain::denial::{Fault, FaultKind};
use driftlock_domain::id::{KeyId, OrganizationId};
use driftlock_domain::key::{KeyHash, KeyRecord};
use driftlock_domain::organization::{Organization, OrganizationPatch};
use driftlock_domain::time::Timestamp;
use driftlock_gateway::ports::{Directory, Page};
use rusqlite::{Connection, OptionalExtension, ToSql, params};

use crate::rows::{self, json, micros};
use crate::store::SqliteStore;
use crate::writer::Writer;

impl Directory for SqliteStore {
    async fn key_by_hash(&self, hash: &KeyHash) -> Result<Option<KeyRecord>, Fault> {
        let hash = hash.0;
        self.readers().read(move |connection| one_key(connection, "key_hash = ?1", &hash)).await
    }

    async fn key(&self, id: KeyId) -> Result<Option<KeyRecord>, Fault> {
        self.readers().read(move |connection| one_key(connection, "id = ?1", id.as_bytes())).await
    }

    async fn organization(&self, id: OrganizationId) -> Result<Option<Organization>, Fault> {
        self.readers().read(move |connection| organization(connection, id)).await
    }

    async fn organizations(&self, page: Page<OrganizationId>) -> Result<Vec<Organization>, Fault> {
        self.readers()
            .read(move |connection| {
                let columns = rows::ORGANIZATION;
                let query = format!(
                    "SELECT {columns} FROM organizations WHERE id > ?1 ORDER BY id LIMIT ?2"
                );
                let after = page.after.map_or([0; 16], |id| *id.as_bytes());
                let mut statement = connection.prepare_cached(&query)?;
                statement.query_map(params![after, page.limit], rows::organization)?.collect()
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
            .write(move |writer| {
                if self::organization(&writer.connection, made.id)?.is_some() {
                    return Ok(Err(conflict("an organization of this id")));
                }
                put_organization(writer, &made)?;
                writer.append(made.id, audit).map(Ok)
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
            .write(move |writer| {
                let Some(mut changed) = organization(&writer.connection, id)? else {
                    return Ok(None);
                };
                patch.apply(&mut changed);
                put_organization(writer, &changed)?;
                writer.append(id, audit)?;
                Ok(Some(changed))
            })
            .await
    }

    async fn keys(
        &self,
        organization: OrganizationId,
        page: Page<KeyId>,
    ) -> Result<Vec<KeyRecord>, Fault> {
        self.readers()
            .read(move |connection| {
                let query = format!(
                    "SELECT {} FROM api_keys WHERE organization = ?1 AND id > ?2 \
                     ORDER BY id LIMIT ?3",
                    rows::KEY
                );
                let after = page.after.map_or([0; 16], |id| *id.as_bytes());
                let mut statement = connection.prepare_cached(&query)?;
                let bounds = params![organization.as_bytes(), after, page.limit];
                statement.query_map(bounds, rows::key)?.collect()
            })
            .await
    }

    async fn create_key(
        &self,
        key: &KeyRecord,
        hash: &KeyHash,
        audit: AuditRecord,
    ) -> Result<(), Fault> {
        let (key, hash) = (key.clone(), hash.0);
        self.writer()
            .write(move |writer| {
                if exists(&writer.connection, &key, &hash)? {
                    return Ok(Err(conflict("a key of this id or hash")));
                }
                insert_key(writer, &key, &hash)?;
                writer.append(key.organization, audit).map(Ok)
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
            .write(move |writer| {
                let Some(key) = revoke(writer, id, at)? else { return Ok(None) };
                writer.append(key.organization, audit)?;
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
        let (successor, hash) = (successor.clone(), hash.0);
        self.writer()
            .write(move |writer| {
                if exists(&writer.connection, &successor, &hash)? {
                    return Ok(Err(conflict("a key of this id or hash")));
                }
                let Some(key) = revoke(writer, id, revoke_at)? else { return Ok(Ok(None)) };
                insert_key(writer, &successor, &hash)?;
                writer.append(key.organization, audit)?;
                Ok(Ok(Some(key)))
            })
            .await?
    }

    async fn touch_keys(&self, used: &[(KeyId, Timestamp)]) -> Result<(), Fault> {
        let used = used.to_vec();
        self.writer()
            .write(move |writer| {
                let update = "UPDATE api_keys SET last_used_at = max(coalesce(last_used_at, 0), ?2) \
                              WHERE id = ?1";
                let mut statement = writer.connection.prepare_cached(update)?;
                for (id, at) in used {
                    statement.execute(params![id.as_bytes(), at.micros()])?;
                }
                Ok(())
            })
            .await
    }
}

fn conflict(what: &str) -> Fault {
    Fault::new(FaultKind::Conflict, format!("there is {what} already"))
}

fn organization(
    connection: &Connection,
    id: OrganizationId,
) -> rusqlite::Result<Option<Organization>> {
    let query = format!("SELECT {} FROM organizations WHERE id = ?1", rows::ORGANIZATION);
    let mut statement = connection.prepare_cached(&query)?;
    statement.query_row([id.as_bytes()], rows::organization).optional()
}

fn put_organization(writer: &Writer, organization: &Organization) -> rusqlite::Result<()> {
    let put = format!(
        "INSERT INTO organizations ({}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) \
         ON CONFLICT DO UPDATE SET name = excluded.name, plan = excluded.plan, \
         status = excluded.status, quota = excluded.quota, \
         requests_per_minute = excluded.requests_per_minute, \
         stripe_customer_id = excluded.stripe_customer_id, subscription = excluded.subscription",
        rows::ORGANIZATION
    );
    let status = json(&organization.status)?;
    writer.connection.prepare_cached(&put)?.execute(params![
        organization.id.as_bytes(),
        organization.name,
        organization.plan,
        status.trim_matches('"'),
        json(&organization.quota)?,
        organization.requests_per_minute,
        organization.stripe_customer_id,
        organization.subscription.as_ref().map(json).transpose()?,
        organization.created_at.micros(),
    ])?;
    Ok(())
}

fn one_key(
    connection: &Connection,
    condition: &str,
    value: &dyn ToSql,
) -> rusqlite::Result<Option<KeyRecord>> {
    let query = format!("SELECT {} FROM api_keys WHERE {condition}", rows::KEY);
    connection.prepare_cached(&query)?.query_row([value], rows::key).optional()
}

fn exists(connection: &Connection, key: &KeyRecord, hash: &[u8; 32]) -> rusqlite::Result<bool> {
    let query = "SELECT EXISTS (SELECT 1 FROM api_keys WHERE id = ?1 OR key_hash = ?2)";
    connection.query_row(query, params![key.id.as_bytes(), hash], |row| row.get(0))
}

fn insert_key(writer: &Writer, key: &KeyRecord, hash: &[u8; 32]) -> rusqlite::Result<()> {
    let insert = format!(
        "INSERT INTO api_keys ({}, key_hash) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
        rows::KEY
    );
    writer.connection.prepare_cached(&insert)?.execute(params![
        key.id.as_bytes(),
        key.organization.as_bytes(),
        key.name,
        key.prefix,
        json(&key.scopes)?,
        key.requests_per_minute,
        json(&key.ip_allow)?,
        micros(key.expires_at),
        micros(key.revoked_at),
        micros(key.last_used_at),
        key.created_at.micros(),
        hash,
    ])?;
    Ok(())
}

/// The earlier of two revocations counts.
fn revoke(writer: &Writer, id: KeyId, at: Timestamp) -> rusqlite::Result<Option<KeyRecord>> {
    let update = "UPDATE api_keys SET revoked_at = min(coalesce(revoked_at, ?2), ?2) WHERE id = ?1";
    writer.connection.prepare_cached(update)?.execute(params![id.as_bytes(), at.micros()])?;
    one_key(&writer.connection, "id = ?1", id.as_bytes())
}
