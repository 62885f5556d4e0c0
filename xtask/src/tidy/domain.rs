//! The purity of `crates/domain`: no clock, no randomness, no I/O, no runtime. Its decisions can
//! be replayed and tested only because everything they depend on is an argument.

use std::fs;

use anyhow::{Context, Result};

use super::source::{Rule, scan};
use crate::workspace::Workspace;

const IMPURE: &[Rule] = &[
    ("SystemTime::now", "time is an argument"),
    ("Instant::now", "time is an argument"),
    ("OffsetDateTime::now_utc", "time is an argument"),
    ("UtcDateTime::now", "time is an argument"),
    ("Uuid::now_v7", "time and entropy are arguments"),
    ("Uuid::new_v4", "entropy is an argument"),
    ("rand::", "entropy is an argument"),
    ("getrandom", "entropy is an argument"),
    ("tokio", "the domain has no runtime"),
    ("async fn", "the domain does no I/O, so that nothing in it waits"),
    ("std::net::Tcp", "the domain does no I/O"),
    ("std::net::Udp", "the domain does no I/O"),
    ("std::net::ToSocketAddrs", "the domain does no I/O"),
    ("std::fs", "the domain does no I/O"),
    ("std::env", "configuration is an argument"),
    ("std::process", "the domain does no I/O"),
    ("std::thread", "the domain has no runtime"),
];

/// The only crates the domain may use: pure computation over its arguments.
const ALLOWED: &[&str] = &[
    "base64",
    "bytes",
    "crc32fast",
    "form_urlencoded",
    "hex",
    "hmac",
    "http",
    "ipnet",
    "memchr",
    "percent-encoding",
    "serde",
    "serde_json",
    "sha2",
    "subtle",
    "thiserror",
    "time",
    "toml",
    "uuid",
];

/// What is impure about the domain.
///
/// # Errors
/// If its files cannot be read.
pub(super) fn breaches(workspace: &Workspace) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for path in workspace.files("crates/domain/src", "rs")? {
        let text =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        found.extend(scan(workspace.relative(&path), &text, IMPURE));
    }
    let manifest = workspace.root.join("crates/domain/Cargo.toml");
    let text = fs::read_to_string(&manifest).context("cannot read crates/domain/Cargo.toml")?;
    found.extend(foreign_dependencies(&text)?);
    Ok(found)
}

fn foreign_dependencies(manifest: &str) -> Result<Vec<String>> {
    let manifest: toml::Table = manifest.parse().context("crates/domain/Cargo.toml")?;
    let dependencies = manifest.get("dependencies").and_then(toml::Value::as_table);
    let foreign = dependencies
        .into_iter()
        .flat_map(toml::Table::keys)
        .filter(|name| !ALLOWED.contains(&name.as_str()))
        .map(|name| format!("crates/domain/Cargo.toml: `{name}` is not on the domain's list"));
    let build = ["build-dependencies", "target"]
        .into_iter()
        .filter(|table| manifest.contains_key(*table))
        .map(|table| {
            format!("crates/domain/Cargo.toml: `[{table}]`: the domain has only plain dependencies")
        });
    Ok(foreign.chain(build).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dependency_that_is_not_listed_is_found() {
        let manifest = "[dependencies]\nserde.workspace = true\ntokio.workspace = true\n\
                        [dev-dependencies]\nproptest = \"1\"";
        let found = foreign_dependencies(manifest).unwrap();
        assert_eq!(found, ["crates/domain/Cargo.toml: `tokio` is not on the domain's list"]);
    }
}
