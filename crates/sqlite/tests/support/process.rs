//! Another process that opens a database file: this test binary, started again with another role.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The environment variable with the file for the other process.
const FILE: &str = "DRIFTLOCK_TEST_FILE";

/// The file to open if this is the other process.
pub(crate) fn role() -> Option<PathBuf> {
    std::env::var_os(FILE).map(PathBuf::from)
}

/// Runs the test `name` of the calling test binary as the other process. That test begins by asking
/// for its [`role`].
pub(crate) fn run(name: &str, file: &Path) -> Output {
    Command::new(std::env::current_exe().expect("a test knows where it is"))
        .args([name, "--exact", "--nocapture"])
        .env(FILE, file)
        .output()
        .expect("it runs")
}
