//! How large the Rust files are. Small files are a rule of this project, so the figures are shown
//! at every run of the checks.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::workspace::Workspace;

/// How many of the largest files are named.
const LARGEST: usize = 10;

/// A Rust file and its length.
pub(crate) struct Size {
    pub(crate) lines: usize,
    pub(crate) path: PathBuf,
}

/// Every Rust file of the repository, shortest first.
///
/// # Errors
/// If a file cannot be read.
pub(crate) fn measure(workspace: &Workspace) -> Result<Vec<Size>> {
    let mut sizes = Vec::new();
    for path in workspace.files("", "rs")? {
        let text =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let path = workspace.relative(&path).to_path_buf();
        sizes.push(Size { lines: text.lines().count(), path });
    }
    sizes.sort_by_key(|size| size.lines);
    Ok(sizes)
}

/// One line: number of files, median, 90th percentile, largest.
pub(crate) fn summary(sizes: &[Size]) -> String {
    format!(
        "{} Rust files: median {} lines, 90th percentile {}, largest {}",
        sizes.len(),
        percentile(sizes, 50),
        percentile(sizes, 90),
        percentile(sizes, 100),
    )
}

/// Prints the figures and the largest files.
///
/// # Errors
/// If a file cannot be read.
pub(crate) fn print(workspace: &Workspace) -> Result<()> {
    let sizes = measure(workspace)?;
    println!("{}", summary(&sizes));
    for size in sizes.iter().rev().take(LARGEST) {
        println!("{:>6}  {}", size.lines, size.path.display());
    }
    Ok(())
}

/// Nearest rank; 0 for no files.
fn percentile(sorted: &[Size], percent: usize) -> usize {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).map_or(0, |size| size.lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_ranks() {
        let sizes: Vec<Size> = (1..=10).map(|lines| Size { lines, path: PathBuf::new() }).collect();
        assert_eq!([50, 90, 100].map(|percent| percentile(&sizes, percent)), [5, 9, 10]);
        assert_eq!(percentile(&[], 50), 0);
    }
}
