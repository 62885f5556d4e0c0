//! A customer's file: what a store returns for processing, and what is committed to it.

use std::collections::BTreeMap;

use super::account::BillingState;
use super::delivery::DeliveryState;
use super::invoices::InvoiceState;
use crate::alert::Alert;
use crate::audit::AuditRecord;
use crate::id::OrganizationId;
use crate::purchases::Purchases;
use crate::time::Timestamp;

/// What a store knows about a customer.
#[derive(Debug, Clone, Default)]
pub struct CustomerFile {
    /// How many commits there were for the customer.
    pub revision: u64,
    /// The customer's organization, if it is linked.
    pub organization: Option<OrganizationId>,
    /// The billing state at the last commit.
    pub billing_state: BillingState,
    /// All its events that may have an effect.
    pub events: Vec<FiledEvent>,
}

impl CustomerFile {
    /// The file of a customer, from the last commit and from the organization that an operator or a
    /// checkout linked the customer to. That link counts: if it names another organization than the
    /// last commit, the billing state starts empty.
    #[must_use]
    pub fn of(
        known: Option<(u64, OrganizationId, BillingState)>,
        linked: Option<OrganizationId>,
        events: Vec<FiledEvent>,
    ) -> Self {
        let Some((revision, owner, billing_state)) = known else {
            return Self { organization: linked, events, ..Self::default() };
        };
        let organization = linked.unwrap_or(owner);
        let billing_state =
            if organization == owner { billing_state } else { BillingState::default() };
        Self { revision, organization: Some(organization), billing_state, events }
    }
}

/// An event in a customer's file.
#[derive(Debug, Clone)]
pub struct FiledEvent {
    /// How far it got.
    pub state: DeliveryState,
    /// Since when it waits: when it was received, or replayed by a person.
    pub waiting_since: Timestamp,
    /// The bytes that were signed.
    pub body: Vec<u8>,
}

/// An event that names no customer yet.
#[derive(Debug, Clone)]
pub struct UnassignedEvent {
    /// Its id.
    pub event: String,
    /// Since when it waits: when it was received, or replayed by a person.
    pub waiting_since: Timestamp,
    /// The bytes that were signed.
    pub body: Vec<u8>,
}

/// What is committed for a customer.
#[derive(Debug, Clone)]
pub struct BillingCommit {
    /// The customer.
    pub customer: String,
    /// The file's revision that it follows from.
    pub revision: u64,
    /// The customer's organization.
    pub organization: OrganizationId,
    /// The organization's customer when this was computed. If it has changed, nothing is committed.
    pub linked: Option<String>,
    /// The new billing state.
    pub billing_state: BillingState,
    /// The purchases, to be stored with the organization.
    pub purchases: Purchases,
    /// Invoices, to be mirrored.
    pub invoices: Vec<InvoiceState>,
    /// Rows of the organization's audit log.
    pub audit: Vec<AuditRecord>,
    /// Alerts to raise.
    pub alerts: Vec<Alert>,
    /// Events that had their effect, by id.
    pub done: Vec<String>,
    /// Events that become dead letters, by id, with the reason.
    pub dead: BTreeMap<String, String>,
    /// The time of the commit.
    pub at: Timestamp,
}

/// Which of a customer's events are to be deleted.
#[derive(Debug, Clone)]
pub struct Forgetting {
    /// The customer.
    pub customer: String,
    /// The ids of the events; see [`super::expendable`].
    pub events: Vec<String>,
    /// Only events received before this are deleted.
    pub before: Timestamp,
    /// When this was decided: the customer's other events of that age have been looked at.
    pub at: Timestamp,
}

/// Why and until when a customer's events wait; see [`super::patience`].
#[derive(Debug, Clone)]
pub struct Postponed {
    /// Why they cannot be processed.
    pub error: String,
    /// When to try again.
    pub until: Timestamp,
    /// Events that have waited since this instant or longer become dead letters.
    pub give_up_since: Timestamp,
}
