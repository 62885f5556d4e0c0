//! What documents name must exist: paths of the repository, and settings of `gateway.toml`.

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context, Result};

use crate::workspace::Workspace;

/// The file that documents every setting with its default.
const SETTINGS: &str = "gateway.toml";

/// Names of audit entries' actions, which look like settings.
const ACTIONS: &[&str] = &["audit.prune"];

/// Directories at the root. A code span that begins with one of them is a path.
const ROOTS: &[&str] = &[
    "crates",
    "migrations",
    "e2e",
    "bench",
    "fuzz",
    "docs",
    "xtask",
    "examples",
    "proofs",
    ".ci",
    ".cargo",
];

/// What documents name and does not exist.
///
/// # Errors
/// If a document cannot be read.
pub(super) fn breaches(workspace: &Workspace) -> Result<Vec<String>> {
    let read = |name: &str| {
        fs::read_to_string(workspace.root.join(name)).with_context(|| format!("cannot read {name}"))
    };
    let settings = settings(&read(SETTINGS)?);
    let mut found = Vec::new();
    for path in workspace.files("", "md")? {
        let name = workspace.relative(&path).display().to_string();
        let text = read(&name)?;
        for (index, line) in text.lines().enumerate() {
            let at = index + 1;
            let missing = |path: &String| !workspace.root.join(path).exists();
            found.extend(
                paths(line)
                    .into_iter()
                    .filter(missing)
                    .map(|path| format!("{name}:{at}: `{path}` does not exist")),
            );
            let unknown = |setting: &&str| !settings.contains(*setting);
            found.extend(
                named_settings(line, &settings)
                    .into_iter()
                    .filter(unknown)
                    .map(|setting| format!("{name}:{at}: {SETTINGS} has no `{setting}`")),
            );
        }
    }
    Ok(found)
}

/// Every setting of the file as `section.name`, those that are commented out included.
fn settings(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut section = String::new();
    for line in text.lines() {
        let line = line.trim_start_matches(['#', ' ']);
        let header = line.strip_prefix('[').and_then(|rest| rest.split_once(']'));
        if let Some((name, _)) = header.filter(|(name, _)| name.chars().all(is_name)) {
            section = name.to_owned();
        } else if let Some((name, _)) = line.split_once(" = ")
            && name.chars().all(is_name)
        {
            found.insert(format!("{section}.{name}"));
        }
    }
    found
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || "_.".contains(c)
}

/// Code spans such as `keys.fresh_secs` or `admin.public = false`, of a section that there is.
fn named_settings<'line>(line: &'line str, settings: &BTreeSet<String>) -> Vec<&'line str> {
    let is_section = |section: &str| {
        settings
            .iter()
            .any(|known| known.split_once('.').is_some_and(|(first, _)| first == section))
    };
    let spans = line.split('`').skip(1).step_by(2);
    let names = spans.map(|span| span.split(" = ").next().unwrap_or(span));
    names
        .filter(|name| name.chars().all(is_name))
        // Metrics, files and events have dots, too: a setting has two parts of its own.
        .filter(|name| name.split('.').count() == 2 && !is_file(name) && !ACTIONS.contains(name))
        .filter(|name| name.split_once('.').is_some_and(|(section, _)| is_section(section)))
        .collect()
}

fn is_file(name: &str) -> bool {
    [".rs", ".md", ".toml", ".sql", ".mjs", ".js", ".lua"].iter().any(|end| name.ends_with(end))
}

/// The paths that a line names in code spans, `{a,b}` written out.
fn paths(line: &str) -> Vec<String> {
    let spans = line.split('`').skip(1).step_by(2);
    spans.filter(|span| is_path(span)).flat_map(expand).collect()
}

fn is_path(span: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/_.,-{}".contains(c);
    let root = span.split_once('/').map_or("", |(root, _)| root);
    ROOTS.contains(&root) && span.chars().all(plain)
}

fn expand(span: &str) -> Vec<String> {
    let Some((before, rest)) = span.split_once('{') else {
        return vec![span.to_owned()];
    };
    let Some((choices, after)) = rest.split_once('}') else {
        return vec![span.to_owned()];
    };
    choices.split(',').flat_map(|choice| expand(&format!("{before}{choice}{after}"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str =
        "# text\n[keys]\nfresh_secs = 8  # why\n# max_age = 3\n[stripe.prices]\na = 1\n";

    #[test]
    fn settings_are_read_with_those_that_are_commented_out() {
        let found: Vec<String> = settings(FILE).into_iter().collect();
        assert_eq!(found, ["keys.fresh_secs", "keys.max_age", "stripe.prices.a"]);
    }

    #[test]
    fn a_document_names_settings_in_code_spans() {
        let line = "Set `keys.fresh_secs = 3`, `keys.gone`; `keys.rs` and `other.thing` are none.";
        assert_eq!(named_settings(line, &settings(FILE)), ["keys.fresh_secs", "keys.gone"]);
    }

    #[test]
    fn code_spans_below_known_directories_are_paths() {
        let line = "See `crates/domain/src/{cell,key}.rs`, `driftlock dev`, `/healthz`, `e2e/`.";
        assert_eq!(paths(line), ["crates/domain/src/cell.rs", "crates/domain/src/key.rs", "e2e/"]);
    }

    #[test]
    fn patterns_with_placeholders_are_not_paths() {
        assert!(paths("`crates/<name>/src` and `docs/*.md`").is_empty());
    }
}
