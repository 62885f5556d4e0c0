//! `POST /admin/v1/organizations/{id}/keys`. Only this answer contains the secret, in `key`.

use std::net::IpAddr;

use driftlock_domain::config::Config;
use driftlock_domain::id::KeyId;
use driftlock_domain::key::{ApiKeySecret, KeyRecord};
use driftlock_domain::time::Timestamp;
use http::StatusCode;
use ipnet::IpNet;
use serde::Deserialize;
use serde_json::json;

use super::super::call::{AdminCall, Failure, Reply};
use super::super::input;
use super::view::NewKey;
use crate::ports::{Directory, Entropy, Platform, id_entropy};
use crate::reply;

const NETWORKS_MAX: usize = 100;
const EVERY_SCOPE: &str = "*";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    name: String,
    /// If absent, the key has every scope.
    scopes: Option<Vec<String>>,
    expires_at: Option<Timestamp>,
    requests_per_minute: Option<u32>,
    #[serde(default)]
    ip_allow: Vec<String>,
}

pub(in super::super) async fn create<P: Platform>(
    mut call: AdminCall<'_, P>,
    id: &str,
) -> Reply<P> {
    let body = call.body().await?;
    let body: Body = input::json(&body)?;
    let organization = call.organization(id).await?;
    let gateway = call.gateway;
    input::requests_per_minute(body.requests_per_minute)?;
    if body.expires_at.is_some_and(|at| at <= call.at) {
        return Err(Failure::invalid("`expires_at` must be in the future."));
    }
    let mut entropy = [0; 32];
    gateway.entropy.fill(&mut entropy);
    let secret = ApiKeySecret::mint(entropy);
    let record = KeyRecord {
        id: KeyId::make(call.at, id_entropy(&gateway.entropy)),
        organization: organization.id,
        name: input::name(&body.name)?,
        prefix: secret.shown().to_owned(),
        scopes: scopes(body.scopes, &gateway.shared.config)?,
        requests_per_minute: body.requests_per_minute,
        ip_allow: networks(&body.ip_allow)?,
        expires_at: body.expires_at,
        revoked_at: None,
        last_used_at: None,
        created_at: call.at,
    };
    let details = json!({
        "prefix": record.prefix,
        "scopes": record.scopes,
        "requests_per_minute": record.requests_per_minute,
        "ip_allow": record.ip_allow,
        "expires_at": record.expires_at,
    });
    let audit = call.audit("key.create", record.id.to_string(), &details);
    gateway.directory.create_key(&record, &secret.hash(), audit).await?;
    gateway.shared.keys.invalidate(&secret.hash());
    Ok(reply::json::<P>(StatusCode::CREATED, &NewKey::of(&record, &secret, None))?)
}

fn scopes(wanted: Option<Vec<String>>, config: &Config) -> Result<Vec<String>, Failure> {
    let Some(mut wanted) = wanted else { return Ok(vec![EVERY_SCOPE.to_owned()]) };
    wanted.sort_unstable();
    wanted.dedup();
    let mut known: Vec<&str> = config.routes.iter().filter_map(|r| r.scope.as_deref()).collect();
    known.push(EVERY_SCOPE);
    known.sort_unstable();
    known.dedup();
    match wanted.iter().find(|scope| !known.contains(&scope.as_str())) {
        None => Ok(wanted),
        Some(unknown) => Err(Failure::invalid(format!(
            "`scopes`: no route requires `{unknown}`; the known scopes: {}.",
            known.join(", ")
        ))),
    }
}

/// Parses networks in CIDR notation; a bare address is a network of one address.
fn networks(texts: &[String]) -> Result<Vec<IpNet>, Failure> {
    if texts.len() > NETWORKS_MAX {
        let message = format!("`ip_allow` must have at most {NETWORKS_MAX} entries.");
        return Err(Failure::invalid(message));
    }
    let network = |text: &String| {
        let bare = || text.parse::<IpAddr>().map(IpNet::from);
        text.parse::<IpNet>().or_else(|_| bare()).map_err(|_| {
            let example = "write for example `198.51.100.0/24`, `2001:db8::/32` or `192.0.2.7`";
            Failure::invalid(format!("`ip_allow`: `{text}` is not a network; {example}."))
        })
    };
    texts.iter().map(network).collect()
}
