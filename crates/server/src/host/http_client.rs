//! Calls of other services (Stripe, Supabase). The client is blocking and runs on separate threads,
//! so that neither a slow name server nor a slow answer blocks a core.
//!
//! The number of concurrent calls, the time of a call and the size of an answer are bounded.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use driftlock_gateway::ports::{HttpClient, NoAnswer};
use http::{Method, Request, Response};
use tokio::sync::Semaphore;
use ureq::Agent;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Larger answers are an error.
const ANSWER_BYTES_MAX: u64 = 8 << 20;

/// The bounds for calls of a service.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Concurrent calls; further ones wait.
    pub(crate) calls: usize,
    /// Time for a whole call.
    pub(crate) time: Duration,
    /// How long a call waits for its turn.
    pub(crate) room_within: Duration,
}

/// Bounds for Stripe. No client's request waits for it.
pub(crate) const STRIPE: Bounds = bounds(16, 30, 60);
/// Bounds for the store. Clients' requests wait for it.
pub(crate) const STORE: Bounds = bounds(64, 5, 3);
/// Bounds for polling the store's changes. A separate client, so that revocations do not wait (I5).
pub(crate) const CHANGES: Bounds = bounds(1, 3, 1);

const fn bounds(calls: usize, secs: u64, room_secs: u64) -> Bounds {
    let (time, room_within) = (Duration::from_secs(secs), Duration::from_secs(room_secs));
    Bounds { calls, time, room_within }
}

/// Why a call has no answer.
#[derive(Debug)]
pub(crate) enum Failed {
    /// The service is unreachable or does not answer.
    Away(String),
    /// Another failure, which does not imply that other calls fail.
    Other(String),
}

impl From<Failed> for NoAnswer {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Away(text) | Failed::Other(text) => Self(text),
        }
    }
}

/// The client. Clones share its connections.
#[derive(Clone)]
pub(crate) struct NativeHttp {
    agent: Agent,
    room: Arc<Semaphore>,
    room_within: Duration,
}

impl NativeHttp {
    /// A client that trusts the system's certificates, or Mozilla's if the system has none.
    pub(crate) fn new(bounds: Bounds) -> Self {
        let system = rustls_native_certs::load_native_certs().certs;
        let system: Vec<Certificate<'static>> =
            system.iter().map(|found| Certificate::from_der(found).to_owned()).collect();
        let roots =
            if system.is_empty() { RootCerts::WebPki } else { RootCerts::Specific(system.into()) };
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_idle_connections(bounds.calls)
            .max_idle_connections_per_host(bounds.calls)
            .timeout_global(Some(bounds.time))
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .tls_config(TlsConfig::builder().root_certs(roots).build());
        let agent = config.build().into();
        let room = Arc::new(Semaphore::new(bounds.calls));
        Self { agent, room, room_within: bounds.room_within }
    }

    /// Sends a request and returns its answer.
    ///
    /// # Errors
    /// [`Failed`].
    pub(crate) async fn ask(&self, request: Request<Bytes>) -> Result<Response<Bytes>, Failed> {
        let other = |text: &str| Failed::Other(text.to_owned());
        let room = Arc::clone(&self.room).acquire_owned();
        let room = tokio::time::timeout(self.room_within, room).await;
        let room = room.map_err(|_elapsed| other("too many calls are in progress"))?;
        let room = room.map_err(|_closed| other("the process is stopping"))?;
        let agent = self.agent.clone();
        let sent = tokio::task::spawn_blocking(move || {
            let _room = room;
            send(&agent, request)
        });
        let sent = sent.await.map_err(|_panic| other("the call's thread failed"))?;
        sent.map_err(|error| {
            let text = error.to_string();
            if is_away(&error) { Failed::Away(text) } else { Failed::Other(text) }
        })
    }
}

/// Whether an error means that the service is unreachable, not only one of its connections.
fn is_away(error: &ureq::Error) -> bool {
    match error {
        ureq::Error::Timeout(_) | ureq::Error::HostNotFound | ureq::Error::ConnectionFailed => true,
        ureq::Error::Io(error) => matches!(
            error.kind(),
            ErrorKind::ConnectionRefused
                | ErrorKind::HostUnreachable
                | ErrorKind::NetworkUnreachable
                | ErrorKind::TimedOut
        ),
        _ => false,
    }
}

impl HttpClient for NativeHttp {
    async fn call(&self, request: Request<Bytes>) -> Result<Response<Bytes>, NoAnswer> {
        self.ask(request).await.map_err(NoAnswer::from)
    }
}

fn send(agent: &Agent, request: Request<Bytes>) -> Result<Response<Bytes>, ureq::Error> {
    let (head, body) = request.into_parts();
    let answer = if head.method == Method::GET {
        agent.run(Request::from_parts(head, ()))?
    } else {
        agent.run(Request::from_parts(head, &body[..]))?
    };
    let (head, mut body) = answer.into_parts();
    let body = body.with_config().limit(ANSWER_BYTES_MAX).read_to_vec()?;
    Ok(Response::from_parts(head, body.into()))
}
