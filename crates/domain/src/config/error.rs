//! A mistake in the configuration: its line and key, and what would be right.

use std::fmt;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The line, from 1; `None` when the value is a default that conflicts with another value.
    pub line: Option<usize>,
    /// The key, such as `limits.address_requests_per_minute`.
    pub key: String,
    /// What is wrong, and what would be right.
    pub message: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for ConfigError {}

impl ConfigError {
    pub(super) fn syntax(text: &str, error: &toml::de::Error) -> Self {
        let line = error.span().map(|span| line_of(text, span.start));
        Self { line, key: String::new(), message: error.message().trim().to_owned() }
    }
}

/// A mistake before its line is known.
pub(super) struct Mistake {
    pub(super) path: Vec<Step>,
    pub(super) message: String,
}

/// One step of a path into the document.
pub(super) enum Step {
    Key(String),
    Index(usize),
}

impl Mistake {
    pub(super) fn located(self, text: &str) -> ConfigError {
        let line = span_of(text, &self.path).map(|start| line_of(text, start));
        ConfigError { line, key: dotted(&self.path), message: self.message }
    }
}

/// Where the deepest part of the path that exists in the text begins.
fn span_of(text: &str, path: &[Step]) -> Option<usize> {
    let document = DeTable::parse(text).ok()?;
    let mut value: Option<&Spanned<DeValue<'_>>> = None;
    let mut start = None;
    for step in path {
        let next = match (step, value.map(|v| v.get_ref())) {
            (Step::Key(key), None) => document.get_ref().get(key.as_str()),
            (Step::Key(key), Some(DeValue::Table(table))) => table.get(key.as_str()),
            (Step::Index(index), Some(DeValue::Array(array))) => array.get(*index),
            (Step::Key(_) | Step::Index(_), _) => None,
        };
        let Some(found) = next else { break };
        start = Some(found.span().start);
        value = Some(found);
    }
    start
}

fn line_of(text: &str, offset: usize) -> usize {
    text.as_bytes()[..offset.min(text.len())].iter().filter(|byte| **byte == b'\n').count() + 1
}

fn dotted(path: &[Step]) -> String {
    let mut text = String::new();
    for step in path {
        match step {
            Step::Key(key) if text.is_empty() => text.push_str(key),
            Step::Key(key) => {
                text.push('.');
                text.push_str(key);
            }
            Step::Index(index) => text.push_str(&format!("[{index}]")),
        }
    }
    text
}
