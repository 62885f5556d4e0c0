//! The servers of a measurement, on free ports: a backend with a fixed answer, nginx as a bare
//! proxy before it, and the gateway before it. They end with the stand.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::subject::{Subject, answers};
use crate::workspace::{on_path, output};

/// A token of this machine's gateway of these few seconds.
const TOKEN: &str = "bench-bench-bench-bench-bench-bench";
const FREE: &str = "/api/v1/anomalies";
const METERED: &str = "/api/v1/anomalies/detect";
const START_TRIES: usize = 100;
const START_PAUSE: Duration = Duration::from_millis(50);

/// Limits and quota that no measurement reaches.
const CONFIG: &str = r#"
[limits]
address_requests_per_minute = 1000000
address_ceiling_per_minute = 1000000000
fleet_answer_ms = 5000
[plans.developer]
base_micros = 0
included = 2000000000
policy = "allow"
overage_micros = 1
requests_per_minute = 1000000000
needs_subscription = false
"#;

/// Where a program runs, if there is more than one core.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Core {
    /// The core of what is measured.
    Subject,
    /// The core of load generator and backend.
    Load,
}

/// See the module.
pub(super) struct Stand {
    proxy: Server,
    gateway: Server,
    key: String,
    shared: Option<Shared>,
    backend: Server,
}

/// A second gateway, with its Redis.
struct Shared {
    gateway: Server,
    key: String,
    redis: Server,
}

struct Server {
    child: Child,
    port: u16,
}

impl Stand {
    /// Starts all, with their files in `folder`.
    pub(super) fn start(gateway: &Path, folder: &Path) -> Result<Self> {
        let body = format!("{{\"a\":\"{}\"}}", "x".repeat(292));
        let answer = format!("default_type application/json; return 200 '{body}';");
        let backend = nginx(folder, "backend", Core::Load, "", &answer)?;
        let upstream = format!(
            "upstream b {{ server 127.0.0.1:{}; keepalive 256; keepalive_requests 1000000000; }}",
            backend.port
        );
        let pass = "proxy_pass http://b; proxy_http_version 1.1; proxy_set_header Connection \"\";";
        let proxy = nginx(folder, "proxy", Core::Subject, &upstream, pass)?;
        let (server, key) = start_gateway(gateway, folder, backend.port, None)?;
        Ok(Self { proxy, gateway: server, key, shared: None, backend })
    }

    /// The same and a second gateway before the same backend, which shares its limits in a Redis.
    pub(super) fn start_shared(gateway: &Path, folder: &Path) -> Result<Self> {
        let stand = Self::start(gateway, folder)?;
        let redis = redis(folder)?;
        let second = folder.join("second");
        fs::create_dir_all(&second)?;
        let backend = stand.backend.port;
        let (gateway, key) = start_gateway(gateway, &second, backend, Some(redis.port))?;
        Ok(Self { shared: Some(Shared { gateway, key, redis }), ..stand })
    }

    /// Where the Redis of [`Self::start_shared`] is; 0 without one.
    pub(super) fn redis_port(&self) -> u16 {
        self.shared.as_ref().map_or(0, |shared| shared.redis.port)
    }

    /// The two gateways.
    pub(super) fn shared_subjects(&self, folder: &Path) -> Result<Vec<Subject>> {
        let shared = self.shared.as_ref().context("the stand has no Redis")?;
        let of = |name, server: &Server, key: &str, file: &str| -> Result<Subject> {
            let script = format!("wrk.headers[\"Authorization\"] = \"Bearer {key}\"\n");
            let file = write(folder, file, &script)?;
            let url = format!("http://127.0.0.1:{}{FREE}", server.port);
            Ok(Subject::of(name, server.child.id(), url, file))
        };
        Ok(vec![
            of("gateway, its own limits", &self.gateway, &self.key, "own.lua")?,
            of("gateway, Redis's limits", &shared.gateway, &shared.key, "shared.lua")?,
        ])
    }

    /// What is measured; the first is what the others are compared with.
    pub(super) fn subjects(&self, folder: &Path) -> Result<Vec<Subject>> {
        let key = format!("wrk.headers[\"Authorization\"] = \"Bearer {}\"\n", self.key);
        let post = format!(
            "{key}wrk.method = \"POST\"\nwrk.headers[\"Content-Type\"] = \"application/json\"\n\
             wrk.body = '{{\"data\":[\"a\",\"b\"]}}'\n"
        );
        let of = |name, server: &Server, path: &str, script: &str, file: &str| -> Result<Subject> {
            let file = write(folder, file, script)?;
            let url = format!("http://127.0.0.1:{}{path}", server.port);
            Ok(Subject::of(name, server.child.id(), url, file))
        };
        Ok(vec![
            of("nginx, bare proxy", &self.proxy, FREE, "", "bare.lua")?,
            of("gateway, free GET", &self.gateway, FREE, &key, "free.lua")?,
            of("gateway, metered POST", &self.gateway, METERED, &post, "metered.lua")?,
        ])
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended on its own.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A program on its core.
pub(super) fn pinned(core: Core, program: &str) -> Command {
    let cores = thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
    if cores < 2 || !on_path("taskset") {
        return Command::new(program);
    }
    let number = match core {
        Core::Subject => 0,
        Core::Load => cores - 1,
    };
    let mut command = Command::new("taskset");
    command.args(["--cpu-list", &number.to_string(), program]);
    command
}

fn nginx(folder: &Path, name: &str, core: Core, http: &str, location: &str) -> Result<Server> {
    let (port, prefix) = (free_port()?, folder.display());
    let config = format!(
        "daemon off; master_process off; error_log {prefix}/{name}.log; pid {prefix}/{name}.pid;\n\
         events {{ worker_connections 4096; }}\n\
         http {{ access_log off; keepalive_requests 1000000000; {http}\n\
         server {{ listen 127.0.0.1:{port} backlog=4096; location / {{ {location} }} }} }}\n"
    );
    let file = write(folder, &format!("{name}.conf"), &config)?;
    let log = format!("{prefix}/{name}.log");
    let mut command = pinned(core, "nginx");
    command.arg("-e").arg(log).arg("-c").arg(file).arg("-p").arg(folder);
    start(&mut command, port, "/", name)
}

fn redis(folder: &Path) -> Result<Server> {
    let port = free_port()?;
    let mut command = pinned(Core::Load, "redis-server");
    command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--dir"]);
    command.arg(folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let child = command.spawn().context("cannot start redis-server")?;
    let server = Server { child, port };
    let is_up = || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok();
    for _ in 0..START_TRIES {
        if is_up() {
            return Ok(server);
        }
        thread::sleep(START_PAUSE);
    }
    bail!("redis-server does not answer at port {port}")
}

fn start_gateway(
    program: &Path,
    folder: &Path,
    backend: u16,
    redis: Option<u16>,
) -> Result<(Server, String)> {
    let (port, admin) = (free_port()?, free_port()?);
    let config = write(folder, "gateway.toml", CONFIG)?;
    let mut command = pinned(Core::Subject, &program.display().to_string());
    command
        .args(["serve", "--workers", "1", "--listen", &format!("127.0.0.1:{port}")])
        .args(["--admin-listen", &format!("127.0.0.1:{admin}"), "--config"])
        .arg(config)
        .env("ENV_ADMIN_TOKEN", TOKEN)
        .env("ENV_GO_BACKEND_URL", format!("http://127.0.0.1:{backend}"))
        .env("ENV_DATABASE_URL", format!("sqlite:{}", folder.join("gateway.db").display()));
    if let Some(redis) = redis {
        command.env("ENV_REDIS_URL", format!("redis://127.0.0.1:{redis}"));
    }
    let server = start(&mut command, port, "/healthz", "the gateway")?;
    let admin = |words: &[&str]| -> Result<Value> {
        let url = format!("http://127.0.0.1:{port}");
        let mut command = Command::new(program);
        command.args(words).args(["--json", "--url", &url]).env("ENV_ADMIN_TOKEN", TOKEN);
        serde_json::from_str(&output(&mut command)?).context("no JSON from an admin command")
    };
    let organization = admin(&["org", "create", "bench"])?;
    let id = organization["id"].as_str().context("an organization without an id")?;
    let key = admin(&["key", "create", id])?;
    Ok((server, key["key"].as_str().context("a key without its secret")?.to_owned()))
}

fn start(command: &mut Command, port: u16, path: &str, name: &str) -> Result<Server> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let child = command.spawn().with_context(|| format!("cannot start {name}"))?;
    let server = Server { child, port };
    let url = format!("http://127.0.0.1:{port}{path}");
    for _ in 0..START_TRIES {
        if answers(&url) {
            return Ok(server);
        }
        thread::sleep(START_PAUSE);
    }
    bail!("{name} does not answer at {url}")
}

/// A port that was free a moment ago.
fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

fn write(folder: &Path, name: &str, text: &str) -> Result<PathBuf> {
    let path = folder.join(name);
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}
