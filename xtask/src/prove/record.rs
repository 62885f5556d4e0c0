//! A proof's record: `proofs/NAME.json`.

use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

use crate::workspace::Workspace;

/// What `proofs/NAME.json` holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    /// The proof's name.
    pub(crate) name: String,
    /// What holds if it passes.
    pub(crate) claim: String,
    /// The command that was run.
    pub(crate) command: String,
    /// The commit that was measured, 40 hexadecimal digits.
    pub(crate) commit: String,
    /// When it began, RFC 3339 in UTC.
    pub(crate) date: String,
    /// How long it took, its build included, in seconds.
    pub(crate) took_secs: u64,
    /// The seed of its random choices.
    pub(crate) seed: u64,
    /// What it measured, in the order printed.
    pub(crate) figures: Vec<(String, String)>,
}

impl Record {
    /// The first digits of the commit.
    pub(crate) fn short_commit(&self) -> &str {
        self.commit.get(..8).unwrap_or(&self.commit)
    }

    /// The committed record of a proof; `None` if it never ran.
    ///
    /// # Errors
    /// If the file cannot be read or is not a record.
    pub(crate) fn read(workspace: &Workspace, name: &str) -> Result<Option<Self>> {
        let path = path(workspace, name);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read {}", path.display()));
            }
        };
        let value: Value =
            serde_json::from_str(&text).with_context(|| format!("{}: no JSON", path.display()))?;
        Self::from_json(&value)
            .with_context(|| format!("{} is no record of a proof", path.display()))
            .map(Some)
    }

    /// Writes the record.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub(crate) fn write(&self, workspace: &Workspace) -> Result<PathBuf> {
        let path = path(workspace, &self.name);
        fs::create_dir_all(workspace.root.join("proofs")).context("cannot make `proofs`")?;
        let text = serde_json::to_string_pretty(&self.json())? + "\n";
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    fn json(&self) -> Value {
        let figures = self.figures.iter().map(|(name, value)| {
            // Numbers as numbers, so that programs can compare them.
            let number = serde_json::from_str::<serde_json::Number>(value).map(Value::Number);
            (name.clone(), number.unwrap_or_else(|_| json!(value)))
        });
        json!({
            "name": self.name,
            "claim": self.claim,
            "command": self.command,
            "commit": self.commit,
            "date": self.date,
            "took_secs": self.took_secs,
            "seed": self.seed,
            "figures": Map::from_iter(figures),
        })
    }

    fn from_json(value: &Value) -> Option<Self> {
        let text = |name: &str| value[name].as_str().map(str::to_owned);
        let figures = value["figures"].as_object()?.iter().map(|(name, value)| {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            (name.clone(), value)
        });
        Some(Self {
            name: text("name")?,
            claim: text("claim")?,
            command: text("command")?,
            commit: text("commit")?,
            date: text("date")?,
            took_secs: value["took_secs"].as_u64()?,
            seed: value["seed"].as_u64()?,
            figures: figures.collect(),
        })
    }
}

fn path(workspace: &Workspace, name: &str) -> PathBuf {
    workspace.root.join("proofs").join(format!("{name}.json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_reads_as_it_was_written() {
        let figures = vec![
            ("lives".to_owned(), "2000".to_owned()),
            ("worst".to_owned(), "3.5 ms".to_owned()),
        ];
        let record = Record {
            name: "stripe-lives".to_owned(),
            claim: "It holds.".to_owned(),
            command: "cargo xtask prove stripe-lives --seed 1".to_owned(),
            commit: "0123456789abcdef0123456789abcdef01234567".to_owned(),
            date: "2026-11-29T03:00:00Z".to_owned(),
            took_secs: 61,
            seed: 1,
            figures,
        };
        assert_eq!(record.json()["figures"]["lives"], json!(2000));
        assert_eq!(record.short_commit(), "01234567");
        assert_eq!(Record::from_json(&record.json()), Some(record));
    }
}
