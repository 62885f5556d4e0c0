//! Conversion of the directory's rows.

use driftlock_domain::denial::Fault;
use driftlock_domain::id::{KeyId, OrganizationId};
use driftlock_domain::key::KeyRecord;
use driftlock_domain::ledger_host::LedgerHost;
use driftlock_domain::organization::Organization;
use driftlock_domain::time::Timestamp;
use serde::Serialize;

use crate::sql::Row;

/// The columns of [`organization`], in order.
macro_rules! organization_columns {
    () => {
        "id, name, plan, status, quota, requests_per_minute, stripe_customer_id, contract, \
         purchases, created_at"
    };
}

/// The columns of [`key`], in order.
macro_rules! key_columns {
    () => {
        "id, organization, name, key_prefix, scopes, requests_per_minute, ip_allow, expires_at, \
         revoked_at, last_used_at, created_at"
    };
}

pub(crate) use {key_columns, organization_columns};

/// Reads an organization.
///
/// # Errors
/// When the row is not one.
pub fn organization(row: Row<'_>) -> Result<Organization, Fault> {
    let status = serde_json::Value::String(row.text(3)?.into_owned());
    let (contract, purchases) = (row.maybe_text(7)?, row.maybe_text(8)?);
    Ok(Organization {
        id: OrganizationId::from_bytes(row.bytes(0)?),
        name: row.text(1)?.into_owned(),
        plan: row.text(2)?.into_owned(),
        status: serde_json::from_value(status).map_err(Fault::store)?,
        quota: row.json(4)?,
        requests_per_minute: row.maybe_number(5)?,
        stripe_customer_id: row.maybe_text(6)?.map(Into::into),
        contract: contract.map(|_| row.json(7)).transpose()?,
        purchases: purchases.map(|_| row.json(8)).transpose()?,
        created_at: Timestamp::from_micros(row.int(9)?),
        // SQLite and D1 store no ledger host: each deployment has only one kind.
        ledger: LedgerHost::default(),
    })
}

/// Reads a key.
///
/// # Errors
/// When the row is not one.
pub fn key(row: Row<'_>) -> Result<KeyRecord, Fault> {
    Ok(KeyRecord {
        id: KeyId::from_bytes(row.bytes(0)?),
        organization: OrganizationId::from_bytes(row.bytes(1)?),
        name: row.text(2)?.into_owned(),
        prefix: row.text(3)?.into_owned(),
        scopes: row.json(4)?,
        requests_per_minute: row.maybe_number(5)?,
        ip_allow: row.json(6)?,
        expires_at: row.maybe_int(7)?.map(Timestamp::from_micros),
        revoked_at: row.maybe_int(8)?.map(Timestamp::from_micros),
        last_used_at: row.maybe_int(9)?.map(Timestamp::from_micros),
        created_at: Timestamp::from_micros(row.int(10)?),
    })
}

/// A value as JSON text.
pub(crate) fn json(value: &impl Serialize) -> Result<String, Fault> {
    serde_json::to_string(value).map_err(Fault::store)
}
