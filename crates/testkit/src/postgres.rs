//! A PostgreSQL cluster for one test, in a temporary folder and on a free port. It ends with the
//! test.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rcgen::generate_simple_self_signed;
use tempfile::TempDir;

/// The maximum time of starting or stopping a cluster.
const PATIENCE: Duration = Duration::from_secs(60);

/// The only role with a password login; a test that needs the role creates it.
pub const LOCKED: &str = "locked";

/// A running cluster. It survives a kill of its server, but no power failure, since fsync is off.
#[derive(Debug)]
pub struct Cluster {
    folder: PathBuf,
    /// A temporary folder is removed with the cluster.
    temporary: Option<TempDir>,
    programs: PathBuf,
    port: u16,
    server: Option<Child>,
    databases: AtomicU32,
    settings: Vec<String>,
}

impl Cluster {
    /// Starts a cluster.
    ///
    /// # Panics
    /// When PostgreSQL 15 or later is missing, or does not start.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts a cluster with additional settings, as `name=value`.
    ///
    /// # Panics
    /// As [`Self::start`].
    #[must_use]
    pub fn start_with(settings: &[&str]) -> Self {
        let mut cluster = Self::make(settings);
        cluster.boot();
        cluster
    }

    /// Starts the cluster in a folder, or creates one there. The folder is not removed.
    ///
    /// # Panics
    /// As [`Self::start`].
    #[must_use]
    pub fn start_in(folder: &Path, settings: &[&str]) -> Self {
        std::fs::create_dir_all(folder).expect("the folder can be made");
        let mut cluster = Self::in_folder(folder.to_owned(), None, settings);
        cluster.boot();
        cluster
    }

    /// Stops the server and starts it with other settings.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn restart_with(&mut self, settings: &[&str]) {
        self.shut_down();
        self.settings = settings.iter().map(|setting| (*setting).to_owned()).collect();
        self.boot();
    }

    /// Starts a cluster that also takes TLS, with a new certificate; returns the certificate's
    /// file.
    ///
    /// # Panics
    /// As [`Self::start`].
    #[must_use]
    pub fn start_secure() -> (Self, PathBuf) {
        let made = generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate");
        let files = ["ssl=on", "ssl_cert_file=server.crt", "ssl_key_file=server.key"];
        let mut cluster = Self::make(&files);
        let shown = cluster.folder.join("certificate.pem");
        std::fs::write(&shown, made.cert.pem()).expect("it can be written");
        for (name, text) in
            [("server.crt", made.cert.pem()), ("server.key", made.signing_key.serialize_pem())]
        {
            let path = cluster.data().join(name);
            std::fs::write(&path, text).expect("it can be written");
            run(Command::new("chmod").arg("600").arg(&path));
            if let Some(user) = other_user() {
                run(Command::new("chown").arg(user).arg(&path));
            }
        }
        cluster.boot();
        (cluster, shown)
    }

    fn make(settings: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        Self::in_folder(folder.path().to_owned(), Some(folder), settings)
    }

    fn in_folder(folder: PathBuf, temporary: Option<TempDir>, settings: &[&str]) -> Self {
        let programs = programs();
        let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let port = socket.local_addr().expect("bound").port();
        drop(socket);
        if let Some(user) = other_user() {
            run(Command::new("chown").arg(user).arg(&folder));
        }
        let settings = settings.iter().map(|setting| (*setting).to_owned()).collect();
        let databases = AtomicU32::new(0);
        let cluster = Self { folder, temporary, programs, port, server: None, databases, settings };
        if cluster.data().join("PG_VERSION").exists() {
            return cluster;
        }
        run(cluster
            .program("initdb")
            .args(["-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C", "--no-sync", "-D"])
            .arg(cluster.data()));
        cluster.demand_passwords();
        cluster
    }

    /// The URL of a database.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}?sslmode=disable", self.port)
    }

    /// Creates a database, empty or from a template; returns its name.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn database(&self, template: Option<&str>) -> String {
        let name = format!("d{}", self.databases.fetch_add(1, Ordering::Relaxed));
        let template = template.unwrap_or("template0");
        self.sql("postgres", &format!("create database {name} template {template}"));
        name
    }

    /// Runs a shell script as an operator would, with PostgreSQL's programs on its path.
    ///
    /// # Panics
    /// When it fails.
    pub fn shell(&self, folder: &Path, script: &str, environment: &[(&str, &str)]) {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = std::iter::once(self.programs.clone()).chain(std::env::split_paths(&path));
        let path = std::env::join_paths(folders).expect("folders without colons");
        let mut shell = Command::new("sh");
        shell.args(["-euc", script]).current_dir(folder).env("PATH", path);
        let output = shell.envs(environment.iter().copied()).output().expect("sh runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{script}: {said}");
    }

    /// Runs statements; returns the rows, one per line, with columns separated by `|`.
    ///
    /// # Panics
    /// When one fails.
    pub fn sql(&self, database: &str, statements: &str) -> String {
        self.try_sql(database, statements).unwrap_or_else(|error| panic!("{statements}: {error}"))
    }

    /// Runs statements; returns the rows or PostgreSQL's error.
    ///
    /// # Errors
    /// The error's text.
    pub fn try_sql(&self, database: &str, statements: &str) -> Result<String, String> {
        ask(&self.programs.join("psql"), &self.url(database), statements)
    }

    /// As [`Self::try_sql`], for tests that stop and start the cluster meanwhile.
    pub fn asker(&self, database: &str) -> impl Fn(&str) -> Result<String, String> + use<> {
        let (psql, url) = (self.programs.join("psql"), self.url(database));
        move |statements| ask(&psql, &url, statements)
    }

    /// Kills the server as a crash would, and starts it again.
    pub fn crash_and_restart(&mut self) {
        self.stop("QUIT");
        self.boot();
    }

    /// All other roles log in without a password.
    fn demand_passwords(&self) {
        let file = self.data().join("pg_hba.conf");
        let rules = std::fs::read_to_string(&file).expect("it was made");
        let first = format!("host all {LOCKED} 127.0.0.1/32 scram-sha-256\n");
        std::fs::write(&file, first + &rules).expect("it can be written");
    }

    /// Starts the server.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn boot(&mut self) {
        let port = self.port.to_string();
        let log = std::fs::File::create(self.folder.join("log")).expect("a log");
        let mut server = self.program("postgres");
        server.args(["-p", &port, "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"]);
        server.args(["-c", "max_connections=200", "-k"]).arg(self.data());
        server.args(self.settings.iter().flat_map(|setting| ["-c", setting]));
        server.arg("-D").arg(self.data()).stdout(Stdio::null()).stderr(log);
        self.server = Some(server.spawn().expect("postgres starts"));
        let began = Instant::now();
        while let Err(error) = self.try_sql("postgres", "select 1") {
            assert!(began.elapsed() < PATIENCE, "PostgreSQL does not start: {error}{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Syncs all written data to the disk, since the server runs without fsync.
    ///
    /// # Panics
    /// When that fails.
    pub fn sync(&self) {
        self.sql("postgres", "checkpoint");
        run(self.program("initdb").args(["--sync-only", "-D"]).arg(self.data()));
    }

    /// Stops the server until [`Self::boot`].
    pub fn shut_down(&mut self) {
        self.stop("INT");
    }

    /// Freezes every process of the server, like a machine that was cut off: it accepts connections
    /// and answers nothing.
    ///
    /// # Panics
    /// When a process cannot be signalled.
    pub fn freeze(&self) -> Frozen {
        let all =
            "select string_agg(pid::text, ' ') from pg_stat_activity where pid <> pg_backend_pid()";
        let mut processes: Vec<String> =
            self.sql("postgres", all).split(' ').map(str::to_owned).collect();
        processes.extend(self.server.as_ref().map(|server| server.id().to_string()));
        Frozen::stop(processes)
    }

    fn stop(&mut self, signal: &str) {
        if let Some(mut server) = self.server.take() {
            run(Command::new("kill").args(["-s", signal, &server.id().to_string()]));
            let _ = server.wait();
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// A program of PostgreSQL. If this process is root, the program runs as another user.
    fn program(&self, name: &str) -> Command {
        let path = self.programs.join(name);
        let Some(user) = other_user() else { return Command::new(path) };
        let mut command = Command::new("setpriv");
        command
            .arg(format!("--reuid={user}"))
            .args(["--regid=nogroup", "--clear-groups"])
            .arg(path);
        command.current_dir(&self.folder);
        command
    }
}

/// A frozen server. It continues when this is dropped.
#[derive(Debug)]
pub struct Frozen(Vec<String>);

impl Frozen {
    /// Freezes these processes.
    pub(crate) fn stop(processes: Vec<String>) -> Self {
        run(Command::new("kill").args(["-s", "STOP"]).args(&processes));
        Self(processes)
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        // A process may have ended meanwhile.
        let _ = Command::new("kill").args(["-s", "CONT"]).args(&self.0).output();
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.stop(if self.temporary.is_some() { "QUIT" } else { "INT" });
    }
}

fn ask(psql: &Path, url: &str, statements: &str) -> Result<String, String> {
    let mut psql = Command::new(psql);
    psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", statements]);
    let Output { status, stdout, stderr } = psql.arg(url).output().expect("psql runs");
    if status.success() {
        Ok(String::from_utf8_lossy(&stdout).trim().to_owned())
    } else {
        Err(String::from_utf8_lossy(&stderr).into_owned())
    }
}

/// The folder with the programs of the newest installed PostgreSQL.
fn programs() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // A folder may contain only some of the programs.
    let is_whole = |folder: &PathBuf| {
        ["initdb", "postgres", "psql"].iter().all(|name| folder.join(name).is_file())
    };
    let on_path = std::env::split_paths(&path).filter(is_whole);
    let debian = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut debian: Vec<PathBuf> =
        debian.map(|version| version.path().join("bin")).filter(is_whole).collect();
    debian.sort_by_key(|folder| {
        let version = folder.parent().and_then(Path::file_name);
        version.and_then(|version| version.to_str()?.parse::<u32>().ok())
    });
    let newest = debian.pop();
    on_path.chain(newest).next().expect(
        "PostgreSQL 15 or later is missing: apt-get install postgresql, or put its initdb on the PATH",
    )
}

/// The user to run PostgreSQL as, if this process is root: PostgreSQL refuses root.
fn other_user() -> Option<&'static str> {
    let id = Command::new("id").arg("-u").output().expect("id runs");
    (id.stdout.trim_ascii() == b"0").then_some("nobody")
}

fn run(command: &mut Command) {
    let Output { status, stderr, .. } = command.output().expect("the program runs");
    assert!(status.success(), "{command:?}: {}", String::from_utf8_lossy(&stderr));
}
