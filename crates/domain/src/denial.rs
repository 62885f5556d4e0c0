//! Two kinds of failure: a [`Denial`] is the caller's error, a [`Fault`] is the gateway's or the
//! backend's.
//!
//! Both carry what an operator needs. `problem.rs` alone decides what the caller reads, and the
//! HTTP status.

use std::time::Duration;

use http::Method;
use serde::{Deserialize, Serialize};

use crate::entitlement::NotEntitled;
use crate::filter::Malformed;
use crate::id::UsageId;
use crate::idempotency::MalformedIdempotencyKey;
use crate::key::{KeyDenial, MalformedKey};
use crate::request::MalformedPath;

/// Which limit was hit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitScope {
    /// The key's requests per minute.
    Key,
    /// The organization's requests per minute.
    Organization,
    /// The client address's abuse limit.
    Address,
}

/// Why a request is refused because of the caller.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denial {
    /// The head violates HTTP or one of the gateway's bounds.
    #[error("malformed request: {0}")]
    Malformed(#[from] Malformed),
    /// The path cannot be routed safely.
    #[error("malformed path: {0}")]
    Path(#[from] MalformedPath),
    /// The `Host` header is not a name of this listener.
    #[error("the Host header is not a name of this listener")]
    HostUnknown,
    /// No such route.
    #[error("no such route")]
    NotFound,
    /// The route exists with other methods.
    #[error("method not allowed")]
    MethodNotAllowed(Vec<Method>),
    /// No usable key was presented.
    #[error("{0}")]
    KeyMalformed(#[from] MalformedKey),
    /// The key is not known.
    #[error("the key is not known")]
    KeyUnknown,
    /// No valid admin token was presented.
    #[error("no valid admin token")]
    AdminToken,
    /// The key is known and may not do this.
    #[error("{0}")]
    Key(#[from] KeyDenial),
    /// The organization is not entitled to call.
    #[error("{0}")]
    NotEntitled(#[from] NotEntitled),
    /// Too many requests.
    #[error("rate limit of the {scope:?}")]
    RateLimited {
        /// Which limit.
        scope: LimitScope,
        /// The time until the next request would be allowed.
        wait: Duration,
    },
    /// The period's units are used up.
    #[error("quota used up")]
    QuotaExceeded {
        /// The time until the period ends.
        wait: Duration,
    },
    /// The last units are held by requests in progress, on this node or another one.
    #[error("the last units are held by requests in progress")]
    QuotaHeld,
    /// The `Idempotency-Key` header is malformed.
    #[error("{0}")]
    IdempotencyMalformed(#[from] MalformedIdempotencyKey),
    /// A request with this idempotency key is in progress.
    #[error("a request with this idempotency key is in progress")]
    IdempotencyInFlight(UsageId),
    /// The idempotency key was used for another request.
    #[error("the idempotency key was used for another request")]
    IdempotencyMismatch,
    /// The request was charged before, and its response was not stored.
    #[error("the response with receipt {0} was not stored")]
    IdempotencyAnswerNotKept(UsageId),
    /// The address is on the operator's list of refused addresses.
    #[error("the address is refused")]
    AddressRefused,
    /// The user agent is on the operator's list of refused user agents.
    #[error("the user agent is refused")]
    UserAgentRefused,
    /// Web pages of this origin may not call.
    #[error("the origin is not allowed")]
    OriginNotAllowed,
    /// The body has none of these content types.
    #[error("the body has none of the content types {0:?}")]
    ContentType(Vec<String>),
    /// The body exceeds this many bytes.
    #[error("the body exceeds {0} bytes")]
    BodyTooLarge(u64),
    /// The client did not finish sending in time.
    #[error("the client did not finish sending in time")]
    ClientTimeout,
    /// The client's body ended before it was complete.
    #[error("the client's body ended before it was complete")]
    ClientAborted,
}

impl Denial {
    /// A stable code: the problem type's last segment, the audit row's outcome, a metric's label.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Malformed(_) | Self::Path(_) | Self::ClientAborted => "malformed-request",
            Self::HostUnknown => "host-unknown",
            Self::NotFound => "not-found",
            Self::MethodNotAllowed(_) => "method-not-allowed",
            Self::KeyMalformed(_) | Self::KeyUnknown | Self::AdminToken => "unauthenticated",
            Self::Key(denial) => denial.code(),
            Self::NotEntitled(_) => "subscription-inactive",
            Self::RateLimited { .. } => "rate-limited",
            Self::QuotaExceeded { .. } => "quota-exceeded",
            Self::QuotaHeld => "quota-held",
            Self::IdempotencyMalformed(_) => "idempotency-key-malformed",
            Self::IdempotencyInFlight(_) => "idempotency-key-in-flight",
            Self::IdempotencyMismatch => "idempotency-key-reused",
            Self::IdempotencyAnswerNotKept(_) => "idempotency-answer-not-kept",
            Self::AddressRefused => "address-refused",
            Self::UserAgentRefused => "user-agent-refused",
            Self::OriginNotAllowed => "origin-not-allowed",
            Self::ContentType(_) => "unsupported-media-type",
            Self::BodyTooLarge(_) => "body-too-large",
            Self::ClientTimeout => "client-timeout",
        }
    }
}

/// What failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// The store did not respond, or its response is invalid: 503.
    Store,
    /// The store refuses these values, and would refuse them again: 500.
    StoreRefused,
    /// The resource exists already, or stored data forbid the operation: 409.
    Conflict,
    /// The backend cannot be reached, or closed the connection: 502.
    BackendUnreachable,
    /// The backend's response is not valid HTTP: 502.
    BackendBroken,
    /// The backend took too long: 504.
    BackendTimeout,
    /// Another kind of host meters this organization: 503.
    WrongLedgerHost,
    /// Too many requests or bytes at once: 503.
    Overloaded,
    /// An error in the gateway: 500.
    Internal,
}

/// Why a request failed although the caller did nothing wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{kind:?}: {cause}")]
pub struct Fault {
    /// What failed.
    pub kind: FaultKind,
    /// The cause, for the log; it is never shown to a caller and never contains a secret.
    pub cause: String,
}

impl Fault {
    /// A failure of this kind.
    pub fn new(kind: FaultKind, cause: impl Into<String>) -> Self {
        Self { kind, cause: cause.into() }
    }

    /// A failure of the store.
    pub fn store(cause: impl std::fmt::Display) -> Self {
        Self::new(FaultKind::Store, cause.to_string())
    }

    /// The stable code of the problem type.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self.kind {
            FaultKind::Store => "store-unavailable",
            FaultKind::Conflict => "conflict",
            FaultKind::BackendUnreachable => "backend-unreachable",
            FaultKind::BackendBroken => "backend-broken",
            FaultKind::BackendTimeout => "backend-timeout",
            FaultKind::WrongLedgerHost => "wrong-ledger-host",
            FaultKind::Overloaded => "overloaded",
            FaultKind::StoreRefused | FaultKind::Internal => "internal",
        }
    }
}
