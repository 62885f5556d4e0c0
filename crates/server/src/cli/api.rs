//! A client of the admin API.

use std::io::{IsTerminal, Read};
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::Value;
use ureq::Agent;
use ureq::http::Response;

use super::private;

/// The gateway's address, and the caller's token.
#[derive(Args, Clone)]
pub(super) struct Remote {
    /// The gateway's address
    #[arg(long, default_value = "http://127.0.0.1:8787", global = true)]
    pub(super) url: String,
    /// Data folder of `driftlock dev`; its token is used if ENV_ADMIN_TOKEN is unset
    #[arg(long, default_value = ".driftlock", global = true)]
    pub(super) data: PathBuf,
    /// Print JSON
    #[arg(long, global = true)]
    pub(super) json: bool,
}

/// The client.
pub(super) struct Api {
    agent: Agent,
    base: String,
    token: String,
}

/// The file in which `dev` keeps its admin token.
pub(super) const TOKEN_FILE: &str = "admin-token";
/// The file in which `dev` keeps the secret that signs sample events.
pub(super) const WEBHOOK_SECRET_FILE: &str = "webhook-secret";
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How often progress is shown: on a terminal, and in a log.
const TERMINAL_TICK: Duration = Duration::from_secs(2);
const LOG_TICK: Duration = Duration::from_secs(10);
/// Until an answer's head has arrived.
const TIMEOUT: Duration = Duration::from_secs(30);

impl Remote {
    /// A client with the token from the environment or from the data of `dev`.
    pub(super) fn api(&self) -> Result<Api> {
        Ok(Api::new(&self.url, self.token()?))
    }

    /// The same without a timeout, for work whose time grows with the amount of data.
    pub(super) fn patient_api(&self) -> Result<Api> {
        Ok(Api::within(&self.url, self.token()?, None))
    }

    fn token(&self) -> Result<String> {
        let file = self.data.join(TOKEN_FILE);
        match std::env::var("ENV_ADMIN_TOKEN") {
            // Every token of the list is valid.
            Ok(list) if !list.trim().is_empty() => {
                Ok(list.split(',').next().unwrap_or_default().trim().to_owned())
            }
            Ok(_) | Err(_) => private::read(&file)?.with_context(|| {
                format!(
                    "no admin token: set ENV_ADMIN_TOKEN, or set --data to the data folder of \
                     `driftlock dev` (there is no {})",
                    file.display()
                )
            }),
        }
    }
}

impl Api {
    pub(super) fn new(url: &str, token: String) -> Self {
        Self::within(url, token, Some(TIMEOUT))
    }

    fn within(url: &str, token: String, timeout: Option<Duration>) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_recv_response(timeout);
        let agent = config.build().into();
        Self { agent, base: format!("{}/admin/v1", url.trim_end_matches('/')), token }
    }

    pub(super) fn get(&self, path: &str) -> Result<Value> {
        read(self.open(path)?)
    }

    /// An answer whose body the caller reads as a stream.
    pub(super) fn open(&self, path: &str) -> Result<Response<ureq::Body>> {
        let url = format!("{}{path}", self.base);
        let sent = self.agent.get(&url).header("authorization", self.bearer()).call();
        checked(sent.with_context(|| self.unreachable())?)
    }

    pub(super) fn post(&self, path: &str, body: &Value) -> Result<Value> {
        let url = format!("{}{path}", self.base);
        let request = self.agent.post(&url).header("authorization", self.bearer());
        read(checked(request.send_json(body).with_context(|| self.unreachable())?)?)
    }

    /// Runs `ask` without a time limit, and shows on standard error that it is still running.
    pub(super) fn patiently<T>(&self, what: &str, ask: impl FnOnce(&Self) -> T) -> T {
        let (done, waiting) = mpsc::channel::<()>();
        thread::scope(|scope| {
            scope.spawn(move || show_progress(what, &waiting));
            let answer = ask(self);
            drop(done);
            answer
        })
    }

    pub(super) fn patch(&self, path: &str, body: &Value) -> Result<Value> {
        let url = format!("{}{path}", self.base);
        let request = self.agent.patch(&url).header("authorization", self.bearer());
        read(checked(request.send_json(body).with_context(|| self.unreachable())?)?)
    }

    /// All pages of a list.
    pub(super) fn list(&self, path: &str) -> Result<Vec<Value>> {
        self.list_where(path, "")
    }

    /// All pages of a list, with further query parameters, each of which begins with `&`.
    pub(super) fn list_where(&self, path: &str, parameters: &str) -> Result<Vec<Value>> {
        let mut rows = Vec::new();
        let mut cursor = None;
        loop {
            let after =
                cursor.map_or_else(String::new, |cursor: String| format!("&cursor={cursor}"));
            let mut page = self.get(&format!("{path}?limit=1000{parameters}{after}"))?;
            if let Some(data) = page["data"].as_array_mut() {
                rows.append(data);
            }
            match page["next_cursor"].as_str() {
                Some(next) => cursor = Some(next.to_owned()),
                None => return Ok(rows),
            }
        }
    }

    fn bearer(&self) -> String {
        format!("Bearer {}", self.token)
    }

    fn unreachable(&self) -> String {
        format!("no gateway answers at {}; start one with `driftlock dev`, or set --url", self.base)
    }
}

/// Shows the elapsed time: a terminal gets one line that is overwritten, a log a new line each
/// time.
fn show_progress(what: &str, done: &mpsc::Receiver<()>) {
    let is_terminal = std::io::stderr().is_terminal();
    let every = if is_terminal { TERMINAL_TICK } else { LOG_TICK };
    let begun = Instant::now();
    while done.recv_timeout(every) == Err(mpsc::RecvTimeoutError::Timeout) {
        let secs = begun.elapsed().as_secs();
        if is_terminal {
            eprint!("\r{what}: {secs} s ");
        } else {
            eprintln!("{what}: {secs} s");
        }
    }
    if is_terminal && begun.elapsed() >= every {
        eprintln!();
    }
}

fn read(response: Response<ureq::Body>) -> Result<Value> {
    response.into_body().read_json().context("the gateway's answer is not JSON")
}

/// The answer, unless it is a problem (RFC 9457), which becomes the error.
fn checked(mut response: Response<ureq::Body>) -> Result<Response<ureq::Body>> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let mut text = String::new();
    response.body_mut().as_reader().take(64 << 10).read_to_string(&mut text)?;
    let problem: Value = serde_json::from_str(&text).unwrap_or_default();
    let (Some(title), Some(detail)) = (problem["title"].as_str(), problem["detail"].as_str())
    else {
        bail!("the gateway answered {status} without an explanation");
    };
    let id = problem["instance"].as_str().unwrap_or_default();
    bail!("{title}: {detail} ({status}, request {id})");
}
