//! `POST /admin/v1/keys/{id}/rotate`: makes a new key with the same rights. The old key stays valid
//! for `grace_seconds`.

use std::time::Duration;

use driftlock_domain::audit::KEY_ROTATE;
use driftlock_domain::id::KeyId;
use driftlock_domain::key::{ApiKeySecret, KeyRecord};
use http::StatusCode;
use serde::Deserialize;
use serde_json::json;

use super::super::call::{AdminCall, Failure, Reply};
use super::super::input;
use super::view::NewKey;
use crate::ports::{Directory, Entropy, Platform, id_entropy};
use crate::reply;

const GRACE_SECONDS_DEFAULT: u64 = 3_600;
const GRACE_SECONDS_MAX: u64 = 90 * 86_400;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    grace_seconds: Option<u64>,
}

pub(in super::super) async fn rotate<P: Platform>(
    mut call: AdminCall<'_, P>,
    id: &str,
) -> Reply<P> {
    let body = call.body().await?;
    let body: Body = input::json(&body)?;
    let grace = body.grace_seconds.unwrap_or(GRACE_SECONDS_DEFAULT);
    if grace > GRACE_SECONDS_MAX {
        return Err(Failure::invalid(format!("`grace_seconds` must be 0 to {GRACE_SECONDS_MAX}.")));
    }
    let old = call.key(id).await?;
    let gone = |at: Option<_>| at.is_some_and(|at| at <= call.at);
    if gone(old.revoked_at) || gone(old.expires_at) {
        return Err(Failure::conflict(
            "A revoked or expired key cannot be rotated: create a new one.",
        ));
    }
    let gateway = call.gateway;
    let mut entropy = [0; 32];
    gateway.entropy.fill(&mut entropy);
    let secret = ApiKeySecret::mint(entropy);
    let successor = KeyRecord {
        id: KeyId::make(call.at, id_entropy(&gateway.entropy)),
        prefix: secret.shown().to_owned(),
        revoked_at: None,
        last_used_at: None,
        created_at: call.at,
        ..old.clone()
    };
    let revoke_at = call.at.plus(Duration::from_secs(grace));
    let details = json!({ "successor": successor.id, "grace_seconds": grace });
    let audit = call.audit(KEY_ROTATE, old.id.to_string(), &details);
    let replaced =
        gateway.directory.rotate_key(old.id, &successor, &secret.hash(), revoke_at, audit).await?;
    gateway.shared.keys.invalidate(&secret.hash());
    gateway.shared.keys.invalidate_where(|known| known.record.id == old.id);
    let replaced = replaced.ok_or_else(|| Failure::not_found("key"))?;
    let view = NewKey::of(&successor, &secret, Some(&replaced));
    Ok(reply::json::<P>(StatusCode::CREATED, &view)?)
}
