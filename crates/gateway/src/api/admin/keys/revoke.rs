//! `POST /admin/v1/keys/{id}/revoke`: the key is refused from the next request on (I5).

use driftlock_domain::audit::KEY_REVOKE;
use http::StatusCode;
use serde_json::json;

use super::super::call::{AdminCall, Failure, Reply};
use crate::ports::{Directory, Platform};
use crate::reply;

pub(in super::super) async fn revoke<P: Platform>(call: AdminCall<'_, P>, id: &str) -> Reply<P> {
    let key = call.key(id).await?;
    let gateway = call.gateway;
    let audit = call.audit(KEY_REVOKE, key.id.to_string(), &json!({ "prefix": key.prefix }));
    let revoked = gateway.directory.revoke_key(key.id, call.at, audit).await;
    // Also after a fault: the revocation may have been committed.
    gateway.shared.keys.invalidate_where(|known| known.record.id == key.id);
    let revoked = revoked?.ok_or_else(|| Failure::not_found("key"))?;
    Ok(reply::json::<P>(StatusCode::OK, &revoked)?)
}
