//! Whether the server answers, for the whole process: one gauge, and one log line when it changes.
//!
//! Each core has its own connection. The first one that fails reports that the server is
//! unavailable. Then every core makes a new connection, since its old one may be dead without
//! having failed yet. When all connections work again, the last one reports that the server is
//! available.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use driftlock_gateway::FleetGauges;
use tokio::sync::watch;

use crate::url::RedisUrl;

#[derive(Debug)]
pub(crate) struct Status {
    server: RedisUrl,
    lanes: Mutex<Lanes>,
    /// How often the server became unavailable.
    outages: watch::Sender<u64>,
    pub(crate) gauges: Arc<FleetGauges>,
}

/// The number of lanes and of working connections. Its lock is taken when a connection is made or
/// lost, not by successful requests.
#[derive(Debug, Default)]
struct Lanes {
    all: usize,
    up: usize,
    is_unavailable: bool,
}

impl Status {
    pub(crate) fn new(server: RedisUrl) -> Self {
        Self {
            server,
            lanes: Mutex::default(),
            outages: watch::Sender::new(0),
            gauges: Arc::default(),
        }
    }

    /// Adds a core. The receiver changes whenever the server becomes unavailable.
    pub(crate) fn add(&self) -> watch::Receiver<u64> {
        self.lanes().all += 1;
        self.outages.subscribe()
    }

    /// Notes that a core's connection works.
    pub(crate) fn connected(&self) {
        let mut lanes = self.lanes();
        lanes.up += 1;
        if lanes.up < lanes.all {
            return;
        }
        self.gauges.set_up(true);
        if std::mem::take(&mut lanes.is_unavailable) {
            tracing::info!(redis = %self.server, "Redis available: fleet rate limits apply again");
        }
    }

    /// Notes that a core's connection was closed.
    pub(crate) fn disconnected(&self) {
        self.lanes().up -= 1;
    }

    /// Notes that the server does not answer, or not in time, or with an error.
    pub(crate) fn unavailable(&self, error: &str) {
        let mut lanes = self.lanes();
        self.gauges.set_up(false);
        if !std::mem::replace(&mut lanes.is_unavailable, true) {
            self.outages.send_modify(|outages| *outages += 1);
            tracing::warn!(
                redis = %self.server,
                error,
                "Redis unavailable: rate limits apply per node",
            );
        }
    }

    fn lanes(&self) -> MutexGuard<'_, Lanes> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
