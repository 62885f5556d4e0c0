//! The handover of an organization to another kind of ledger host; see
//! [`driftlock_domain::ledger_host`].

use std::time::Duration;

use driftlock_domain::audit::AuditRecord;
use driftlock_domain::id::OrganizationId;
use driftlock_domain::ledger_host::LedgerKind;
use driftlock_domain::organization::Organization;
use driftlock_domain::time::Timestamp;

/// An operator's request to hand an organization over to another ledger host.
#[derive(Debug, Clone)]
pub struct HandoverAsk {
    /// The organization.
    pub organization: OrganizationId,
    /// The kind of host that will meter the organization.
    pub to: LedgerKind,
    /// When the current billing period ends.
    pub period_end: Timestamp,
    /// The handover takes effect this long after `now` at the earliest.
    pub notice: Duration,
    /// The current time.
    pub now: Timestamp,
    /// The row for the audit log.
    pub audit: AuditRecord,
}

/// The outcome of [`HandoverAsk`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HandedOver {
    /// The handover is stored; this is the organization with it.
    Agreed(Box<Organization>),
    /// There is no such organization.
    Unknown,
    /// This store supports only one kind of ledger host.
    OneKind,
}
