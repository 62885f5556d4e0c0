//! Programs and libraries from npm, at the versions in package-lock.json.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use serde_json::Value;

/// The project's folder, with the packages of package-lock.json installed in `node_modules`.
///
/// # Panics
/// When Node.js or npm is missing, or `npm ci` fails.
pub fn project() -> &'static Path {
    static ROOT: OnceLock<PathBuf> = OnceLock::new();
    ROOT.get_or_init(|| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let root = root.canonicalize().expect("the project's folder");
        if !is_installed(&root) {
            let mut npm = Command::new("npm");
            npm.args(["ci", "--no-audit", "--no-fund", "--loglevel=error"]).current_dir(&root);
            let status = npm.stdout(Stdio::null()).status();
            let status =
                status.expect("Node.js 20 or newer with npm is needed: https://nodejs.org");
            assert!(status.success(), "npm ci failed; its message is above");
        }
        root
    })
}

/// Whether every package for this system is installed at its version.
fn is_installed(root: &Path) -> bool {
    let read = |file: PathBuf| -> Option<Value> {
        serde_json::from_slice(&std::fs::read(file).ok()?).ok()
    };
    let lock = read(root.join("package-lock.json")).expect("the project has a package-lock.json");
    let packages = lock["packages"].as_object().expect("it lists packages");
    let wanted = packages
        .iter()
        .filter(|(path, package)| path.starts_with("node_modules/") && package["optional"] != true);
    wanted.into_iter().all(|(path, package)| {
        let there = read(root.join(path).join("package.json"));
        let version = |value: &Value| {
            value["version"].as_str().map(|text| text.trim_start_matches('v').to_owned())
        };
        there.is_some_and(|there| version(&there) == version(package))
    })
}
