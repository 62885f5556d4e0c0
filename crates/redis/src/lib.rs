//! Rate limits of a fleet: Redis, or Valkey.
//!
//! A request's share of the key's and the organization's limit is taken by one script, of both or
//! of neither, by Redis's clock and by the rule of `domain`'s buckets. Every wait is bounded, and
//! when there is no answer the node's own limits stand alone ([`FleetLimits::take`] is `None`): a
//! fleet without its Redis is limited by node, never not at all and never shut. Each core has one
//! connection, over which its requests are pipelined.
//!
//! [`FleetLimits::take`]: driftlock_gateway::ports::FleetLimits::take

mod connect;
mod greeting;
mod lane;
mod script;
mod status;
mod url;

use std::sync::Arc;
use std::time::Duration;

use driftlock_gateway::FleetGauges;

pub use lane::Lane;
pub use url::{MalformedRedisUrl, RedisUrl};

use connect::NotUsable;
use status::Status;

/// A process's way to its fleet's limits; clones share it.
#[derive(Debug, Clone)]
pub struct FleetRedis {
    url: RedisUrl,
    answer_max: Duration,
    /// What answered when it was opened, if anything did.
    server: Option<String>,
    status: Arc<Status>,
}

/// The server refuses what it is asked, and will go on so until somebody changes that.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{server} refuses this gateway: {cause}")]
pub struct Refused {
    server: String,
    cause: String,
}

impl FleetRedis {
    /// Connects once, to find out whether that is of any use. A server that is away is no error: it
    /// is told in the log, and tried again for as long as the process lives. A request waits
    /// `answer_max` for an answer.
    ///
    /// # Errors
    /// [`Refused`]: wrong credentials, a user who may not run the script, a bare cluster's node, a
    /// server that is too old.
    pub async fn open(url: RedisUrl, answer_max: Duration) -> Result<Self, Refused> {
        let status = Status::new(url.clone());
        let server = match connect::connect(&url, answer_max).await {
            Ok(connected) => Some(connected.greeting.to_string()),
            Err(NotUsable::Away(cause)) => {
                status.away(&cause);
                None
            }
            Err(NotUsable::Refused(cause)) => {
                return Err(Refused { server: url.to_string(), cause });
            }
        };
        Ok(Self { url, answer_max, server, status: Arc::new(status) })
    }

    /// Which server answered when it was opened, and of which version; none while it was away.
    #[must_use]
    pub fn server(&self) -> Option<&str> {
        self.server.as_deref()
    }

    /// A core's connection; to be called on its thread, within its event loop.
    #[must_use]
    pub fn lane(&self) -> Lane {
        Lane::start(self.clone())
    }

    /// What is told of it on `/metrics`.
    #[must_use]
    pub fn gauges(&self) -> Arc<FleetGauges> {
        Arc::clone(&self.status.gauges)
    }
}
