//! The commands in the documents, for tests that run them unchanged.

use std::fs;
use std::path::{Path, PathBuf};

/// The project's root.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A document's first block of shell commands that contains this text.
pub(crate) fn commands(document: &str, text: &str) -> String {
    let whole = fs::read_to_string(root().join(document)).expect("the document is there");
    let blocks = whole.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    let mut found = blocks.filter(|block| block.contains(text));
    found.next().unwrap_or_else(|| panic!("{document} shows no `{text}`")).to_owned()
}
