//! `driftlock serve`, as an operator runs it, in front of a backend of the test.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use driftlock_e2e::poll::eventually;
use driftlock_e2e::target::Target;

use super::process::{build, free_address, is_ready};

/// A token that is long enough.
pub(crate) const ADMIN_TOKEN: &str = "an-admin-token-for-tests-0123456789abcdef";

/// A gateway that stops with the test.
pub(crate) struct Gateway {
    process: Child,
    listen: String,
    directory: tempfile::TempDir,
}

impl Gateway {
    /// Starts one with this configuration and backend.
    pub(crate) fn start(config: &str, backend: &str) -> Self {
        Self::start_with(config, backend, &[])
    }

    /// The same with additional environment variables.
    pub(crate) fn start_with(config: &str, backend: &str, environment: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        fs::write(directory.path().join("gateway.toml"), config).expect("a configuration");
        let listen = free_address();
        let mut command = command(directory.path(), &listen, backend);
        command.envs(environment.iter().copied());
        let process = command.spawn().expect("the gateway starts");
        let mut gateway = Self { process, listen, directory };
        eventually("the gateway is ready", || {
            let ended = gateway.process.try_wait().expect("it can be asked");
            assert!(ended.is_none(), "it ended: {ended:?}\n{}", gateway.log());
            is_ready(&gateway.listen).then_some(())
        });
        gateway
    }

    pub(crate) fn target(&self) -> Target {
        Target::new(&format!("http://{}", self.listen), ADMIN_TOKEN)
    }

    /// Host and port.
    pub(crate) fn address(&self) -> &str {
        &self.listen
    }

    /// The process id.
    pub(crate) fn process_id(&self) -> u32 {
        self.process.id()
    }

    /// Sets the size limit of files that it writes from now on: `unlimited`, or bytes.
    pub(crate) fn limit_files(&self, bytes: &str) {
        let pid = self.process_id().to_string();
        let arguments = ["--pid", &pid, &format!("--fsize={bytes}:unlimited")];
        let done = Command::new("prlimit").args(arguments).status();
        assert!(done.expect("prlimit (of util-linux) is needed").success());
    }

    /// Where its files are.
    pub(crate) fn folder(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            eprintln!("the gateway's log:\n{}", self.log());
        }
    }
}

/// Runs `serve` on a store that it must refuse; returns its exit status and output.
pub(crate) fn refused(database: &Path, user: Option<&str>) -> (ExitStatus, String) {
    let directory = tempfile::tempdir().expect("a directory");
    let binary = directory.path().join("driftlock");
    fs::copy(build(), &binary).expect("a copy that any user can reach");
    let mut command = match user {
        None => Command::new(&binary),
        Some(user) => {
            let mut command = Command::new("setpriv");
            command.args(["--reuid", user, "--regid", user, "--clear-groups"]).arg(&binary);
            command
        }
    };
    open_to_all(directory.path());
    let output = command
        .args(["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"])
        .current_dir(directory.path())
        .env("ENV_DATABASE_URL", format!("sqlite:{}", database.display()))
        .env("ENV_GO_BACKEND_URL", "http://127.0.0.1:9")
        .env("ENV_ADMIN_TOKEN", ADMIN_TOKEN)
        .output()
        .expect("it runs (as root, setpriv of util-linux is needed)");
    (output.status, String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Makes the test's folder, which is private, accessible to other users.
pub(crate) fn open_to_all(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("it is ours");
}

/// Ignores SIGXFSZ, so that a write beyond the limit is an error, as with a full disk.
fn command(directory: &Path, listen: &str, backend: &str) -> Command {
    let log = File::create(directory.join("log")).expect("a log");
    let mut command = Command::new("sh");
    command
        .args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""])
        .arg(build())
        .args(["serve", "--listen", listen, "--admin-listen", "127.0.0.1:0", "--config"])
        .arg(directory.join("gateway.toml"))
        .env("ENV_DATABASE_URL", format!("sqlite:{}", directory.join("a.db").display()))
        .env("ENV_GO_BACKEND_URL", backend)
        .env("ENV_ADMIN_TOKEN", ADMIN_TOKEN)
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a second handle"))
        .stderr(log);
    command
}
