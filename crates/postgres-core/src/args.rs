//! Arguments and results of the database's functions: ids as UUIDs, times as microseconds, bytes as
//! hex.

use driftlock_domain::audit::AuditRecord;
use driftlock_domain::denial::Fault;
use driftlock_domain::idempotency::KeptAnswer;
use driftlock_domain::time::Timestamp;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// Reads the result of a function.
pub(crate) fn read<T: DeserializeOwned>(value: Value) -> Result<T, Fault> {
    serde_json::from_value(value)
        .map_err(|error| Fault::store(format!("unexpected answer of the database: {error}")))
}

/// A value as JSON.
pub(crate) fn write(value: &impl serde::Serialize) -> Result<Value, Fault> {
    serde_json::to_value(value).map_err(Fault::store)
}

/// An id's text form without its prefix, which PostgreSQL reads as a UUID.
macro_rules! uuid {
    ($id:expr) => {
        $id.uuid().to_string()
    };
}
pub(crate) use uuid;

/// A number as PostgreSQL's `bigint`; no count here comes near 2^63.
pub(crate) fn int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The smallest UUID: a list without a cursor begins after it.
pub(crate) const FIRST_UUID: &str = "00000000-0000-0000-0000-000000000000";

/// An audit record. Its details are a text, since the chain's hash covers that text.
pub(crate) fn record(record: &AuditRecord) -> Value {
    let AuditRecord { at, actor, action, resource, outcome, request_id, ip, details } = record;
    json!({
        "at": at.micros(), "actor": actor, "action": action, "resource": resource,
        "outcome": outcome, "request_id": request_id, "ip": ip, "details": &**details,
    })
}

/// An answer to be stored with an idempotency record.
pub(crate) fn answer(answer: &KeptAnswer) -> Result<Value, Fault> {
    let KeptAnswer { status, headers, body } = answer;
    Ok(json!({ "status": status, "headers": write(headers)?, "body": hex::encode(body) }))
}

/// Reads times in microseconds.
pub(crate) fn micros(time: Option<Timestamp>) -> Option<i64> {
    time.map(Timestamp::micros)
}

/// Reads bytes in hex.
pub(crate) fn bytes(text: &str) -> Result<Vec<u8>, Fault> {
    hex::decode(text).map_err(Fault::store)
}

/// Reads exactly `N` bytes in hex.
pub(crate) fn exact<const N: usize>(text: &str) -> Result<[u8; N], Fault> {
    let wrong = |_| Fault::store("the database returned bytes of a wrong length");
    bytes(text)?.try_into().map_err(wrong)
}
