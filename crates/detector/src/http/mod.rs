//! The HTTP API of the backend, on axum.
//!
//! `X-Organization-ID`, which the gateway sets, identifies the organization. The backend trusts
//! this header, so only the gateway may reach it. Detection is CPU-bound: it runs on separate
//! threads, a bounded number at a time, so that all other requests stay fast.

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

/// The largest body, in bytes.
const BODY_BYTES_MAX: usize = 10 << 20;
/// The most detections that run or wait for a thread; further ones are answered with 503.
const WAITING_MAX: usize = 64;
/// How many anomalies a slow reader of the event stream may be behind.
const BEHIND_MAX: usize = 1_024;

/// Why the backend does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address cannot be listened on.
    #[error("the backend cannot listen on {0}: {1}")]
    Listen(SocketAddr, io::Error),
    /// The database file cannot be opened.
    #[error("the backend cannot open {path}: {error}", path = .0.display(), error = .1)]
    Store(PathBuf, rusqlite::Error),
}

/// The state that the endpoints share.
#[derive(Clone)]
struct Context {
    store: Anomalies,
    threads: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    found: broadcast::Sender<Arc<Found>>,
    streams: Arc<Streams>,
}

/// An anomaly for the readers of the event stream.
struct Found {
    organization: String,
    json: String,
}

/// A backend that listens, but does not answer yet.
pub struct Bound {
    listener: TcpListener,
    context: Context,
}

/// Listens on `address`; anomalies are stored in the SQLite file `data`.
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
    /// The address that the backend listens on.
    ///
    /// # Errors
    /// Errors of the operating system.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `shutdown` is ready.
    ///
    /// # Errors
    /// Errors of the operating system.
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

/// The organization of a request; without a gateway in front all requests belong to `local`.
fn organization(headers: &HeaderMap) -> String {
    let named = headers.get("x-organization-id").and_then(|value| value.to_str().ok());
    named.unwrap_or("local").to_owned()
}

/// RFC 3339 in UTC with milliseconds, so that the texts sort by time.
const MILLISECONDS: &[time::format_description::BorrowedFormatItem<'_>] = time::macros::format_description!(
    "[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z"
);

fn now() -> String {
    time::OffsetDateTime::now_utc().format(MILLISECONDS).unwrap_or_default()
}
