//! Calls of other services (Stripe, Supabase): a blocking client on threads of its own, so that neither a
//! slow name server nor a slow answer holds up a core.
//!
//! Bounded: so many calls at once, each within its time, each answer within its size.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use driftlock_gateway::ports::{HttpClient, NoAnswer};
use http::{Method, Request, Response};
use tokio::sync::Semaphore;
use ureq::Agent;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The greatest answer that is read.
const ANSWER_BYTES_MAX: u64 = 8 << 20;

/// What a service is given.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Calls at once; more wait.
    pub(crate) calls: usize,
    /// For a whole call.
    pub(crate) time: Duration,
}

/// Stripe's: nobody waits for it while a request is answered.
pub(crate) const STRIPE: Bounds = Bounds { calls: 16, time: Duration::from_secs(30) };
/// The store's, which requests wait for.
pub(crate) const STORE: Bounds = Bounds { calls: 64, time: Duration::from_secs(8) };

/// The client; clones share its connections.
#[derive(Clone)]
pub(crate) struct NativeHttp {
    agent: Agent,
    room: Arc<Semaphore>,
}

impl NativeHttp {
    /// A client that trusts the system's certificates, or Mozilla's where the system has none.
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
        Self { agent, room: Arc::new(Semaphore::new(bounds.calls)) }
    }
}

impl HttpClient for NativeHttp {
    async fn call(&self, request: Request<Bytes>) -> Result<Response<Bytes>, NoAnswer> {
        let room = Arc::clone(&self.room).acquire_owned().await;
        let room = room.map_err(|_closed| NoAnswer("the process stops".to_owned()))?;
        let agent = self.agent.clone();
        let sent = tokio::task::spawn_blocking(move || {
            let _room = room;
            send(&agent, request)
        });
        let sent = sent.await.map_err(|_panic| NoAnswer("the call's thread failed".to_owned()))?;
        sent.map_err(|error| NoAnswer(error.to_string()))
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
