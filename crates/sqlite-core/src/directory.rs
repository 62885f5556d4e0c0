//! The statements of organizations and keys.

use driftlock_domain::denial::Fault;
use driftlock_domain::key::{KeyHash, KeyRecord};
use driftlock_domain::organization::Organization;
use driftlock_domain::time::Timestamp;

use crate::rows::{json, key_columns, organization_columns};
use crate::sql::{Statement, Value};

/// The organization of an id.
pub const ORGANIZATION_BY_ID: &str =
    concat!("SELECT ", organization_columns!(), " FROM organizations WHERE id = ?1");
/// The revision of an organization's row.
pub const REVISION: &str = "SELECT revision FROM organizations WHERE id = ?1";
/// Organizations after an id, in order, with a limit.
pub const ORGANIZATIONS: &str = concat!(
    "SELECT ",
    organization_columns!(),
    " FROM organizations WHERE id > ?1 ORDER BY id LIMIT ?2"
);
/// The key of an id.
pub const KEY_BY_ID: &str = concat!("SELECT ", key_columns!(), " FROM api_keys WHERE id = ?1");
/// The key of a hash.
pub const KEY_BY_HASH: &str =
    concat!("SELECT ", key_columns!(), " FROM api_keys WHERE key_hash = ?1");
/// The columns of a key, before those of its organization in [`CALLER_BY_HASH`].
pub const KEY_COLUMNS: usize = 11;
/// The key of a hash, and its organization.
pub const CALLER_BY_HASH: &str = "SELECT k.id, k.organization, k.name, k.key_prefix, k.scopes, \
     k.requests_per_minute, k.ip_allow, k.expires_at, k.revoked_at, k.last_used_at, k.created_at, \
     o.id, o.name, o.plan, o.status, o.quota, o.requests_per_minute, o.stripe_customer_id, \
     o.contract, o.purchases, o.created_at \
     FROM api_keys k JOIN organizations o ON o.id = k.organization WHERE k.key_hash = ?1";
/// Keys of an organization after an id, in order, with a limit.
pub const KEYS_OF_ORGANIZATION: &str = concat!(
    "SELECT ",
    key_columns!(),
    " FROM api_keys WHERE organization = ?1 AND id > ?2 ORDER BY id LIMIT ?3"
);
/// Revokes a key at an instant; the earlier of two revocations counts.
pub const REVOKE_KEY: &str =
    "UPDATE api_keys SET revoked_at = min(coalesce(revoked_at, ?2), ?2) WHERE id = ?1";
/// Whether there is a key of an id or a hash.
pub const KEY_EXISTS: &str =
    "SELECT EXISTS (SELECT 1 FROM api_keys WHERE id = ?1 OR key_hash = ?2)";
/// Records when a key was used.
pub const TOUCH_KEY: &str =
    "UPDATE api_keys SET last_used_at = max(coalesce(last_used_at, 0), ?2) WHERE id = ?1";

const INSERT_ORGANIZATION: &str = concat!(
    "INSERT INTO organizations (",
    organization_columns!(),
    ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)"
);
const UPDATE_ORGANIZATION: &str = "UPDATE organizations SET name = ?2, plan = ?3, status = ?4, \
     quota = ?5, requests_per_minute = ?6, stripe_customer_id = ?7, contract = ?8, \
     purchases = ?9, revision = revision + 1 WHERE id = ?1 AND revision = ?10";
const INSERT_KEY: &str = concat!(
    "INSERT INTO api_keys (",
    key_columns!(),
    ", key_hash) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)"
);

/// Creates an organization.
///
/// # Errors
/// When it cannot be written as JSON.
pub fn insert_organization(organization: &Organization) -> Result<Statement, Fault> {
    let mut values = organization_values(organization)?;
    values.push(organization.created_at.micros().into());
    Ok(Statement { sql: INSERT_ORGANIZATION, values })
}

/// Updates an organization, if its revision has not changed since it was read.
///
/// # Errors
/// When it cannot be written as JSON.
pub fn update_organization(organization: &Organization, revision: i64) -> Result<Statement, Fault> {
    let mut values = organization_values(organization)?;
    values.push(revision.into());
    Ok(Statement { sql: UPDATE_ORGANIZATION, values })
}

fn organization_values(organization: &Organization) -> Result<Vec<Value<'static>>, Fault> {
    let status = json(&organization.status)?;
    let contract = organization.contract.as_ref().map(json).transpose()?;
    let purchases = organization.purchases.as_ref().map(json).transpose()?;
    Ok(vec![
        Value::from(organization.id.as_bytes()).into_owned(),
        organization.name.clone().into(),
        organization.plan.clone().into(),
        status.trim_matches('"').to_owned().into(),
        json(&organization.quota)?.into(),
        organization.requests_per_minute.into(),
        organization.stripe_customer_id.clone().into(),
        contract.into(),
        purchases.into(),
    ])
}

/// Creates a key.
///
/// # Errors
/// When it cannot be written as JSON.
pub fn insert_key(key: &KeyRecord, hash: &KeyHash) -> Result<Statement, Fault> {
    let values = vec![
        Value::from(key.id.as_bytes()).into_owned(),
        Value::from(key.organization.as_bytes()).into_owned(),
        key.name.clone().into(),
        key.prefix.clone().into(),
        json(&key.scopes)?.into(),
        key.requests_per_minute.into(),
        json(&key.ip_allow)?.into(),
        key.expires_at.map(Timestamp::micros).into(),
        key.revoked_at.map(Timestamp::micros).into(),
        key.last_used_at.map(Timestamp::micros).into(),
        key.created_at.micros().into(),
        Value::from(&hash.0).into_owned(),
    ];
    Ok(Statement { sql: INSERT_KEY, values })
}
