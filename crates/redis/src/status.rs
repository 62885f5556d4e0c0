//! Whether the server answers, as the whole process sees it: one gauge, and one line in the log when
//! that changes.
//!
//! Each core has a connection of its own. The first that fails says that the server is away; when
//! all of them work again, the last one says that it is back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use driftlock_gateway::FleetGauges;

use crate::url::RedisUrl;

#[derive(Debug)]
pub(crate) struct Status {
    server: RedisUrl,
    lanes: AtomicUsize,
    up: AtomicUsize,
    is_away: AtomicBool,
    pub(crate) gauges: Arc<FleetGauges>,
}

impl Status {
    pub(crate) fn new(server: RedisUrl) -> Self {
        Self {
            server,
            lanes: AtomicUsize::new(0),
            up: AtomicUsize::new(0),
            is_away: AtomicBool::new(false),
            gauges: Arc::default(),
        }
    }

    /// One more core has a connection to keep.
    pub(crate) fn add(&self) {
        self.lanes.fetch_add(1, Ordering::Relaxed);
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

    /// A core's connection works no longer.
    pub(crate) fn lost(&self, cause: &str) {
        self.up.fetch_sub(1, Ordering::Relaxed);
        self.away(cause);
    }

    /// The server does not answer as it must.
    pub(crate) fn away(&self, cause: &str) {
        self.gauges.set_up(false);
        if !self.is_away.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                redis = %self.server,
                cause,
                "Redis does not answer: rate limits are each node's own until it does",
            );
        }
    }
}
