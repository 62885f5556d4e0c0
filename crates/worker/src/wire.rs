//! Questions of an isolate to an organization's object, and the answers: JSON in a call of the
//! runtime.

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
    /// Admits a request under all limits, or denies it. The answer includes the record of an
    /// idempotency key that the request claims.
    Admit(Charge),
    /// Settles a hold, stores the answer of its idempotency key and ends the claim. An object that
    /// was evicted since admission needs the terms.
    Settle(Box<Settlement>, Option<Terms>),
    /// Releases a hold.
    Release(Hold, Option<IdempotencyKey>),
    /// Ends the claim of an idempotency key.
    Finish(IdempotencyKey, UsageId),
    /// Voids a settlement.
    Void(UsageId),
    /// The usage of the period that contains a time; the given period is the current one.
    Usage(Timestamp, Period, Grouping),
    /// A receipt.
    Receipt(UsageId),
    /// The record of an idempotency key.
    Kept(IdempotencyKey),
    /// Seals the usage buckets that can no longer grow.
    Seal(SealRule),
    /// Takes the report that has been due longest.
    TakeReport,
    /// Stores the outcome of sending a report.
    AnswerReport(String, Next),
    /// Reports with a time in a window.
    Reports(Period),
    /// A page of reports: state or any, after an identifier, at most so many.
    ReportsIn(Option<ReportState>, String, usize),
    /// One report.
    Report(String),
    /// Makes a dead report due again.
    ReviveReport(String, Box<AuditRecord>),
    /// Sums of the last periods, at most so many.
    ReportSums(usize),
    /// The newest alerts, at most so many.
    Alerts(usize),
    /// Appends audit records in order.
    Append(Vec<AuditRecord>),
    /// Appends rows of the directory's audit outbox, each number once, in order.
    AppendOnce(Vec<(i64, AuditRecord)>),
    /// Audit entries after a sequence number, at most so many.
    Entries(u64, usize),
    /// The end of the audit chain.
    Head,
    /// Where the kept part of the audit chain begins.
    Checkpoint,
    /// Removes audit entries older than the first time; the second one is now.
    Prune(Timestamp, Timestamp),
}

/// The answer to a question, or why there is none.
pub(crate) type Answer<T> = Result<T, Refused>;

/// Why the object gives no answer.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Refused {
    /// The caller's error.
    Denied(Denied, Option<LimitsNow>),
    /// A fault of the gateway.
    Fault(Fault),
}

/// The denials that an object decides.
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
                let cause = format!("a cell never decides this denial: {other}");
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
                format!("an object denied a question that is never denied: {denied:?}"),
            ),
        }
    }
}
