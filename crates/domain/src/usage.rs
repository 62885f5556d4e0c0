//! Usage: settlements, and the sums that the usage API shows.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::audit::AuditRecord;
use crate::entitlement::FrozenTerms;
use crate::id::{KeyId, NodeId, OrganizationId, UsageId};
use crate::idempotency::{Claim, KeptAnswer};
use crate::period::{Period, PeriodId};
use crate::time::Timestamp;

/// The width of a metering bucket in seconds: usage is sealed, reported to Stripe and shown by it.
pub const BUCKET_SECS: i64 = 3_600;

/// The durable charge of one metered request. One commit writes usage, audit row, idempotency
/// record and outbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settlement {
    /// Its number; settling it again changes nothing.
    pub usage: UsageId,
    /// The organization that pays.
    pub organization: OrganizationId,
    /// Which key was used.
    pub key: KeyId,
    /// The route, as `METHOD /template`.
    pub route: Arc<str>,
    /// Units, at least one.
    pub units: u32,
    /// The node whose lease the units were reserved under.
    pub node: NodeId,
    /// The request's id.
    pub request_id: Arc<str>,
    /// The claim of the request's idempotency key.
    pub claim: Option<Claim>,
    /// The response, to be stored with the claim; absent when it is too large or took too long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<Arc<KeptAnswer>>,
    /// Its audit row.
    pub audit: AuditRecord,
}

/// The result of one settlement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Settled {
    /// It was committed to the ledger, at this time and in this period.
    Committed {
        /// The commit's time, monotone per organization.
        at: Timestamp,
        /// The period it counts in.
        period: PeriodId,
        /// The number of its node's lease, unless that had lapsed.
        lease: Option<u64>,
    },
    /// An earlier attempt had committed it; this attempt changed nothing.
    Repeated {
        /// The commit's time.
        at: Timestamp,
        /// The period it counts in.
        period: PeriodId,
    },
    /// The reservation had lapsed and too few units were left: nothing was charged.
    Refused,
}

impl Settled {
    /// Whether the settlement is in the ledger, by this attempt or an earlier one.
    #[must_use]
    pub const fn counts(self) -> bool {
        matches!(self, Self::Committed { .. } | Self::Repeated { .. })
    }
}

/// How usage is grouped into sums.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Grouping {
    /// By hour.
    Hour,
    /// By day, UTC.
    #[default]
    Day,
    /// By API key.
    Key,
    /// By route.
    Route,
}

/// One row of a usage report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageBucket {
    /// The bucket's start, when grouped by time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<Timestamp>,
    /// The key, when grouped by key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_id: Option<KeyId>,
    /// The route, when grouped by route.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// Units settled.
    pub units: u64,
    /// Metered requests settled.
    pub requests: u64,
}

/// A ledger's usage in one period.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageSummary {
    /// The period.
    pub period: Period,
    /// The terms under which units were last leased in it.
    #[serde(default)]
    pub terms: Option<FrozenTerms>,
    /// Units settled in it.
    pub units: u64,
    /// The same units, grouped; in order of start, key or route.
    pub buckets: Vec<UsageBucket>,
}
