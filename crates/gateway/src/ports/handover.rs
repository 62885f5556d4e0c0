//! Another kind of ledger takes an organization over; see [`driftlock_domain::ledger_host`].

use std::time::Duration;

use driftlock_domain::audit::AuditRecord;
use driftlock_domain::id::OrganizationId;
use driftlock_domain::ledger_host::LedgerKind;
use driftlock_domain::organization::Organization;
use driftlock_domain::time::Timestamp;

/// Who is to count an organization's units.
#[derive(Debug, Clone)]
pub struct HandoverAsk {
    /// Whose units.
    pub organization: OrganizationId,
    /// Who is to count them.
    pub to: LedgerKind,
    /// When the billing period in force ends.
    pub period_end: Timestamp,
    /// How long before it happens it is known at least.
    pub notice: Duration,
    /// The time.
    pub now: Timestamp,
    /// The row of the audit log.
    pub audit: AuditRecord,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HandedOver {
    /// It is agreed on: the organization as it is now.
    Agreed(Box<Organization>),
    /// There is no such organization.
    Unknown,
    /// This store knows one kind of ledger only.
    OneKind,
}
