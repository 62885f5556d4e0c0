//! Tests of requests to the backend with real sockets: a scripted backend, and a client on a pipe.

mod failures;
mod reuse;
mod secure;
mod several;
mod streaming;

use std::cell::Cell;
use std::convert::Infallible;
use std::rc::Rc;

use driftlock_domain::config::{Config, Urls};
use http::StatusCode;
use http_body_util::BodyExt;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::host::unwanted::Unwanted;

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const GET: &str = "GET /api/x HTTP/1.1\r\nhost: client\r\n\r\n";

/// The timeout for an answer's body.
const PATIENCE: Duration = Duration::from_secs(10);

/// A memory budget that is never exhausted.
fn buffers() -> Arc<Buffers> {
    Buffers::new(1 << 30)
}

/// Runs a test like a core, on one thread.
fn on_core(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    tokio::task::LocalSet::new().block_on(&runtime.expect("a runtime"), async {
        tokio::time::timeout(Duration::from_secs(20), test).await.expect("the test ends");
    });
}

/// Short timeouts, so that a test that reaches one is fast.
fn hasty() -> Config {
    let mut config = Config::default();
    config.timeouts.backend_connect_ms = 500;
    config.timeouts.body_idle_ms = 60;
    config
}

fn route() -> Route {
    let mut route = Config::default().routes[1].to_route(&Config::default().timeouts);
    (route.head_timeout_ms, route.body_bytes_max) = (2_000, 1_000);
    route
}

/// A backend whose connections are handled one by one by `script`.
async fn backend<F, S>(config: &Config, script: F) -> Backend
where
    F: Fn(TcpStream, usize) -> S + 'static,
    S: Future<Output = ()> + 'static,
{
    at(&[listening(script).await], config)
}

/// The URL of a listener whose connections are handled one by one by `script`.
async fn listening<F, S>(script: F) -> String
where
    F: Fn(TcpStream, usize) -> S + 'static,
    S: Future<Output = ()> + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
    let address = listener.local_addr().expect("bound");
    tokio::task::spawn_local(async move {
        for number in 0.. {
            let (stream, _) = listener.accept().await.expect("a connection");
            tokio::task::spawn_local(script(stream, number));
        }
    });
    format!("http://{address}")
}

/// These backends.
fn at(urls: &[String], config: &Config) -> Backend {
    let headers = [(HeaderName::from_static("x-tenant"), HeaderValue::from_static("driftlock"))];
    let backends = Backends::new(&Urls(urls.to_vec()), &config.backend, &headers).expect("URLs");
    Backend::new(&backends, config)
}

/// Reads one request's head, and bytes that arrived with it.
async fn head(stream: &mut TcpStream) -> String {
    let mut read = Vec::new();
    while !read.windows(4).any(|window| window == b"\r\n\r\n") {
        if stream.read_buf(&mut read).await.expect("a request") == 0 {
            break;
        }
    }
    String::from_utf8(read).expect("text")
}

async fn say(stream: &mut TcpStream, text: &str) {
    stream.write_all(text.as_bytes()).await.expect("written");
}

/// The answer, or the code of the error.
async fn get(backend: &Backend) -> Result<(u16, String), &'static str> {
    let request = Request::get("/api/x").body(RequestBody::Full(None)).expect("a request");
    let response = backend.send(request, &route()).await.map_err(|error| code(&error))?;
    let status = response.status().as_u16();
    match backend.collect_answer(response.into_body(), 1 << 20, PATIENCE, &buffers()).await {
        Collected::Whole(bytes) => Ok((status, String::from_utf8(bytes.to_vec()).expect("text"))),
        Collected::Unfinished(_) => Err("unfinished"),
        Collected::Broken(_) => Err("broken"),
    }
}

fn code(error: &SendError) -> &'static str {
    match error {
        SendError::Fault(fault) => fault.code(),
        SendError::Denied(denial) => denial.code(),
    }
}

/// A client whose requests go to the backend; a refusal is 500 with its code as the body.
fn client(backend: &Backend, route: Route) -> DuplexStream {
    let (ours, theirs) = tokio::io::duplex(64 << 10);
    let (backend, route) = (backend.clone(), Rc::new(route));
    let service = service_fn(move |request: Request<hyper::body::Incoming>| {
        let (backend, route) = (backend.clone(), Rc::clone(&route));
        async move {
            let pace = Pace {
                idle: backend.0.body_idle,
                bytes_per_sec_min: 0,
                total: Duration::from_secs(60),
            };
            let request = RequestBody::of(request, pace, &Unwanted::new())
                .map(|body| body.limited(route.body_bytes_max));
            Ok::<_, Infallible>(backend.send(request, &route).await.unwrap_or_else(|error| {
                let body = Backend::response_body(code(&error).into());
                let mut response = Response::new(body);
                *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
                response
            }))
        }
    });
    tokio::task::spawn_local(async move {
        let mut builder = hyper::server::conn::http1::Builder::new();
        builder.header_read_timeout(None);
        let _ = builder.serve_connection(TokioIo::new(theirs), service).await;
    });
    ours
}

/// Reads until the text contains `end`, or the connection ends.
async fn until(client: &mut DuplexStream, end: &str) -> String {
    let mut read = Vec::new();
    while !String::from_utf8_lossy(&read).contains(end) {
        if client.read_buf(&mut read).await.expect("an answer") == 0 {
            break;
        }
    }
    String::from_utf8_lossy(&read).into_owned()
}

#[test]
fn one_connection_carries_many_requests() {
    on_core(async {
        let accepted = Rc::new(Cell::new(0));
        let seen = Rc::clone(&accepted);
        let backend = backend(&Config::default(), move |mut stream, _| {
            seen.set(seen.get() + 1);
            async move {
                loop {
                    let asked = head(&mut stream).await;
                    if asked.is_empty() {
                        return;
                    }
                    assert!(asked.starts_with("GET /api/x HTTP/1.1\r\n"), "{asked}");
                    assert!(asked.contains("host: 127.0.0.1:"), "{asked}");
                    say(&mut stream, OK).await;
                }
            }
        })
        .await;
        for _ in 0..5 {
            assert_eq!(get(&backend).await, Ok((200, "ok".into())));
        }
        assert_eq!(accepted.get(), 1);
        assert_eq!(backend.0.targets[0].pool.idle(), 1);
    });
}
