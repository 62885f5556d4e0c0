//! Decides when an organization moves from one customer at Stripe to another.
//!
//! An event names the organization that its customer is for (`client_reference_id`, metadata). It
//! moves the organization only if the organization's present customer is not living, so that a
//! stranger's event takes nothing away. Later events of a former customer have no effect.

use driftlock_domain::audit::AuditRecord;
use driftlock_domain::denial::Fault;
use driftlock_domain::organization::{Organization, SubscriptionStatus};
use driftlock_domain::stripe::account::BillingState;
use driftlock_domain::stripe::api::Call;
use driftlock_domain::stripe::delivery::DeliveryState;
use driftlock_domain::stripe::event::Event;
use driftlock_domain::stripe::file::CustomerFile;
use driftlock_domain::time::Timestamp;
use serde_json::{Value, json};

use crate::gateway::Gateway;
use crate::ports::{Clock, EventInbox, Platform};

/// How a customer relates to the organization that its events name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Relation {
    /// The organization's own customer, or the organization has none yet.
    Own,
    /// The organization has another customer, which is not living.
    Successor,
    /// The organization has another customer, which is living.
    Beside,
    /// The organization's former customer, not living: its events were finished without effect.
    Former,
}

impl<P: Platform> Gateway<P> {
    /// How a customer with this file and billing state relates to an organization; the inner error
    /// says why that is not known yet.
    pub(super) async fn relation(
        &self,
        organization: &Organization,
        customer: &str,
        file: &CustomerFile,
        billing_state: &BillingState,
    ) -> Result<Result<Relation, String>, Fault> {
        let other = organization.stripe_customer_id.as_deref().filter(|other| *other != customer);
        let Some(other) = other else { return Ok(Ok(Relation::Own)) };
        if file.organization == Some(organization.id) && !is_living(billing_state) {
            self.finish_without_effect(customer, file).await?;
            return Ok(Ok(Relation::Former));
        }
        let lives = self.has_living_customer(organization, other).await?;
        Ok(lives.map(|lives| if lives { Relation::Beside } else { Relation::Successor }))
    }

    /// Whether an organization's present customer is living: it has a subscription that has not
    /// ended.
    async fn has_living_customer(
        &self,
        organization: &Organization,
        customer: &str,
    ) -> Result<Result<bool, String>, Fault> {
        if organization.bought().iter().any(|found| !is_over(&found.status)) {
            return Ok(Ok(true));
        }
        if self.has_stripe() {
            let all = Call::get("/v1/subscriptions").field("status", "all");
            let lives = |row: &Value| {
                serde_json::from_value(row["status"].clone()).is_ok_and(|status| !is_over(&status))
            };
            let rows = self.rows_of(all, customer).await;
            return Ok(rows.map(|rows| rows.iter().any(lives)).map_err(|error| error.to_string()));
        }
        let file = self.inbox.customer(customer).await?;
        if file.events.iter().any(|event| event.state == DeliveryState::Pending) {
            return Ok(Err(format!("waits for the events of its customer {customer}")));
        }
        Ok(Ok(is_living(&file.billing_state)))
    }

    async fn finish_without_effect(
        &self,
        customer: &str,
        file: &CustomerFile,
    ) -> Result<(), Fault> {
        let pending = file.events.iter().filter(|event| event.state == DeliveryState::Pending);
        for event in pending.filter_map(|filed| Event::parse(&filed.body).ok()) {
            tracing::info!(customer, event = event.id, "Stripe event of a former customer ignored");
            self.inbox.finish(&event.id, self.clock.now()).await?;
        }
        Ok(())
    }
}

/// The audit row of a move to `customer` from `linked`, the organization's present customer; `None`
/// if they are the same.
pub(super) fn moved(
    (customer, linked): (&str, Option<&str>),
    at: Timestamp,
) -> Option<AuditRecord> {
    let from = linked.filter(|linked| *linked != customer)?;
    Some(AuditRecord {
        at,
        actor: "stripe".into(),
        action: "billing.customer_changed".into(),
        resource: customer.into(),
        outcome: "ok".into(),
        request_id: "".into(),
        ip: "".into(),
        details: json!({ "from": from, "to": customer }).to_string().into(),
    })
}

fn is_living(billing_state: &BillingState) -> bool {
    !billing_state.customer_deleted
        && billing_state.status.as_ref().is_some_and(|status| !is_over(status))
}

/// Whether a subscription with this status has ended for good.
const fn is_over(status: &SubscriptionStatus) -> bool {
    matches!(status, SubscriptionStatus::Canceled | SubscriptionStatus::IncompleteExpired)
}
