//! The demo organization and key, and commands that use them.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::cli::api::{Api, TOKEN_FILE};
use crate::cli::output;

const ORGANIZATION: &str = "Demo";
const KEY: &str = "demo";
/// Logs that most machines have. The first that exists is used for a first detection.
const LOGS: [&str; 5] = [
    "/var/log/dpkg.log",
    "/var/log/syslog",
    "/var/log/bootstrap.log",
    "/var/log/alternatives.log",
    "/var/log/system.log",
];

/// Creates the organization and key if they are missing, and prints how to use them.
pub(super) fn greet(gateway: &str, data: &Path, token: &str) -> Result<()> {
    let api = Api::new(gateway, token.to_owned());
    let organization = organization(&api)?;
    let id = organization["id"].as_str().context("an organization without an id")?;
    output::line(&format!(
        "organization       {id} ({ORGANIZATION}, plan {})",
        organization["plan"]
    ))?;
    let mut keys = api.list(&format!("/organizations/{id}/keys"))?;
    keys.retain(|key| key["name"] == KEY && key["revoked_at"].is_null());
    let program = std::env::current_exe().context("the path of this program")?;
    let program = program.display();
    let remote = format!("--url {gateway} --data {}", data.display());
    let again = format!("{program} key create {id} --name another {remote}");
    let key = match keys.first() {
        None => {
            let made = api.post(&format!("/organizations/{id}/keys"), &json!({ "name": KEY }))?;
            let secret = made["key"].as_str().context("a key without its secret")?.to_owned();
            output::line(&format!("API key            {secret}"))?;
            output::line("                   (shown only now; to create another, see below)")?;
            secret
        }
        Some(known) => {
            let prefix = known["prefix"].as_str().unwrap_or_default();
            output::line(&format!("API key            {prefix}… (shown only when created)"))?;
            output::line("\nPut your key in place of $KEY below, or: export KEY=dlk_…")?;
            "$KEY".to_owned()
        }
    };
    output::line("\nTry it:\n")?;
    for line in lines(gateway, &key, id, data) {
        output::line(&format!("{line}\n"))?;
    }
    output::line(&format!(
        "Another key:\n\n{again}\n\nShow the cost, and verify the audit log:\n"
    ))?;
    output::line(&format!("{program} usage {id} {remote}"))?;
    output::line(&format!("{program} audit verify {id} {remote}\n\nCtrl-C stops."))
}

fn organization(api: &Api) -> Result<Value> {
    let known = api.list("/organizations")?;
    match known.into_iter().find(|organization| organization["name"] == ORGANIZATION) {
        Some(organization) => Ok(organization),
        None => api.post("/organizations", &json!({ "name": ORGANIZATION })),
    }
}

/// Five commands to paste.
fn lines(gateway: &str, key: &str, id: &str, data: &Path) -> [String; 5] {
    let auth = format!("-H \"Authorization: Bearer {key}\"");
    let detect =
        format!("curl -sS {gateway}/api/v1/anomalies/detect {auth} -H 'Content-Type: text/plain'");
    let log = LOGS.iter().find(|path| Path::new(path).is_file());
    let quiet = log.map_or_else(
        || "ls -lR /etc 2>/dev/null | head -n 1000".to_owned(),
        |path| format!("tail -n 1000 {path}"),
    );
    [
        format!("curl -sS {gateway}/api/v1/health {auth}"),
        format!("{quiet} | {detect} --data-binary @-"),
        format!("({quiet}; head -n 20 /etc/services; {quiet}) | {detect} --data-binary @-"),
        format!("curl -sS '{gateway}/api/v1/anomalies?limit=5' {auth}"),
        format!(
            "curl -sS {gateway}/admin/v1/organizations/{id}/usage \
             -H \"Authorization: Bearer $(cat {})\"",
            data.join(TOKEN_FILE).display()
        ),
    ]
}
