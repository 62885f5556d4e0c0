//! A customer's file: what a store hands out to be worked on, and what it gets back.

use std::collections::BTreeMap;

use super::account::Billing;
use super::delivery::DeliveryState;
use super::invoices::InvoiceState;
use crate::alert::Alert;
use crate::audit::AuditRecord;
use crate::id::OrganizationId;
use crate::purchases::Purchases;
use crate::time::Timestamp;

/// What is known of a customer.
#[derive(Debug, Clone, Default)]
pub struct CustomerFile {
    /// How often something was committed for it.
    pub revision: u64,
    /// Whose it is.
    pub organization: Option<OrganizationId>,
    /// Its standing at the last commit.
    pub standing: Billing,
    /// All its events that may have an effect.
    pub events: Vec<FiledEvent>,
}

impl CustomerFile {
    /// The file of a customer: what was committed last, and whose customer an operator or a checkout
    /// made it. The latter counts, and an organization that gets another's customer begins anew.
    #[must_use]
    pub fn of(
        known: Option<(u64, OrganizationId, Billing)>,
        linked: Option<OrganizationId>,
        events: Vec<FiledEvent>,
    ) -> Self {
        let Some((revision, owner, standing)) = known else {
            return Self { organization: linked, events, ..Self::default() };
        };
        let organization = linked.unwrap_or(owner);
        let standing = if organization == owner { standing } else { Billing::default() };
        Self { revision, organization: Some(organization), standing, events }
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

/// An event of which nobody knows yet whose it is.
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
    /// Whose customer it is.
    pub organization: OrganizationId,
    /// The customer that the organization had when this was decided. With another by now, nothing of
    /// it holds.
    pub linked: Option<String>,
    /// The new standing.
    pub standing: Billing,
    /// What is kept with the organization of its purchases.
    pub purchases: Purchases,
    /// Invoices, to be mirrored.
    pub invoices: Vec<InvoiceState>,
    /// Rows of the organization's audit log.
    pub audit: Vec<AuditRecord>,
    /// What people are to be told.
    pub alerts: Vec<Alert>,
    /// Events that had their effect, by id.
    pub done: Vec<String>,
    /// Events that have none, by id, and why.
    pub dead: BTreeMap<String, String>,
    /// The time of the commit.
    pub at: Timestamp,
}

/// What is kept no longer of a customer's events.
#[derive(Debug, Clone)]
pub struct Forgetting {
    /// The customer.
    pub customer: String,
    /// Events of which nothing is lost when they go, by id.
    pub events: Vec<String>,
    /// Only those that came before this.
    pub before: Timestamp,
    /// When this was decided: what is left of that age has been looked at.
    pub at: Timestamp,
}

/// Why and until when a customer's events wait; see [`super::patience`].
#[derive(Debug, Clone)]
pub struct Postponed {
    /// What is in the way.
    pub error: String,
    /// When to try again.
    pub until: Timestamp,
    /// Events that have been waiting since this instant, or longer, are given up: dead letters.
    pub give_up_since: Timestamp,
}
