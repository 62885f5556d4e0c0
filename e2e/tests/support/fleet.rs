//! Gateways on one PostgreSQL, as an operator runs them: `driftlock migrate`, then several
//! `driftlock serve`, in front of one reference backend.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use driftlock_e2e::poll::eventually;
use driftlock_e2e::target::Target;
use driftlock_testkit::postgres::Cluster;
use driftlock_testkit::supabase::{Project, SECRET_KEY};

use super::process::{build, free_address, is_ready};

/// A token that is long enough.
const ADMIN_TOKEN: &str = "an-admin-token-for-tests-0123456789abcdef";
/// The secret that signs Stripe's deliveries.
const WEBHOOK_SECRET: &str = "whsec_ZmxlZXRzLWFyZS10ZXN0ZWQtd2l0aC10aGlz";

/// A database and its gateways; all stop with the test.
pub(crate) struct Fleet {
    // Dropped in this order: clients before the servers that they use.
    nodes: Vec<Node>,
    backend: Option<Node>,
    backend_url: String,
    project: Option<Project>,
    redis: Option<String>,
    login: Option<&'static str>,
    pub(crate) cluster: Cluster,
    pub(crate) database: String,
    binary: PathBuf,
    directory: tempfile::TempDir,
}

/// One process.
pub(crate) struct Node {
    process: Child,
    pub(crate) listen: String,
    log: PathBuf,
}

impl Fleet {
    /// So many gateways with this configuration, on an empty database, with the reference backend.
    pub(crate) fn start(size: usize, config: &str) -> Self {
        let listen = free_address();
        let mut fleet = Self::start_before(0, config, &format!("http://{listen}"));
        let mut detector = Command::new(&fleet.binary);
        detector.args(["detector", "--listen", &listen, "--data"]);
        detector.arg(fleet.directory.path().join("anomalies.db"));
        let log = fleet.directory.path().join("backend.log");
        fleet.backend = Some(Node::start(&mut detector, listen, log));
        for _ in 0..size {
            fleet.add();
        }
        fleet
    }

    /// The same with a backend of the test.
    pub(crate) fn start_before(size: usize, config: &str, backend_url: &str) -> Self {
        Self::start_on(Cluster::start(), size, config, backend_url)
    }

    /// The same on a database cluster of the test.
    pub(crate) fn start_on(cluster: Cluster, size: usize, config: &str, backend_url: &str) -> Self {
        let database = cluster.database(None);
        let mut fleet = Self::start_in(cluster, &database, config, backend_url);
        for _ in 0..size {
            fleet.add();
        }
        fleet
    }

    /// The same on an existing database, without gateways yet.
    pub(crate) fn start_in(
        cluster: Cluster,
        database: &str,
        config: &str,
        backend_url: &str,
    ) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        fs::write(directory.path().join("gateway.toml"), config).expect("a configuration");
        let fleet = Self {
            nodes: Vec::new(),
            backend: None,
            backend_url: backend_url.to_owned(),
            project: None,
            redis: None,
            login: None,
            database: database.to_owned(),
            cluster,
            binary: build(),
            directory,
        };
        let migrated = fleet.command("migrate").output().expect("it runs");
        assert!(migrated.status.success(), "{}", String::from_utf8_lossy(&migrated.stderr));
        fleet
    }

    /// Turns the database into a Supabase project; gateways added later use its REST API.
    pub(crate) fn by_rest(mut self) -> Self {
        self.project = Some(Project::start(&self.cluster.url(&self.database)));
        self
    }

    /// The project that [`Self::by_rest`] made.
    pub(crate) fn project(&self) -> &Project {
        self.project.as_ref().expect("`by_rest` made one")
    }

    /// Gateways added later share their rate limits through this Redis.
    pub(crate) fn with_redis(mut self, url: &str) -> Self {
        self.redis = Some(url.to_owned());
        self
    }

    /// Gateways added later log in to the database as this role.
    pub(crate) fn with_login(mut self, role: &'static str) -> Self {
        self.login = Some(role);
        self
    }

    fn database_url(&self) -> String {
        let url = self.cluster.url(&self.database);
        self.login
            .map_or_else(|| url.clone(), |role| url.replace("//postgres@", &format!("//{role}@")))
    }

    /// Adds a gateway.
    pub(crate) fn add(&mut self) {
        let folder = self.folder(self.nodes.len());
        fs::create_dir(&folder).expect("a folder");
        let node = self.spawn(&folder, free_address());
        self.nodes.push(node);
    }

    /// Starts a gateway again, in its folder and on its port.
    pub(crate) fn restart(&mut self, node: usize) {
        self.nodes[node].kill();
        let listen = self.nodes[node].listen.clone();
        self.nodes[node] = self.spawn(&self.folder(node), listen);
    }

    /// A file in a gateway's folder.
    pub(crate) fn file(&self, node: usize, name: &str) -> PathBuf {
        self.folder(node).join(name)
    }

    /// A gateway's process id.
    pub(crate) fn pid(&self, node: usize) -> String {
        self.nodes[node].process.id().to_string()
    }

    fn folder(&self, node: usize) -> PathBuf {
        self.directory.path().join(format!("gateway-{node}"))
    }

    fn spawn(&self, folder: &Path, listen: String) -> Node {
        let mut serve = self.command("serve");
        serve.args(["--listen", &listen, "--admin-listen", "127.0.0.1:0", "--config"]);
        serve.arg(self.directory.path().join("gateway.toml")).current_dir(folder);
        let mut node = Node::start(&mut serve, listen, folder.join("log"));
        node.wait_until_ready();
        node
    }

    /// Runs a command for the first gateway; returns its output.
    pub(crate) fn run(&self, arguments: &[&str]) -> String {
        let url = format!("http://{}", self.listen(0));
        let mut command = self.command(arguments[0]);
        let done = command.args(&arguments[1..]).args(["--url", &url]).output().expect("it runs");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8_lossy(&done.stdout).into_owned()
    }

    /// The store's line of `driftlock check`, and whether the check passed.
    pub(crate) fn checked(&self) -> (bool, String) {
        let mut command = self.command("check");
        command.arg("--config").arg(self.directory.path().join("gateway.toml"));
        let done = command.output().expect("it runs");
        // Correct settings are printed to standard output, mistakes to standard error.
        let printed = String::from_utf8([done.stdout, done.stderr].concat()).expect("UTF-8");
        let line = printed.lines().find_map(|line| line.find("ENV_").map(|at| &line[at..]));
        (done.status.success(), line.unwrap_or_default().to_owned())
    }

    /// Where a gateway listens.
    pub(crate) fn listen(&self, node: usize) -> &str {
        &self.nodes[node].listen
    }

    /// A gateway as target of requests.
    pub(crate) fn target(&self, node: usize) -> Target {
        Target::new(&format!("http://{}", self.nodes[node].listen), ADMIN_TOKEN)
            .with_webhook_secret(WEBHOOK_SECRET)
    }

    /// `kill -9` of a gateway, now.
    pub(crate) fn kill(&mut self, node: usize) {
        self.nodes[node].kill();
    }

    /// What a gateway logged so far.
    pub(crate) fn log(&self, node: usize) -> String {
        text(&self.nodes[node].log)
    }

    /// Waits until the only gateway has processed every change so far. It invalidates its cached
    /// records, also for its own changes, and must have done so before a test stops the database.
    pub(crate) fn all_notified(&self) {
        let mut since = self.sql("select clock_timestamp()");
        // A poll starts only after the changes of the previous one were processed.
        for _ in 0..2 {
            let begun = format!(
                "select max(query_start) from pg_stat_activity \
                 where query like '%driftlock_changes(%' and query_start > '{since}' \
                 and pid <> pg_backend_pid()"
            );
            since = eventually("changes are read", || {
                let begun = self.sql(&begun);
                (!begun.is_empty()).then_some(begun)
            });
        }
    }

    /// The rows of a query.
    pub(crate) fn sql(&self, query: &str) -> String {
        self.cluster.sql(&self.database, query)
    }

    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(&self.binary);
        match &self.project {
            None => command.env("ENV_DATABASE_URL", self.database_url()),
            Some(project) => command
                .env("ENV_SUPABASE_URL", project.url())
                .env("ENV_SUPABASE_SERVICE_ROLE_KEY", SECRET_KEY),
        };
        if let Some(url) = &self.redis {
            command.env("ENV_REDIS_URL", url);
        }
        command
            .arg(name)
            .env("ENV_GO_BACKEND_URL", &self.backend_url)
            .env("ENV_ADMIN_TOKEN", ADMIN_TOKEN)
            .env("ENV_STRIPE_WEBHOOK_SECRET", WEBHOOK_SECRET);
        command
    }
}

impl Node {
    fn start(command: &mut Command, listen: String, log: PathBuf) -> Self {
        let file = File::options().create(true).append(true).open(&log).expect("a log");
        command.stdin(Stdio::null()).stdout(file.try_clone().expect("a handle")).stderr(file);
        Self { process: command.spawn().expect("it starts"), listen, log }
    }

    fn wait_until_ready(&mut self) {
        eventually("the gateway is ready", || {
            let ended = self.process.try_wait().expect("it can be asked");
            assert!(ended.is_none(), "it ended: {ended:?}\n{}", text(&self.log));
            is_ready(&self.listen).then_some(())
        });
    }

    fn kill(&mut self) {
        // The process may have ended already; then the next request to it fails.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("{}:\n{}", self.log.display(), text(&self.log));
        }
    }
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}
