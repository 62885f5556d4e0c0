//! The event inbox: Stripe's events, and the billing states that follow from them.

use driftlock_domain::denial::Fault;
use driftlock_domain::id::OrganizationId;
use driftlock_domain::stripe::account::BillingState;
use driftlock_domain::stripe::delivery::{Delivery, DeliveryState, InboxEntry};
use driftlock_domain::stripe::file::{
    BillingCommit, CustomerFile, FiledEvent, Forgetting, Postponed, UnassignedEvent,
};
use driftlock_domain::stripe::invoices::InvoiceState;
use driftlock_domain::time::Timestamp;
use driftlock_gateway::ports::{EventInbox, Page};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::args::{bytes, read, record, uuid, write};
use crate::reports::alert;
use crate::{Call, FunctionStore};

#[derive(Deserialize)]
struct File {
    known: Option<Known>,
    organization: Option<OrganizationId>,
    events: Vec<Filed>,
}

#[derive(Deserialize)]
struct Known {
    revision: u64,
    organization: OrganizationId,
    standing: BillingState,
}

#[derive(Deserialize)]
struct Filed {
    state: DeliveryState,
    waiting_since: i64,
    body: String,
}

#[derive(Deserialize)]
struct Unowned {
    event: String,
    waiting_since: i64,
    body: String,
}

impl<C: Call> EventInbox for FunctionStore<C> {
    async fn receive(&self, delivery: Delivery) -> Result<bool, Fault> {
        let args = json!({
            "event": delivery.event, "kind": delivery.kind, "created": delivery.created.micros(),
            "livemode": delivery.livemode, "customer": delivery.customer,
            "received_at": delivery.received_at.micros(), "state": delivery.state,
            "note": delivery.note, "body": hex::encode(&delivery.body),
        });
        read(self.call.call("driftlock_receive", args).await?)
    }

    async fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<String>, Fault> {
        let args = json!({ "now": now.micros(), "limit": limit });
        read(self.call.call("driftlock_due", args).await?)
    }

    async fn unassigned_events(
        &self,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<UnassignedEvent>, Fault> {
        let args = json!({ "now": now.micros(), "limit": limit });
        let found: Vec<Unowned> = read(self.call.call("driftlock_unassigned_events", args).await?)?;
        let unassigned_event = |Unowned { event, waiting_since, body }| {
            let waiting_since = Timestamp::from_micros(waiting_since);
            Ok(UnassignedEvent { event, waiting_since, body: bytes(&body)? })
        };
        found.into_iter().map(unassigned_event).collect()
    }

    async fn assign(&self, event: &str, customer: &str) -> Result<(), Fault> {
        let args = json!({ "event": event, "customer": customer });
        self.call.call("driftlock_assign", args).await.map(drop)
    }

    async fn finish(&self, event: &str, now: Timestamp) -> Result<(), Fault> {
        let args = json!({ "event": event, "now": now.micros() });
        self.call.call("driftlock_finish", args).await.map(drop)
    }

    async fn postpone_unassigned(&self, event: &str, postponed: Postponed) -> Result<(), Fault> {
        let args = waiting(json!({ "event": event }), &postponed);
        self.call.call("driftlock_postpone", args).await.map(drop)
    }

    async fn customer(&self, customer: &str) -> Result<CustomerFile, Fault> {
        let args = json!({ "customer": customer });
        let File { known, organization, events } =
            read(self.call.call("driftlock_customer", args).await?)?;
        let filed = |Filed { state, waiting_since, body }| {
            let waiting_since = Timestamp::from_micros(waiting_since);
            Ok(FiledEvent { state, waiting_since, body: bytes(&body)? })
        };
        let events = events.into_iter().map(filed).collect::<Result<_, Fault>>()?;
        let known = known
            .map(|Known { revision, organization, standing }| (revision, organization, standing));
        Ok(CustomerFile::of(known, organization, events))
    }

    async fn commit(&self, commit: BillingCommit) -> Result<bool, Fault> {
        let invoices = commit.invoices.iter().map(invoice).collect::<Result<Vec<_>, _>>()?;
        let args = json!({
            "customer": commit.customer, "revision": commit.revision,
            "organization": uuid!(commit.organization), "linked": commit.linked,
            "standing": write(&commit.billing_state)?, "purchases": write(&commit.purchases)?,
            "invoices": invoices, "audit": commit.audit.iter().map(record).collect::<Vec<_>>(),
            "alerts": commit.alerts.iter().map(alert).collect::<Vec<_>>(),
            "done": commit.done, "dead": commit.dead, "at": commit.at.micros(),
        });
        read(self.call.call("driftlock_commit", args).await?)
    }

    async fn postpone(&self, customer: &str, postponed: Postponed) -> Result<(), Fault> {
        let args = waiting(json!({ "customer": customer }), &postponed);
        self.call.call("driftlock_postpone", args).await.map(drop)
    }

    async fn events(
        &self,
        state: Option<DeliveryState>,
        page: Page<String>,
    ) -> Result<Vec<InboxEntry>, Fault> {
        let after = page.after.unwrap_or_default();
        let args = json!({ "state": state, "after": after, "limit": page.limit });
        read(self.call.call("driftlock_events", args).await?)
    }

    async fn event(&self, event: &str) -> Result<Option<InboxEntry>, Fault> {
        read(self.call.call("driftlock_event", json!({ "event": event })).await?)
    }

    async fn replay(&self, event: &str, now: Timestamp) -> Result<Option<InboxEntry>, Fault> {
        let args = json!({ "event": event, "now": now.micros() });
        read(self.call.call("driftlock_replay", args).await?)
    }

    async fn aged(&self, before: Timestamp, limit: usize) -> Result<Vec<String>, Fault> {
        let args = json!({ "before": before.micros(), "limit": limit });
        read(self.call.call("driftlock_aged", args).await?)
    }

    async fn forget(&self, forgetting: Forgetting) -> Result<u64, Fault> {
        let Forgetting { customer, events, before, at } = forgetting;
        let args = json!({
            "customer": customer, "events": events, "before": before.micros(), "at": at.micros(),
        });
        read(self.call.call("driftlock_forget", args).await?)
    }

    async fn forget_others(&self, before: Timestamp, limit: usize) -> Result<u64, Fault> {
        let args = json!({ "before": before.micros(), "limit": limit });
        read(self.call.call("driftlock_forget_others", args).await?)
    }

    async fn invoices(
        &self,
        organization: OrganizationId,
        page: Page<String>,
    ) -> Result<Vec<InvoiceState>, Fault> {
        let args = json!({
            "organization": uuid!(organization), "after": page.after, "limit": page.limit,
        });
        read(self.call.call("driftlock_invoices", args).await?)
    }
}

/// Completes the arguments of a call that postpones events.
fn waiting(mut args: Value, postponed: &Postponed) -> Value {
    args["error"] = json!(postponed.error);
    args["until"] = json!(postponed.until.micros());
    args["give_up_since"] = json!(postponed.give_up_since.micros());
    args
}

fn invoice(invoice: &InvoiceState) -> Result<Value, Fault> {
    let created = invoice.created.unwrap_or(invoice.as_of).micros();
    Ok(json!({ "id": invoice.id, "created": created, "invoice": write(invoice)? }))
}
