//! A double of the gateway before a project's PostgREST, as far as clients notice it: paths, and keys.
//! <https://supabase.com/docs/guides/api/api-keys>

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use tiny_http::{Header, Request, Response, Server};
use ureq::Agent;

use super::{PUBLISHABLE_KEY, SECRET_KEY};
use crate::jwt;

const THREADS: usize = 16;
/// Where tests in other languages ask which requests came.
const SEEN: &str = "/requests";

pub(super) struct Front {
    server: Arc<Server>,
    threads: Vec<JoinHandle<()>>,
    requests: Arc<Mutex<Vec<String>>>,
    agent: Agent,
    port: u16,
}

impl std::fmt::Debug for Front {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Front").field("url", &self.url()).finish_non_exhaustive()
    }
}

impl Front {
    pub(super) fn start(port: u16) -> Self {
        let server = Arc::new(Server::http("127.0.0.1:0").expect("a free port"));
        let agent: Agent = Agent::config_builder()
            .http_status_as_error(false)
            .max_idle_connections_per_host(THREADS)
            .build()
            .into();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let serve = || {
            let (server, agent) = (Arc::clone(&server), agent.clone());
            let requests = Arc::clone(&requests);
            std::thread::spawn(move || {
                while let Ok(request) = server.recv() {
                    let mut seen = requests.lock().unwrap_or_else(PoisonError::into_inner);
                    if request.url() == SEEN {
                        let list = serde_json::json!(*seen).to_string();
                        // Whoever asked may be gone.
                        let _ = request.respond(Response::from_string(list));
                        continue;
                    }
                    seen.push(request.url().to_owned());
                    drop(seen);
                    pass(request, &agent, port);
                }
            })
        };
        let threads = (0..THREADS).map(|_| serve()).collect();
        Self { server, threads, requests, agent, port }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.server.server_addr())
    }

    pub(super) fn requests(&self) -> usize {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Whether PostgREST knows its schema.
    pub(super) fn is_ready(&self) -> bool {
        let root = self.agent.get(format!("http://127.0.0.1:{}/", self.port)).call();
        root.is_ok_and(|answer| answer.status() == 200)
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        for _ in &self.threads {
            self.server.unblock();
        }
        for thread in self.threads.drain(..) {
            // What it failed at, a test has seen.
            let _ = thread.join();
        }
    }
}

fn header<'a>(request: &'a Request, name: &'static str) -> Option<&'a str> {
    let found = request.headers().iter().find(|header| header.field.equiv(name));
    found.map(|header| header.value.as_str())
}

fn pass(mut request: Request, agent: &Agent, port: u16) {
    let mut body = Vec::new();
    if request.as_reader().read_to_end(&mut body).is_err() {
        return;
    }
    // Whoever asked may be gone.
    let _ = match authorization(&request) {
        Ok(token) => {
            let answer = forward(&request, &token, body, agent, port);
            request.respond(answer)
        }
        Err(message) => {
            let told = serde_json::json!({ "message": message, "hint": null }).to_string();
            request.respond(Response::from_string(told).with_status_code(401))
        }
    };
}

/// The token that PostgREST is to see: a key of the newer kind stands for its role.
fn authorization(request: &Request) -> Result<String, &'static str> {
    let Some(key) = header(request, "apikey") else { return Err("No API key found in request") };
    let browser = header(request, "user-agent").is_some_and(|agent| agent.contains("Mozilla"));
    if key == SECRET_KEY && browser {
        return Err("Forbidden use of secret API key in browser");
    }
    let bearer = header(request, "authorization").and_then(|text| text.strip_prefix("Bearer "));
    let role = match key {
        SECRET_KEY => "service_role",
        PUBLISHABLE_KEY => "anon",
        _ => return bearer.map(str::to_owned).ok_or("Invalid API key"),
    };
    match bearer {
        Some(token) if token != key => Ok(token.to_owned()),
        _ => Ok(jwt::of_role(role)),
    }
}

fn forward(
    request: &Request,
    token: &str,
    body: Vec<u8>,
    agent: &Agent,
    port: u16,
) -> Response<std::io::Cursor<Vec<u8>>> {
    let Some(path) = request.url().strip_prefix("/rest/v1") else {
        return Response::from_data(Vec::new()).with_status_code(404);
    };
    let mut sent = http::Request::builder()
        .method(request.method().as_str())
        .uri(format!("http://127.0.0.1:{port}{path}"))
        .header("authorization", format!("Bearer {token}"));
    for name in ["content-type", "accept", "prefer", "range", "content-profile", "accept-profile"] {
        if let Some(value) = header(request, name) {
            sent = sent.header(name, value);
        }
    }
    let Ok(sent) = sent.body(body) else {
        return Response::from_data(Vec::new()).with_status_code(400);
    };
    match agent.run(sent) {
        Ok(mut answer) => {
            let kind = answer.headers().get("content-type").cloned();
            let status = answer.status().as_u16();
            let body = answer.body_mut().read_to_vec().unwrap_or_default();
            let kind =
                kind.and_then(|kind| Header::from_bytes("content-type", kind.as_bytes()).ok());
            let answered = Response::from_data(body).with_status_code(status);
            match kind {
                Some(kind) => answered.with_header(kind),
                None => answered,
            }
        }
        Err(_) => Response::from_data(Vec::new()).with_status_code(503),
    }
}
