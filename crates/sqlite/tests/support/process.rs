//! Another process that opens a database file: this test's own binary, run anew.

use std::path::Path;
use std::process::{Command, Output};

/// Names the file that the other process is to open.
pub(crate) const FILE: &str = "DRIFTLOCK_TEST_FILE";

/// Runs the test `name` of the calling test binary as a process of its own.
pub(crate) fn run(name: &str, file: &Path) -> Output {
    Command::new(std::env::current_exe().expect("a test knows where it is"))
        .args([name, "--exact", "--ignored", "--nocapture"])
        .env(FILE, file)
        .output()
        .expect("it runs")
}
