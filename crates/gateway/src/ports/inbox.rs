//! The port for Stripe's events: an inbox that loses no event, and the billing state that follows
//! from the events.

use driftlock_domain::denial::Fault;
use driftlock_domain::id::OrganizationId;
use driftlock_domain::stripe::delivery::{Delivery, DeliveryState, InboxEntry};
use driftlock_domain::stripe::file::{
    BillingCommit, CustomerFile, Forgetting, Postponed, UnassignedEvent,
};
use driftlock_domain::stripe::invoices::InvoiceState;
use driftlock_domain::time::Timestamp;

use super::Page;

/// Stripe's events and the billing state that follows from them.
pub trait EventInbox {
    /// Stores a delivery and returns whether its event is new. A known event changes nothing.
    async fn receive(&self, delivery: Delivery) -> Result<bool, Fault>;
    /// Customers with events to be processed at `now`, at most `limit`.
    async fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<String>, Fault>;
    /// Unassigned events that are due at `now`, at most `limit`, with the bytes that Stripe signed.
    async fn unassigned_events(
        &self,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<UnassignedEvent>, Fault>;
    /// Assigns an unassigned event to a customer.
    async fn assign(&self, event: &str, customer: &str) -> Result<(), Fault>;
    /// Marks an unassigned event as done. It belongs to no single customer.
    async fn finish(&self, event: &str, now: Timestamp) -> Result<(), Fault>;
    /// Records that the customer of an unassigned event could not be found, and when to try again.
    async fn postpone_unassigned(&self, event: &str, postponed: Postponed) -> Result<(), Fault>;
    /// Everything that the store has of a customer.
    async fn customer(&self, customer: &str) -> Result<CustomerFile, Fault>;
    /// Commits the result of a customer's events, all of it or nothing. `false` means that since
    /// the file was read, another commit came first, the organization got another customer, or the
    /// customer got another organization.
    async fn commit(&self, commit: BillingCommit) -> Result<bool, Fault>;
    /// Records that a customer's pending events could not be processed, and when to try again.
    async fn postpone(&self, customer: &str, postponed: Postponed) -> Result<(), Fault>;
    /// A page of the events in one state, or of all events.
    async fn events(
        &self,
        state: Option<DeliveryState>,
        page: Page<String>,
    ) -> Result<Vec<InboxEntry>, Fault>;
    /// One event.
    async fn event(&self, event: &str) -> Result<Option<InboxEntry>, Fault>;
    /// Makes an event pending again, whatever its state is. Returns the changed event, or `None`
    /// when there is no such event.
    async fn replay(&self, event: &str, now: Timestamp) -> Result<Option<InboxEntry>, Fault>;
    /// Customers with processed events that were received, or last looked at by [`Self::forget`],
    /// before `before`; at most `limit`.
    async fn aged(&self, before: Timestamp, limit: usize) -> Result<Vec<String>, Fault>;
    /// Deletes a customer's processed events that no longer affect the billing state. Returns how
    /// many were deleted.
    async fn forget(&self, forgetting: Forgetting) -> Result<u64, Fault>;
    /// Deletes events from before `before` that have no effect or belong to no single customer, at
    /// most `limit`. Returns how many were deleted.
    async fn forget_others(&self, before: Timestamp, limit: usize) -> Result<u64, Fault>;
    /// A page of an organization's invoices, newest first.
    async fn invoices(
        &self,
        organization: OrganizationId,
        page: Page<String>,
    ) -> Result<Vec<InvoiceState>, Fault>;
}
