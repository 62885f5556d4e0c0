//! The whole suite against the native server: `driftlock dev`, on free ports and in a directory of
//! its own.

use std::env;
use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use driftlock_e2e::cases::CASES;
use driftlock_e2e::poll::eventually;
use driftlock_e2e::runner::{Case, Host, run, summary};
use driftlock_e2e::target::Target;

#[test]
fn the_native_server_does_what_it_must() {
    let server = Server::start();
    let cases: Vec<&Case> = CASES.iter().filter(|case| case.holds_on(Host::Native)).collect();
    let outcomes = run(&server.target(), &cases);
    let failed = outcomes.iter().filter(|outcome| outcome.failure.is_some());
    let failures: Vec<String> = failed.map(ToString::to_string).collect();
    assert!(failures.is_empty(), "{}\n{}", summary(&outcomes), failures.join("\n"));
}

/// A server that stops with the test.
struct Server {
    process: Child,
    url: String,
    directory: tempfile::TempDir,
}

impl Server {
    fn start() -> Self {
        let binary = build();
        let directory = tempfile::tempdir().expect("a directory");
        let (listen, backend) = (free_address(), free_address());
        let log = File::create(directory.path().join("log")).expect("a log");
        let process = Command::new(binary)
            .arg("dev")
            .args(["--listen", &listen, "--backend-listen", &backend, "--data"])
            .arg(directory.path().join("data"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .spawn()
            .expect("the server starts");
        let mut server = Self { process, url: format!("http://{listen}"), directory };
        server.wait_until_ready(&listen);
        server
    }

    fn wait_until_ready(&mut self, listen: &str) {
        let probe = Target::new(&self.url, "");
        eventually("the server is ready", || {
            let ended = self.process.try_wait().expect("the server can be asked");
            assert!(ended.is_none(), "the server ended: {ended:?}\n{}", self.log());
            std::net::TcpStream::connect(listen).ok()?;
            (probe.request("GET", "/readyz").send().status == 200).then_some(())
        });
    }

    fn target(&self) -> Target {
        let token = fs::read_to_string(self.directory.path().join("data/admin-token"));
        Target::new(&self.url, token.expect("dev keeps its admin token").trim())
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            eprintln!("the server's log:\n{}", self.log());
        }
    }
}

/// Builds the binary in the profile of this test: a test's own build does not build it.
fn build() -> PathBuf {
    let test = env::current_exe().expect("a test knows where it is");
    let profile = test.parent().and_then(Path::parent).expect("target/PROFILE/deps/test");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--package", "driftlock", "--bin", "driftlock"]);
    if profile.ends_with("release") {
        cargo.arg("--release");
    }
    cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
    assert!(cargo.status().expect("cargo runs").success(), "the server does not build");
    profile.join("driftlock").with_extension(env::consts::EXE_EXTENSION)
}

/// An address that was free a moment ago.
fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").to_string()
}
