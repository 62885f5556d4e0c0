//! The reasons for which a backend gives no answer.

use driftlock_domain::denial::{Fault, FaultKind};

/// Why there is no answer, except for errors in the client's body.
pub(super) enum Failed {
    NoPermit,
    ConnectTimeout,
    Connect(std::io::Error),
    Tls(std::io::Error),
    Connection(hyper::Error),
    HeadTimeout,
    Unsent,
    Switched,
}

impl Failed {
    /// Whether the failure counts for the backend's health.
    pub(super) const fn is_the_backends(&self) -> bool {
        match self {
            Self::NoPermit => false,
            Self::ConnectTimeout
            | Self::Connect(_)
            | Self::Tls(_)
            | Self::Connection(_)
            | Self::HeadTimeout
            | Self::Unsent
            | Self::Switched => true,
        }
    }
}

impl From<Failed> for Fault {
    fn from(failed: Failed) -> Self {
        let unreachable = |cause: String| Self::new(FaultKind::BackendUnreachable, cause);
        match failed {
            Failed::NoPermit => {
                Self::new(FaultKind::Overloaded, "all connections to the backend are in use")
            }
            Failed::ConnectTimeout => unreachable("connecting took too long".into()),
            Failed::Connect(error) => unreachable(format!("connecting failed: {error}")),
            Failed::Tls(error) => unreachable(format!("no secure connection: {error}")),
            Failed::Unsent => unreachable("a new connection died before it was used".into()),
            Failed::Connection(error) if error.is_parse() => {
                Self::new(FaultKind::BackendBroken, format!("no HTTP answer: {error}"))
            }
            Failed::Connection(error) => unreachable(format!("the connection broke: {error}")),
            Failed::HeadTimeout => Self::new(FaultKind::BackendTimeout, "no response head in time"),
            Failed::Switched => {
                Self::new(FaultKind::BackendBroken, "switched protocols without a request for it")
            }
        }
    }
}
