//! Plain words: comments keep to one width, and words that the project no longer uses stay out.
//!
//! The list holds words that had several meanings here, or none at first sight. The glossary in
//! ARCHITECTURE.md has the terms to use instead.

use std::fs;

use anyhow::{Context, Result};

use crate::workspace::Workspace;

/// The greatest width of a comment, in characters: that of rustfmt.
const WIDTH_MAX: usize = 100;

/// A word or phrase that is not used any more, and what to write instead.
const FORMER: &[(&str, &str)] = &[
    ("told", "reported, sent, notified, or the noun that it is"),
    ("whoever", "name who it is"),
    ("comes round", "runs periodically, is tried again"),
    ("hangs on", "depends on"),
    ("own up", "report"),
    ("orphan", "unassigned event"),
    ("orphans", "unassigned events"),
];

/// Files that may name a former word: this list, and the history.
const EXEMPT: &[&str] = &["xtask/src/tidy/words.rs", "CHANGELOG.md"];

/// What is checked, by the ending of its files' names.
const ENDINGS: &[&str] = &["rs", "sql", "md", "toml", "mjs", "js", "lua"];

/// Every former word, and every comment that is too wide.
///
/// # Errors
/// If a file cannot be read.
pub(super) fn breaches(workspace: &Workspace) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for ending in ENDINGS {
        for path in workspace.files("", ending)? {
            let text = fs::read_to_string(&path)
                .with_context(|| format!("cannot read {}", path.display()))?;
            let name = workspace.relative(&path).display().to_string();
            if !EXEMPT.contains(&name.as_str()) {
                found.extend(former(&name, &text));
            }
            found.extend(wide(&name, ending, &text));
        }
    }
    Ok(found)
}

fn former(name: &str, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let lower = line.to_lowercase();
        for (word, instead) in FORMER.iter().filter(|(word, _)| holds(&lower, word)) {
            found.push(format!("{name}:{}: `{word}`: write {instead}", index + 1));
        }
    }
    found
}

/// Whether the phrase stands there as words, or as words of a name such as `is_told`.
fn holds(line: &str, phrase: &str) -> bool {
    line.match_indices(phrase).any(|(at, _)| {
        let before = line.get(..at).unwrap_or_default();
        let after = line.get(at + phrase.len()..).unwrap_or_default();
        let is_letter = |c: char| c.is_alphanumeric();
        !before.ends_with(is_letter) && !after.starts_with(is_letter)
    })
}

/// Comment lines beyond the width. A line that is one unbreakable word, as a link, may be longer.
fn wide(name: &str, ending: &str, text: &str) -> Vec<String> {
    let mark = match ending {
        "rs" | "mjs" | "js" => "//",
        "sql" | "lua" => "--",
        _ => return Vec::new(),
    };
    let is_wide = |line: &&str| line.chars().count() > WIDTH_MAX;
    let is_comment = |line: &&str| line.trim_start().starts_with(mark);
    let can_break = |line: &&str| line.split_whitespace().count() > 2;
    let lines = text.lines().enumerate();
    lines
        .filter(|(_, line)| is_wide(line) && is_comment(line) && can_break(line))
        .map(|(index, line)| {
            let width = line.chars().count();
            format!("{name}:{}: a comment of {width} characters, {WIDTH_MAX} at most", index + 1)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_former_word_is_found_in_text_and_in_names() {
        let found = |text: &str| former("a.rs", text).len();
        assert_eq!(found("// Stripe is told of it."), 1);
        assert_eq!(found("let is_told = true;"), 1);
        assert_eq!(found("// retold and stolid"), 0);
        assert_eq!(found("// What comes round is a job."), 1);
    }

    #[test]
    fn wide_comments_are_found_and_wide_links_are_not() {
        let long = "word ".repeat(30);
        assert_eq!(wide("a.rs", "rs", &format!("    /// {long}")).len(), 1);
        assert_eq!(wide("a.sql", "sql", &format!("-- {long}")).len(), 1);
        assert_eq!(wide("a.rs", "rs", &format!("let x = \"{long}\";")).len(), 0);
        assert_eq!(wide("a.rs", "rs", &format!("// https://{}", "a".repeat(200))).len(), 0);
        assert_eq!(wide("a.md", "md", &long).len(), 0);
    }
}
