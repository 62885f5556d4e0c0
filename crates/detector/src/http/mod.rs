//! The HTTP side: the routes of the backend's contract, on axum.
//!
//! Whoever asks is told apart by `X-Organization-ID`, which the gateway sets; the backend trusts
//! its caller and is to be reachable by the gateway alone. Detection is CPU-bound: it runs on
//! threads of its own, a bounded number at a time, so that everything else stays quick.

mod anomalies;
mod detect;
mod error;
mod health;
mod ingest;
mod stream;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::HeaderMap;
use axum::routing::{get, post, put};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, broadcast};

use crate::store::Anomalies;
use ingest::Streams;

/// The greatest body, in bytes.
const BODY_BYTES_MAX: usize = 10 << 20;
/// Detections that may wait for a thread; more are told to come again.
const WAITING_MAX: usize = 64;
/// Anomalies that a slow reader of the event stream may be behind.
const BEHIND_MAX: usize = 1_024;

/// Why the backend does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its address cannot be listened on.
    #[error("the backend cannot listen on {0}: {1}")]
    Listen(SocketAddr, io::Error),
    /// Its file cannot be opened.
    #[error("the backend cannot open {path}: {error}", path = .0.display(), error = .1)]
    Store(PathBuf, rusqlite::Error),
}

/// What the endpoints share.
#[derive(Clone)]
struct Context {
    store: Anomalies,
    threads: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    found: broadcast::Sender<Arc<Found>>,
    streams: Arc<Streams>,
}

/// An anomaly as readers of the event stream get it.
struct Found {
    organization: String,
    json: String,
}

/// A backend that listens, and does not answer yet.
pub struct Bound {
    listener: TcpListener,
    context: Context,
}

/// Listens on `address`; anomalies go to the SQLite file `data`.
///
/// # Errors
/// [`StartError`].
pub async fn bind(address: SocketAddr, data: &Path) -> Result<Bound, StartError> {
    let store = Anomalies::open(data).map_err(|error| StartError::Store(data.into(), error))?;
    let listener = TcpListener::bind(address).await;
    let listener = listener.map_err(|error| StartError::Listen(address, error))?;
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let context = Context {
        store,
        threads: Arc::new(Semaphore::new(threads)),
        waiting: Arc::new(Semaphore::new(WAITING_MAX)),
        found: broadcast::Sender::new(BEHIND_MAX),
        streams: Arc::default(),
    };
    Ok(Bound { listener, context })
}

impl Bound {
    /// Where it listens.
    ///
    /// # Errors
    /// The system's.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `shutdown` is ready.
    ///
    /// # Errors
    /// The system's.
    pub async fn serve(
        self,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<()> {
        let routes = Router::new()
            .route("/api/v1/health", get(health::health))
            .route("/api/v1/anomalies", get(anomalies::list))
            .route("/api/v1/anomalies/detect", post(detect::detect))
            .route("/api/v1/analyze", post(detect::detect))
            .route("/api/v1/anomalies/{id}", get(anomalies::show))
            .route("/api/v1/anomalies/{id}/resolve", put(anomalies::resolve))
            .route("/api/v1/events/ingest", post(ingest::ingest))
            .route("/api/v1/stream/anomalies", get(stream::stream))
            .fallback(error::no_route)
            .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
            .with_state(self.context);
        axum::serve(self.listener, routes).with_graceful_shutdown(shutdown).await
    }
}

/// Who asks; without a gateway in front there is one organization.
fn organization(headers: &HeaderMap) -> String {
    let named = headers.get("x-organization-id").and_then(|value| value.to_str().ok());
    named.unwrap_or("local").to_owned()
}

/// RFC 3339 in UTC to the millisecond: text sorts as time does.
const MILLISECONDS: &[time::format_description::BorrowedFormatItem<'_>] = time::macros::format_description!(
    "[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z"
);

fn now() -> String {
    time::OffsetDateTime::now_utc().format(MILLISECONDS).unwrap_or_default()
}
