//! Two kinds of "no": a [`Denial`] is the caller's doing, a [`Fault`] is ours or the backend's.
//!
//! Both carry what an operator needs; what a caller reads, and with which status, is decided in
//! `problem.rs` alone.

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

/// Why a request is not let through, when that is the caller's doing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denial {
    /// The head breaks HTTP or one of our bounds.
    #[error("malformed request: {0}")]
    Malformed(#[from] Malformed),
    /// The path cannot be routed safely.
    #[error("malformed path: {0}")]
    Path(#[from] MalformedPath),
    /// This listener does not answer under this name.
    #[error("this listener does not answer under this name")]
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
    /// The organization is not in good standing.
    #[error("{0}")]
    NotEntitled(#[from] NotEntitled),
    /// Too many requests.
    #[error("rate limit of the {scope:?}")]
    RateLimited {
        /// Whose limit.
        scope: LimitScope,
        /// When the next request would pass.
        wait: Duration,
    },
    /// The period's units are used up.
    #[error("quota used up")]
    QuotaExceeded {
        /// Until the period ends.
        wait: Duration,
    },
    /// The last units are held by requests under way, here or on another node.
    #[error("the last units are held by requests under way")]
    QuotaHeld,
    /// The idempotency key is no such thing.
    #[error("{0}")]
    IdempotencyMalformed(#[from] MalformedIdempotencyKey),
    /// A request with this idempotency key is under way.
    #[error("a request with this idempotency key is under way")]
    IdempotencyInFlight(UsageId),
    /// The idempotency key was used for another request.
    #[error("the idempotency key was used for another request")]
    IdempotencyMismatch,
    /// The request was charged before, and its answer was not kept.
    #[error("the answer of {0} was not kept")]
    IdempotencyAnswerNotKept(UsageId),
    /// The address is on the operator's list of those refused.
    #[error("the address is refused")]
    AddressRefused,
    /// The user agent is on the operator's list of those refused.
    #[error("the user agent is refused")]
    UserAgentRefused,
    /// A web page of this origin may not call.
    #[error("the origin is not allowed")]
    OriginNotAllowed,
    /// The body is of none of these types.
    #[error("the body is of none of the types {0:?}")]
    ContentType(Vec<String>),
    /// The body exceeds this many bytes.
    #[error("the body exceeds {0} bytes")]
    BodyTooLarge(u64),
    /// The client did not finish sending in time.
    #[error("the client did not finish sending in time")]
    ClientTimeout,
    /// The client's body broke off.
    #[error("the client's body broke off")]
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

/// Whose failure it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// The store did not answer, or answered nonsense: 503.
    Store,
    /// The store refuses these values, and would again: 500.
    StoreRefused,
    /// The store holds what was to be made, or what forbids what was to be done: 409.
    Conflict,
    /// The backend cannot be reached, or broke off: 502.
    BackendUnreachable,
    /// The backend answered something that is not HTTP: 502.
    BackendBroken,
    /// The backend took too long: 504.
    BackendTimeout,
    /// The units are counted elsewhere: 503.
    WrongLedgerHost,
    /// Too much at once: 503.
    Overloaded,
    /// A mistake of ours: 500.
    Internal,
}

/// Why a request failed although the caller did nothing wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{kind:?}: {cause}")]
pub struct Fault {
    /// Whose failure.
    pub kind: FaultKind,
    /// The cause, for the log; never shown to a caller, never with a secret in it.
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
