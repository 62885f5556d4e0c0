//! The audit outbox: rows that wait in D1 until they are appended to their chain.
//!
//! Row numbers only grow, and the object appends each number once. So shipping may run twice at the
//! same time, and again after a failure.

use driftlock_domain::audit::AuditRecord;
use driftlock_domain::denial::Fault;
use driftlock_domain::id::OrganizationId;
use driftlock_sqlite_core::Row;
use js_sys::Array;
use wasm_bindgen::JsCast;
use worker::{D1Database, D1PreparedStatement};

use super::prepare;
use crate::js::JsRow;
use crate::objects::Objects;

/// Rows shipped in one call.
const SHIPPED_MAX: usize = 100;
/// Calls of one run; the rest waits for the next run.
const PORTIONS_MAX: usize = 10;

/// Inserts a row if the statement before it in the batch changed a row.
pub(super) fn insert(
    database: &D1Database,
    organization: OrganizationId,
    record: &AuditRecord,
) -> Result<D1PreparedStatement, Fault> {
    let record = serde_json::to_string(record).map_err(Fault::store)?;
    let insert = "INSERT INTO audit_outbox (organization, record) \
                  SELECT ?1, ?2 WHERE changes() > 0";
    prepare(database, insert, &[organization.as_bytes().into(), record.into()])
}

/// Inserts a row unconditionally.
pub(super) fn entry(
    database: &D1Database,
    organization: OrganizationId,
    record: &AuditRecord,
) -> Result<D1PreparedStatement, Fault> {
    let record = serde_json::to_string(record).map_err(Fault::store)?;
    let insert = "INSERT INTO audit_outbox (organization, record) VALUES (?1, ?2)";
    prepare(database, insert, &[organization.as_bytes().into(), record.into()])
}

/// Sends an organization's rows to its object, oldest first.
pub(super) async fn ship(
    database: &D1Database,
    objects: &Objects,
    organization: OrganizationId,
) -> Result<(), Fault> {
    for _ in 0..PORTIONS_MAX {
        if ship_portion(database, objects, organization).await? < SHIPPED_MAX {
            return Ok(());
        }
    }
    Err(Fault::store("the audit outbox has more rows than one run ships"))
}

async fn ship_portion(
    database: &D1Database,
    objects: &Objects,
    organization: OrganizationId,
) -> Result<usize, Fault> {
    let query = "SELECT id, record FROM audit_outbox WHERE organization = ?1 ORDER BY id LIMIT ?2";
    let values = [organization.as_bytes().into(), (SHIPPED_MAX as u64).into()];
    let rows = prepare(database, query, &values)?.raw_js_value().await.map_err(Fault::store)?;
    let mut waiting: Vec<(i64, AuditRecord)> = Vec::with_capacity(rows.len());
    for row in rows {
        let row = JsRow(row.dyn_into::<Array>().map_err(|_| Fault::store("a row is no array"))?);
        waiting.push((Row(&row).int(0)?, Row(&row).json(1)?));
    }
    let Some((last, _)) = waiting.last() else { return Ok(0) };
    let (last, count) = (*last, waiting.len());
    objects.append_once(organization, waiting).await?;
    let delete = "DELETE FROM audit_outbox WHERE organization = ?1 AND id <= ?2";
    let done = prepare(database, delete, &[organization.as_bytes().into(), last.into()])?;
    done.run().await.map(|_| count).map_err(Fault::store)
}
