//! ARCHITECTURE.md names files and directories; each must exist, or the map would lead astray.

use std::fs;

use anyhow::Result;

use crate::workspace::Workspace;

const MAP: &str = "ARCHITECTURE.md";

/// Directories at the root. A code span that begins with one of them is a path.
const ROOTS: &[&str] =
    &["crates", "migrations", "e2e", "bench", "fuzz", "docs", "xtask", ".ci", ".cargo"];

/// The paths that the map names and that do not exist.
///
/// # Errors
/// Never at present; the map's absence is a breach.
pub(super) fn breaches(workspace: &Workspace) -> Result<Vec<String>> {
    let Ok(text) = fs::read_to_string(workspace.root.join(MAP)) else {
        return Ok(vec![format!("{MAP} is missing")]);
    };
    let missing = |path: &String| !workspace.root.join(path).exists();
    let named = text.lines().enumerate().flat_map(|(index, line)| {
        paths(line)
            .into_iter()
            .filter(missing)
            .map(move |path| format!("{MAP}:{}: `{path}` does not exist", index + 1))
    });
    Ok(named.collect())
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
