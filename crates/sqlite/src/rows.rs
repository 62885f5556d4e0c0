//! Rows and what they stand for.

use driftlock_domain::id::{KeyId, OrganizationId};
use driftlock_domain::key::KeyRecord;
use driftlock_domain::organization::Organization;
use driftlock_domain::time::Timestamp;
use rusqlite::types::Type;
use rusqlite::{Error, Result, Row};
use serde_json::{Value, from_str};

/// A count as SQLite keeps it; nothing here comes near 2^63.
pub(crate) fn int(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// A count as SQLite kept it; sums of it are never below zero.
pub(crate) fn uint(count: i64) -> u64 {
    u64::try_from(count).unwrap_or(0)
}

pub(crate) fn time(micros: Option<i64>) -> Option<Timestamp> {
    micros.map(Timestamp::from_micros)
}

pub(crate) fn micros(time: Option<Timestamp>) -> Option<i64> {
    time.map(Timestamp::micros)
}

/// A value as JSON text.
pub(crate) fn json(value: &impl serde::Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|error| Error::ToSqlConversionFailure(error.into()))
}

pub(crate) fn of_json<T: serde::de::DeserializeOwned>(text: &str, column: usize) -> Result<T> {
    from_str(text)
        .map_err(|error| Error::FromSqlConversionFailure(column, Type::Text, error.into()))
}

/// The columns of [`organization`], in order.
pub(crate) const ORGANIZATION: &str = "id, name, plan, status, quota, requests_per_minute, \
                                       stripe_customer_id, subscription, created_at";

pub(crate) fn organization(row: &Row<'_>) -> Result<Organization> {
    let status: String = row.get(3)?;
    let quota: String = row.get(4)?;
    let subscription: Option<String> = row.get(7)?;
    Ok(Organization {
        id: OrganizationId::from_bytes(row.get(0)?),
        name: row.get(1)?,
        plan: row.get(2)?,
        status: serde_json::from_value(Value::String(status))
            .map_err(|error| Error::FromSqlConversionFailure(3, Type::Text, error.into()))?,
        quota: of_json(&quota, 4)?,
        requests_per_minute: row.get(5)?,
        stripe_customer_id: row.get(6)?,
        subscription: subscription.map(|text| of_json(&text, 7)).transpose()?,
        created_at: Timestamp::from_micros(row.get(8)?),
    })
}

/// The columns of [`key`], in order.
pub(crate) const KEY: &str = "id, organization, name, key_prefix, scopes, requests_per_minute, \
                              ip_allow, expires_at, revoked_at, last_used_at, created_at";

pub(crate) fn key(row: &Row<'_>) -> Result<KeyRecord> {
    let (scopes, ip_allow): (String, String) = (row.get(4)?, row.get(6)?);
    Ok(KeyRecord {
        id: KeyId::from_bytes(row.get(0)?),
        organization: OrganizationId::from_bytes(row.get(1)?),
        name: row.get(2)?,
        prefix: row.get(3)?,
        scopes: of_json(&scopes, 4)?,
        requests_per_minute: row.get(5)?,
        ip_allow: of_json(&ip_allow, 6)?,
        expires_at: time(row.get(7)?),
        revoked_at: time(row.get(8)?),
        last_used_at: time(row.get(9)?),
        created_at: Timestamp::from_micros(row.get(10)?),
    })
}
