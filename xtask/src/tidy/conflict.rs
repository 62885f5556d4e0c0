//! `on conflict` names its columns or its constraint.
//!
//! Without them any unique constraint is meant, a project's own, too: then a row that was never
//! written counts as one that is there already, and what it says is lost.

use std::path::Path;

/// Forms that take any constraint, whatever follows.
const ANY: [&str; 3] = ["or ignore", "or replace", REPLACE];
const REPLACE: &str = concat!("repl", "ace into");

/// Every clause of one file that names no constraint.
pub(super) fn breaches(path: &Path, text: &str) -> Vec<String> {
    let code = without_comments(path, text);
    let lower = code.to_ascii_lowercase();
    let mut found = Vec::new();
    let mut breach = |at: usize, what: &str, right: &str| {
        let line = lower[..at].lines().count().max(1);
        let line = if lower[..at].ends_with('\n') { line + 1 } else { line };
        found.push(format!(
            "{}:{line}: `{what}` takes any unique constraint: {right}",
            path.display()
        ));
    };
    for (at, clause) in lower.match_indices(concat!("on con", "flict")) {
        let target = lower[at + clause.len()..].trim_start_matches(is_between);
        let is_named = target.starts_with('(') || target.starts_with("on constraint");
        let is_clause = ["do ", "do\n"].iter().any(|action| target.starts_with(action));
        if !is_named && is_clause {
            breach(at, clause, "name its columns, `(id)`");
        }
    }
    for form in ANY {
        for (at, _) in lower.match_indices(form) {
            let before = lower[..at].trim_end_matches(is_between);
            // `insert or` before it makes it the longer form, which is found as such.
            let is_of_rows =
                before.ends_with("insert") || (form == REPLACE && !before.ends_with("insert or"));
            if is_of_rows && is_word(&lower, at) {
                breach(at, form, concat!("use `on con", "flict (id) do …`"));
            }
        }
    }
    found
}

/// Space, and what joins the lines of a text in Rust.
fn is_between(c: char) -> bool {
    c.is_whitespace() || c == '\\'
}

/// Whether a word stands alone, and not within a longer one.
fn is_word(text: &str, at: usize) -> bool {
    !text[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_')
}

/// The text with its comments emptied; lines stay where they are.
fn without_comments(path: &Path, text: &str) -> String {
    let mark = if path.extension().is_some_and(|kind| kind == "sql") { "--" } else { "//" };
    let code = |line: &str| line.split(mark).next().unwrap_or_default().to_owned();
    text.lines().map(code).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> Vec<String> {
        breaches(Path::new(path), text)
    }

    #[test]
    fn a_clause_without_its_columns_is_found_however_it_is_written() {
        let clause = concat!("on con", "flict");
        for text in [
            format!("insert into t values (1) {clause} do nothing;"),
            format!("insert into t values (1)\n    {clause}\n    do update set a = 1;"),
            format!("insert into t values (1) {} do nothing;", clause.to_uppercase()),
        ] {
            assert_eq!(found("migrations/postgres/1.sql", &text).len(), 1, "{text}");
        }
        let rust = format!("let a = \"INSERT INTO t VALUES (?1) {clause} \\\n   DO NOTHING\";");
        assert_eq!(found("crates/a/src/b.rs", &rust).len(), 1, "{rust}");
        for form in
            [concat!("insert or ", "ignore into t"), concat!("INSERT OR REPL", "ACE INTO t")]
        {
            let breaches = found("crates/a/src/b.rs", &format!("fn f() {{}}\nlet a = \"{form}\";"));
            assert_eq!(breaches.len(), 1, "{form}");
            assert!(breaches[0].contains("b.rs:2:"), "{breaches:?}");
        }
        assert_eq!(found("a.sql", concat!("repl", "ace into t values (1);")).len(), 1);
    }

    #[test]
    fn named_ones_definitions_and_words_in_comments_pass() {
        let clause = concat!("on con", "flict");
        for text in [
            format!("insert into t values (1) {clause} (id) do nothing;"),
            format!("insert into t values (1) {clause} on constraint t_pkey do nothing;"),
            format!("insert into t values (1)\n  {clause} (a,\n b) do update set c = 1;"),
            format!("-- {clause} do nothing would take any"),
            "create or replace function f() returns void language sql as $$ $$;".to_owned(),
        ] {
            assert_eq!(found("migrations/postgres/1.sql", &text), [""; 0], "{text}");
        }
    }
}
