//! Whether the server answers, as the whole process sees it: one gauge, and one line in the log when
//! that changes.
//!
//! Each core has a connection of its own. The first that fails says that the server is away, upon
//! which every core makes a new one: an old one may be dead without having noticed. When all of them
//! work again, the last one says that the server is back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use driftlock_gateway::FleetGauges;
use tokio::sync::watch;

use crate::url::RedisUrl;

#[derive(Debug)]
pub(crate) struct Status {
    server: RedisUrl,
    lanes: AtomicUsize,
    up: AtomicUsize,
    is_away: AtomicBool,
    /// How often the server went away.
    outages: watch::Sender<u64>,
    pub(crate) gauges: Arc<FleetGauges>,
}

impl Status {
    pub(crate) fn new(server: RedisUrl) -> Self {
        Self {
            server,
            lanes: AtomicUsize::new(0),
            up: AtomicUsize::new(0),
            is_away: AtomicBool::new(false),
            outages: watch::Sender::new(0),
            gauges: Arc::default(),
        }
    }

    /// One more core has a connection to keep; it hears when the server goes away.
    pub(crate) fn add(&self) -> watch::Receiver<u64> {
        self.lanes.fetch_add(1, Ordering::Relaxed);
        self.outages.subscribe()
    }

    /// A core's connection works.
    pub(crate) fn connected(&self) {
        let up = self.up.fetch_add(1, Ordering::Relaxed) + 1;
        if up < self.lanes.load(Ordering::Relaxed) {
            return;
        }
        self.gauges.set_up(true);
        if self.is_away.swap(false, Ordering::Relaxed) {
            tracing::info!(redis = %self.server, "Redis answers: rate limits are the fleet's again");
        }
    }

    /// A core has given its connection up.
    pub(crate) fn gave_up(&self) {
        self.up.fetch_sub(1, Ordering::Relaxed);
    }

    /// The server does not answer as it must.
    pub(crate) fn away(&self, cause: &str) {
        self.gauges.set_up(false);
        if !self.is_away.swap(true, Ordering::Relaxed) {
            self.outages.send_modify(|outages| *outages += 1);
            tracing::warn!(
                redis = %self.server,
                cause,
                "Redis does not answer: rate limits are each node's own until it does",
            );
        }
    }
}
