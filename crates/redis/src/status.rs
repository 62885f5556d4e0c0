//! Whether the server answers, as the whole process sees it: one gauge, and one line in the log
//! when that changes.
//!
//! Each core has a connection of its own. The first that fails says that the server is away, upon
//! which every core makes a new one: an old one may be dead without having noticed. When all of
//! them work again, the last one says that the server is back.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use driftlock_gateway::FleetGauges;
use tokio::sync::watch;

use crate::url::RedisUrl;

#[derive(Debug)]
pub(crate) struct Status {
    server: RedisUrl,
    lanes: Mutex<Lanes>,
    /// How often the server went away.
    outages: watch::Sender<u64>,
    pub(crate) gauges: Arc<FleetGauges>,
}

/// Locked when a connection is made or lost, never by a request that passes.
#[derive(Debug, Default)]
struct Lanes {
    all: usize,
    up: usize,
    is_away: bool,
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

    /// One more core has a connection to keep; it hears when the server goes away.
    pub(crate) fn add(&self) -> watch::Receiver<u64> {
        self.lanes().all += 1;
        self.outages.subscribe()
    }

    /// A core's connection works.
    pub(crate) fn connected(&self) {
        let mut lanes = self.lanes();
        lanes.up += 1;
        if lanes.up < lanes.all {
            return;
        }
        self.gauges.set_up(true);
        if std::mem::take(&mut lanes.is_away) {
            tracing::info!(redis = %self.server, "Redis answers: rate limits are the fleet's again");
        }
    }

    /// A core has given its connection up.
    pub(crate) fn gave_up(&self) {
        self.lanes().up -= 1;
    }

    /// The server does not answer as it must.
    pub(crate) fn away(&self, cause: &str) {
        let mut lanes = self.lanes();
        self.gauges.set_up(false);
        if !std::mem::replace(&mut lanes.is_away, true) {
            self.outages.send_modify(|outages| *outages += 1);
            tracing::warn!(
                redis = %self.server,
                cause,
                "Redis does not answer: rate limits are each node's own until it does",
            );
        }
    }

    fn lanes(&self) -> MutexGuard<'_, Lanes> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
