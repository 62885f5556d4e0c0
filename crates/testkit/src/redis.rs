//! A Redis server for one test: on a free port, without files on disk. It ends with the test. If
//! there is a `valkey-server` on the PATH, tests with [`on_each_server`] run with it, too.

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rcgen::generate_simple_self_signed;
use tempfile::TempDir;

use crate::port::free_port;

/// The maximum time of starting the server.
const PATIENCE: Duration = Duration::from_secs(20);

/// The known servers, by program name. The first one is required.
const PROGRAMS: [&str; 2] = ["redis-server", "valkey-server"];

thread_local! {
    /// The server that this thread's tests start.
    static PROGRAM: Cell<&str> = const { Cell::new(PROGRAMS[0]) };
}

/// Runs a test once with each installed server, and prints their names.
///
/// # Panics
/// When the test fails, or a server does not start.
pub fn on_each_server(test: impl Fn()) {
    for program in PROGRAMS {
        match Command::new(program).arg("--version").output() {
            Ok(output) => {
                eprintln!("with {}", String::from_utf8_lossy(&output.stdout).trim());
                PROGRAM.set(program);
                test();
            }
            Err(_) if program != PROGRAMS[0] => {
                eprintln!("without {program}: it is not on the PATH")
            }
            Err(error) => panic!("{MISSING}: {error}"),
        }
    }
    PROGRAM.set(PROGRAMS[0]);
}

/// A running server.
#[derive(Debug)]
pub struct Redis {
    program: &'static str,
    folder: TempDir,
    port: u16,
    settings: Vec<String>,
    server: Option<Child>,
}

impl Redis {
    /// Starts a server.
    ///
    /// # Panics
    /// When Redis is missing, or does not start.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts a server with these arguments.
    ///
    /// # Panics
    /// When Redis is missing, or does not start.
    #[must_use]
    pub fn start_with(settings: &[&str]) -> Self {
        Self::start_in(tempfile::tempdir().expect("a folder"), settings)
    }

    fn start_in(folder: TempDir, settings: &[&str]) -> Self {
        let port = free_port();
        let settings = settings.iter().map(|setting| (*setting).to_owned()).collect();
        let program = PROGRAM.get();
        let mut redis = Self { program, folder, port, settings, server: None };
        redis.boot();
        redis
    }

    /// The server's URL, without credentials.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://{}", self.address())
    }

    /// Starts a server that also takes TLS, with a new certificate; returns its `rediss:` URL and
    /// the certificate's file (PEM).
    ///
    /// # Panics
    /// When Redis is missing, has no TLS, or does not start.
    #[must_use]
    pub fn start_secure() -> (Self, String, PathBuf) {
        let made = generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate");
        let folder = tempfile::tempdir().expect("a folder");
        let file = |name: &str, text: String| {
            let path = folder.path().join(name);
            fs::write(&path, text).expect("written");
            path
        };
        let certificate = file("certificate.pem", made.cert.pem());
        let key = file("key.pem", made.signing_key.serialize_pem());
        let (port, shown) = (free_port().to_string(), |path: &Path| path.display().to_string());
        let (shown_certificate, shown_key) = (shown(&certificate), shown(&key));
        let files = ["--tls-cert-file", &shown_certificate, "--tls-key-file", &shown_key];
        let rest = ["--tls-auth-clients", "no", "--tls-port", &port];
        let redis = Self::start_in(folder, &[&files[..], &rest].concat());
        (redis, format!("rediss://127.0.0.1:{port}"), certificate)
    }

    /// Host and port.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Runs a command; returns the server's answer.
    ///
    /// # Panics
    /// When the server does not answer.
    pub fn ask(&self, command: &[&str]) -> String {
        let mut cli = Command::new("redis-cli");
        cli.args(["-p", &self.port.to_string()]).args(command);
        let Output { stdout, .. } = cli.output().expect(MISSING);
        String::from_utf8_lossy(&stdout).trim().to_owned()
    }

    /// Starts the server again, empty, on the same port.
    ///
    /// # Panics
    /// When Redis is missing, or does not start.
    pub fn boot(&mut self) {
        let log = fs::File::create(self.folder.path().join("log")).expect("a log");
        let mut server = Command::new(self.program);
        server.args(["--port", &self.port.to_string(), "--bind", "127.0.0.1"]);
        server.args(["--save", "", "--appendonly", "no", "--dir"]).arg(self.folder.path());
        server.args(&self.settings).stdin(Stdio::null()).stdout(log).stderr(Stdio::null());
        self.server = Some(server.spawn().expect(MISSING));
        let began = Instant::now();
        // A server with a password answers that it needs one.
        while !matches!(self.ask(&["ping"]).split(' ').next(), Some("PONG" | "NOAUTH")) {
            assert!(began.elapsed() < PATIENCE, "Redis does not start: {}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Kills the server; its data is lost.
    pub fn kill(&mut self) {
        if let Some(mut server) = self.server.take() {
            // The server may have ended already.
            let _ = server.kill();
            let _ = server.wait();
        }
    }

    /// Freezes the server: it accepts connections and answers nothing.
    pub fn freeze(&self) {
        self.signal("STOP");
    }

    /// Continues a frozen server.
    pub fn thaw(&self) {
        self.signal("CONT");
    }

    fn signal(&self, signal: &str) {
        let server = self.server.as_ref().expect("it runs").id().to_string();
        let output = Command::new("kill").args(["-s", signal, &server]).status();
        assert!(output.expect("kill runs").success());
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}

const MISSING: &str = "Redis is missing; on Debian: sudo apt-get install redis-server";
