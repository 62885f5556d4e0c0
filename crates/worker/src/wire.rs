//! What an isolate asks an organization's object, and what it is answered: JSON, over a call of the
//! runtime's.

use std::time::Duration;

use driftlock_domain::audit::AuditRecord;
use driftlock_domain::cell::{Charge, Hold, LimitsNow};
use driftlock_domain::denial::{Denial, Fault, FaultKind, LimitScope};
use driftlock_domain::entitlement::Terms;
use driftlock_domain::id::UsageId;
use driftlock_domain::idempotency::IdempotencyKey;
use driftlock_domain::key::KeyDenial;
use driftlock_domain::period::Period;
use driftlock_domain::stripe::meter::{Next, ReportState, SealRule};
use driftlock_domain::time::Timestamp;
use driftlock_domain::usage::{Grouping, Settlement};
use driftlock_gateway::ports::Refusal;
use serde::{Deserialize, Serialize};

/// A question to the object of one organization.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Ask {
    /// Takes a request's share of every limit, or of none; says what is kept of an idempotency key that
    /// it claims.
    Admit(Charge),
    /// Makes a hold durable, with the answer of an idempotency key, which then is no longer in flight; the
    /// terms are for an object that was evicted since it admitted.
    Settle(Box<Settlement>, Option<Terms>),
    /// Gives a hold back.
    Release(Hold, Option<IdempotencyKey>),
    /// An idempotency key is no longer in flight.
    Finish(IdempotencyKey, UsageId),
    /// Takes a settlement back.
    Void(UsageId),
    /// The usage of the period that holds an instant; the other one is in force.
    Usage(Timestamp, Period, Grouping),
    /// A receipt.
    Receipt(UsageId),
    /// What is kept of an idempotency key.
    Kept(IdempotencyKey),
    /// Seals the buckets that have done growing.
    Seal(SealRule),
    /// Takes the report that is due longest.
    TakeReport,
    /// What became of a report.
    AnswerReport(String, Next),
    /// Reports whose time lies in a window.
    Reports(Period),
    /// Reports in a state or in any, of identifiers after one, so many.
    ReportsIn(Option<ReportState>, String, usize),
    /// One report.
    Report(String),
    /// Makes a dead report due again.
    ReviveReport(String, Box<AuditRecord>),
    /// Sums of so many periods.
    ReportSums(usize),
    /// So many alerts, the newest first.
    Alerts(usize),
    /// Appends audit records in order.
    Append(Vec<AuditRecord>),
    /// Appends audit records of the directory, each once, in order of its number there.
    AppendOnce(Vec<(i64, AuditRecord)>),
    /// Audit entries after a number.
    Entries(u64, usize),
    /// The end of the audit chain.
    Head,
    /// Where the kept part of the audit chain begins.
    Checkpoint,
    /// Removes audit entries from before an instant; it is the other one now.
    Prune(Timestamp, Timestamp),
}

/// An answer: what was asked for, or why not.
pub(crate) type Answer<T> = Result<T, Refused>;

/// Why not.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Refused {
    /// The caller's doing.
    Denied(Denied, Option<LimitsNow>),
    /// Ours.
    Fault(Fault),
}

/// The denials that an object pronounces.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Denied {
    RateLimited(LimitScope, Duration),
    QuotaExceeded(Duration),
    QuotaHeld,
    IdempotencyInFlight(UsageId),
    IdempotencyMismatch,
    KeyRevoked,
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        let (denial, limits) = match refusal {
            Refusal::Fault(fault) => return Self::Fault(fault),
            Refusal::Denied(denial, limits) => (denial, limits),
        };
        let denied = match denial {
            Denial::RateLimited { scope, wait } => Denied::RateLimited(scope, wait),
            Denial::QuotaExceeded { wait } => Denied::QuotaExceeded(wait),
            Denial::QuotaHeld => Denied::QuotaHeld,
            Denial::IdempotencyInFlight(usage) => Denied::IdempotencyInFlight(usage),
            Denial::IdempotencyMismatch => Denied::IdempotencyMismatch,
            Denial::Key(KeyDenial::Revoked) => Denied::KeyRevoked,
            other => {
                let cause = format!("a cell does not deny like this: {other}");
                return Self::Fault(Fault::new(FaultKind::Internal, cause));
            }
        };
        Self::Denied(denied, limits)
    }
}

impl From<Fault> for Refused {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Self {
        let (denied, limits) = match refused {
            Refused::Fault(fault) => return Self::Fault(fault),
            Refused::Denied(denied, limits) => (denied, limits),
        };
        let denial = match denied {
            Denied::RateLimited(scope, wait) => Denial::RateLimited { scope, wait },
            Denied::QuotaExceeded(wait) => Denial::QuotaExceeded { wait },
            Denied::QuotaHeld => Denial::QuotaHeld,
            Denied::IdempotencyInFlight(usage) => Denial::IdempotencyInFlight(usage),
            Denied::IdempotencyMismatch => Denial::IdempotencyMismatch,
            Denied::KeyRevoked => Denial::Key(KeyDenial::Revoked),
        };
        Self::Denied(denial, limits)
    }
}

impl From<Refused> for Fault {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Fault(fault) => fault,
            Refused::Denied(denied, _) => Self::new(
                FaultKind::Internal,
                format!("an object denied what it may not: {denied:?}"),
            ),
        }
    }
}
