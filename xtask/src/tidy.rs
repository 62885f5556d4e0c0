//! The rules of this project that no lint knows.
//!
//! They are read off the text, which is crude and fast: a rule that is broken names the file, the
//! line and the reason. What the compiler or clippy can check is left to them.

mod conflict;
mod documents;
mod domain;
mod source;
mod words;

use std::fs;

use anyhow::{Context, Result, bail};

use crate::sizes;
use crate::workspace::Workspace;

/// The most lines a Rust file may have.
const LINES_MAX: usize = 500;

/// Checks every rule and prints the sizes of the files.
///
/// # Errors
/// If a rule is broken, with every breach printed.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    let mut breaches = Vec::new();
    let sizes = sizes::measure(workspace)?;
    for size in sizes.iter().filter(|size| size.lines > LINES_MAX) {
        breaches.push(format!(
            "{}: {} lines, more than {LINES_MAX}: split it",
            size.path.display(),
            size.lines
        ));
    }
    for path in workspace.files("", "rs")? {
        let text =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        breaches.extend(source::breaches(workspace.relative(&path), &text));
        breaches.extend(conflict::breaches(workspace.relative(&path), &text));
    }
    for path in workspace.files("migrations", "sql")? {
        let text =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        breaches.extend(conflict::breaches(workspace.relative(&path), &text));
    }
    breaches.extend(domain::breaches(workspace)?);
    breaches.extend(documents::breaches(workspace)?);
    breaches.extend(words::breaches(workspace)?);

    println!("{}", sizes::summary(&sizes));
    breaches.iter().for_each(|breach| println!("tidy: {breach}"));
    if !breaches.is_empty() {
        bail!("{} rules broken", breaches.len());
    }
    Ok(())
}
