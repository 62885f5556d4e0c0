//! A server for one test: `driftlock dev`, on free ports and in a temporary directory.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use driftlock_e2e::poll::eventually;
use driftlock_e2e::target::Target;

use super::process::{build, free_address, is_ready};

/// A server that stops with the test.
pub(crate) struct Server {
    process: Child,
    pub(crate) listen: String,
    backend: String,
    binary: PathBuf,
    environment: Vec<(String, String)>,
    directory: tempfile::TempDir,
}

impl Server {
    /// Starts one with this configuration.
    pub(crate) fn start(config: &str) -> Self {
        Self::start_with(config, &[])
    }

    /// The same with additional environment variables.
    pub(crate) fn start_with(config: &str, environment: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        fs::write(directory.path().join("gateway.toml"), config).expect("a configuration");
        let (listen, backend) = (free_address(), free_address());
        let binary = build();
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let environment: Vec<_> = environment.iter().map(owned).collect();
        let process = spawn(&binary, directory.path(), &listen, &backend, &environment);
        let mut server = Self { process, listen, backend, binary, environment, directory };
        server.wait_until_ready();
        server
    }

    pub(crate) fn target(&self) -> Target {
        let token = fs::read_to_string(self.directory.path().join("data/admin-token"));
        let token = token.expect("dev keeps its admin token");
        Target::new(&format!("http://{}", self.listen), token.trim())
            .with_webhook_secret(&self.webhook_secret())
    }

    /// The secret with which `dev` expects Stripe's deliveries to be signed.
    pub(crate) fn webhook_secret(&self) -> String {
        let secret = fs::read_to_string(self.directory.path().join("data/webhook-secret"));
        secret.expect("dev keeps its webhook secret").trim().to_owned()
    }

    /// `kill -9`, now.
    pub(crate) fn kill(&mut self) {
        self.process.kill().expect("it runs");
        self.process.wait().expect("it ended");
    }

    /// Starts it again, on the same data and ports.
    pub(crate) fn restart(&mut self) {
        let folder = self.directory.path();
        self.process = spawn(&self.binary, folder, &self.listen, &self.backend, &self.environment);
        self.wait_until_ready();
    }

    fn wait_until_ready(&mut self) {
        eventually("the server is ready", || {
            let ended = self.process.try_wait().expect("the server can be asked");
            assert!(ended.is_none(), "the server ended: {ended:?}\n{}", self.log());
            is_ready(&self.listen).then_some(())
        });
    }

    pub(crate) fn log(&self) -> String {
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

fn spawn(
    binary: &Path,
    directory: &Path,
    listen: &str,
    backend: &str,
    environment: &[(String, String)],
) -> Child {
    let log = File::options().create(true).append(true).open(directory.join("log"));
    let log = log.expect("a log");
    Command::new(binary)
        .arg("dev")
        .args(["--listen", listen, "--backend-listen", backend, "--data"])
        .arg(directory.join("data"))
        .arg("--config")
        .arg(directory.join("gateway.toml"))
        .envs(environment.iter().cloned())
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a second handle"))
        .stderr(log)
        .spawn()
        .expect("the server starts")
}
