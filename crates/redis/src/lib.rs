//! Rate limits of a fleet, in Redis or Valkey.
//!
//! One script takes a request from the key's and the organization's limit, from both or from
//! neither, by Redis's clock and by the rule of `domain`'s buckets. Every wait is bounded. Without
//! an answer, [`FleetLimits::take`] is `None` and only the node's own limits apply: when Redis is
//! unavailable, requests are still limited, and none is refused for that reason. Each core has one
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

/// A process's access to its fleet's limits; clones share its state.
#[derive(Debug, Clone)]
pub struct FleetRedis {
    url: RedisUrl,
    answer_max: Duration,
    /// Product and version of the server that answered in [`FleetRedis::open`], if one did.
    server: Option<String>,
    status: Arc<Status>,
}

/// The server refuses this gateway until the configuration is changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{server} refuses this gateway: {cause}")]
pub struct Refused {
    server: String,
    cause: String,
}

impl FleetRedis {
    /// Connects once, to find out whether the server can be used. An unavailable server is not an
    /// error: it is logged, and each core keeps trying to connect. A request waits `answer_max` for
    /// an answer.
    ///
    /// # Errors
    /// [`Refused`]: wrong credentials, a user who may not run the script, a node of a cluster
    /// without a proxy, a server that is too old.
    pub async fn open(url: RedisUrl, answer_max: Duration) -> Result<Self, Refused> {
        let status = Status::new(url.clone());
        let server = match connect::connect(&url, answer_max).await {
            Ok(connected) => Some(connected.greeting.to_string()),
            Err(NotUsable::Unavailable(cause)) => {
                status.unavailable(&cause);
                None
            }
            Err(NotUsable::Refused(cause)) => {
                return Err(Refused { server: url.to_string(), cause });
            }
        };
        Ok(Self { url, answer_max, server, status: Arc::new(status) })
    }

    /// Product and version of the server that answered in [`Self::open`]; `None` if none did.
    #[must_use]
    pub fn server(&self) -> Option<&str> {
        self.server.as_deref()
    }

    /// Starts a core's connection. Call it on the core's thread, within its event loop.
    #[must_use]
    pub fn lane(&self) -> Lane {
        Lane::start(self.clone())
    }

    /// The gauges for `/metrics`.
    #[must_use]
    pub fn gauges(&self) -> Arc<FleetGauges> {
        Arc::clone(&self.status.gauges)
    }
}
