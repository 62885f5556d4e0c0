//! `driftlock key`.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::api::Remote;
use super::output;

#[derive(Subcommand)]
pub(super) enum Key {
    /// Create a key; it is shown only once
    Create(Create),
    /// List an organization's keys
    List(List),
    /// Revoke a key: it is refused from the next request on
    Revoke(Revoke),
    /// Replace a key; the old one stays valid for the grace time
    Rotate(Rotate),
}

#[derive(Args)]
pub(super) struct Create {
    /// The organization's id, org_…
    organization: String,
    /// Display name
    #[arg(long, default_value = "key")]
    name: String,
    /// Scopes of the key, comma-separated; default: all
    #[arg(long, value_delimiter = ',')]
    scopes: Option<Vec<String>>,
    /// Expiry (RFC 3339)
    #[arg(long)]
    expires_at: Option<String>,
    /// Rate limit of this key; default: the plan's
    #[arg(long)]
    requests_per_minute: Option<u32>,
    /// Client addresses that may use the key (CIDR), comma-separated; default: all
    #[arg(long, value_delimiter = ',')]
    ip_allow: Vec<String>,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Args)]
pub(super) struct List {
    /// The organization's id, org_…
    organization: String,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Args)]
pub(super) struct Revoke {
    /// The key's id, key_…
    id: String,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Args)]
pub(super) struct Rotate {
    /// The key's id, key_…
    id: String,
    /// How long the old key stays valid
    #[arg(long, default_value_t = 3_600)]
    grace_seconds: u64,
    #[command(flatten)]
    remote: Remote,
}

const FIELDS: [(&str, &str); 9] = [
    ("id", "id"),
    ("name", "name"),
    ("prefix", "prefix"),
    ("scopes", "scopes"),
    ("requests per minute", "requests_per_minute"),
    ("addresses", "ip_allow"),
    ("expires", "expires_at"),
    ("revoked", "revoked_at"),
    ("last used", "last_used_at"),
];

impl Key {
    pub(super) fn run(self) -> Result<ExitCode> {
        match self {
            Self::Create(create) => {
                let body = json!({
                    "name": create.name,
                    "scopes": create.scopes,
                    "expires_at": create.expires_at,
                    "requests_per_minute": create.requests_per_minute,
                    "ip_allow": create.ip_allow,
                });
                let path = format!("/organizations/{}/keys", create.organization);
                show(&create.remote, &create.remote.api()?.post(&path, &body)?)
            }
            Self::List(List { organization, remote }) => {
                let rows = remote.api()?.list(&format!("/organizations/{organization}/keys"))?;
                if remote.json {
                    output::json(&json!({ "data": rows, "next_cursor": null }))?;
                } else {
                    output::table(&FIELDS, &rows)?;
                }
                Ok(ExitCode::SUCCESS)
            }
            Self::Revoke(Revoke { id, remote }) => {
                let path = format!("/keys/{id}/revoke");
                show(&remote, &remote.api()?.post(&path, &json!({}))?)
            }
            Self::Rotate(Rotate { id, grace_seconds, remote }) => {
                let body = json!({ "grace_seconds": grace_seconds });
                show(&remote, &remote.api()?.post(&format!("/keys/{id}/rotate"), &body)?)
            }
        }
    }
}

fn show(remote: &Remote, key: &Value) -> Result<ExitCode> {
    if remote.json {
        output::json(key)?;
        return Ok(ExitCode::SUCCESS);
    }
    output::fields(&FIELDS, key)?;
    if let Some(secret) = key["key"].as_str() {
        output::line(&format!("\nThe key (shown only now):\n{secret}"))?;
    }
    Ok(ExitCode::SUCCESS)
}
