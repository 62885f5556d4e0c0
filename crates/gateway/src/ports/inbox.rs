//! The port of Stripe's events: an inbox that loses nothing, and what follows from it.

use driftlock_domain::denial::Fault;
use driftlock_domain::id::OrganizationId;
use driftlock_domain::stripe::delivery::{Delivery, DeliveryState, InboxEntry};
use driftlock_domain::stripe::file::{
    BillingCommit, CustomerFile, Forgetting, Postponed, UnassignedEvent,
};
use driftlock_domain::stripe::invoices::InvoiceState;
use driftlock_domain::time::Timestamp;

use super::Page;

/// Stripe's events and what followed from them.
pub trait EventInbox {
    /// Keeps a delivery; whether its event is new. A known one changes nothing.
    async fn receive(&self, delivery: Delivery) -> Result<bool, Fault>;
    /// Customers with events to be processed at `now`, at most `limit`.
    async fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<String>, Fault>;
    /// Events due at `now` of which nobody knows yet whose they are, with the bytes that were signed.
    async fn unassigned_events(
        &self,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<UnassignedEvent>, Fault>;
    /// Whose an unassigned event is.
    async fn assign(&self, event: &str, customer: &str) -> Result<(), Fault>;
    /// Notes that an unassigned event, which is no single customer's, had its effect.
    async fn finish(&self, event: &str, now: Timestamp) -> Result<(), Fault>;
    /// Notes that an unassigned event's customer could not be learned.
    async fn postpone_unassigned(&self, event: &str, postponed: Postponed) -> Result<(), Fault>;
    /// Everything that is known of a customer.
    async fn customer(&self, customer: &str) -> Result<CustomerFile, Fault>;
    /// Commits what follows from a customer's events, all of it or nothing; `false` when somebody
    /// else committed since the file was read, gave the organization another customer, or
    /// this customer to another organization.
    async fn commit(&self, commit: BillingCommit) -> Result<bool, Fault>;
    /// Notes that a customer's pending events could not be processed.
    async fn postpone(&self, customer: &str, postponed: Postponed) -> Result<(), Fault>;
    /// A page of the events in one state, or in any.
    async fn events(
        &self,
        state: Option<DeliveryState>,
        page: Page<String>,
    ) -> Result<Vec<InboxEntry>, Fault>;
    /// One event.
    async fn event(&self, event: &str) -> Result<Option<InboxEntry>, Fault>;
    /// Makes an event pending again, of whatever state; as it then is, if there is one.
    async fn replay(&self, event: &str, now: Timestamp) -> Result<Option<InboxEntry>, Fault>;
    /// Customers with events that had their effect and came, or were looked at by [`Self::forget`],
    /// before `before`; at most `limit`.
    async fn aged(&self, before: Timestamp, limit: usize) -> Result<Vec<String>, Fault>;
    /// Removes a customer's events that had their effect and of which nothing is lost; how many.
    async fn forget(&self, forgetting: Forgetting) -> Result<u64, Fault>;
    /// Removes events from before `before` that have no effect, or had one on no single customer; how
    /// many of at most `limit`.
    async fn forget_others(&self, before: Timestamp, limit: usize) -> Result<u64, Fault>;
    /// A page of an organization's invoices, the newest first.
    async fn invoices(
        &self,
        organization: OrganizationId,
        page: Page<String>,
    ) -> Result<Vec<InvoiceState>, Fault>;
}
