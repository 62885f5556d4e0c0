//! Stripe's events in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use driftlock_domain::denial::Fault;
use driftlock_domain::id::OrganizationId;
use driftlock_domain::organization::Organization;
use driftlock_domain::stripe::account::BillingState;
use driftlock_domain::stripe::delivery::{Delivery, DeliveryState, InboxEntry};
use driftlock_domain::stripe::event::EventKind;
use driftlock_domain::stripe::file::{
    BillingCommit, CustomerFile, FiledEvent, Forgetting, Postponed, UnassignedEvent,
};
use driftlock_domain::stripe::invoices::InvoiceState;
use driftlock_domain::time::Timestamp;

use super::MemoryStore;
use crate::ports::{EventInbox, Page};

/// Stripe's events and the billing state of customers.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    events: BTreeMap<String, Kept>,
    customers: BTreeMap<String, (u64, OrganizationId, BillingState)>,
    invoices: BTreeMap<String, (OrganizationId, InvoiceState)>,
}

#[derive(Debug)]
struct Kept {
    entry: InboxEntry,
    due_at: Timestamp,
    waiting_since: Timestamp,
    body: Vec<u8>,
}

impl Kept {
    fn postpone(&mut self, postponed: &Postponed) {
        self.entry.attempts += 1;
        self.entry.error = Some(postponed.error.clone());
        self.due_at = postponed.until;
        if postponed.gives_up(self.waiting_since) {
            self.entry.state = DeliveryState::Dead;
        }
    }
}

impl EventInbox for MemoryStore {
    async fn receive(&self, delivery: Delivery) -> Result<bool, Fault> {
        let mut state = self.state();
        if state.inbox.events.contains_key(&delivery.event) {
            return Ok(false);
        }
        let entry = InboxEntry {
            id: delivery.event.clone(),
            kind: delivery.kind,
            created: delivery.created,
            livemode: delivery.livemode,
            customer: delivery.customer,
            received_at: delivery.received_at,
            state: delivery.state,
            attempts: 0,
            processed_at: None,
            error: delivery.note,
        };
        let at = delivery.received_at;
        let kept = Kept { entry, due_at: at, waiting_since: at, body: delivery.body };
        state.inbox.events.insert(delivery.event, kept);
        Ok(true)
    }

    async fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<String>, Fault> {
        let state = self.state();
        let mut waiting: BTreeMap<&str, Timestamp> = BTreeMap::new();
        for kept in state.inbox.events.values() {
            if let (DeliveryState::Pending, true, Some(customer)) =
                (kept.entry.state, kept.due_at <= now, kept.entry.customer.as_deref())
            {
                let since = waiting.entry(customer).or_insert(kept.due_at);
                *since = kept.due_at.min(*since);
            }
        }
        let mut waiting: Vec<_> = waiting.into_iter().collect();
        waiting.sort_by_key(|(_, since)| *since);
        Ok(waiting.into_iter().take(limit).map(|(customer, _)| customer.to_owned()).collect())
    }

    async fn unassigned_events(
        &self,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<UnassignedEvent>, Fault> {
        let state = self.state();
        let waits = |kept: &&Kept| {
            let is_due = kept.entry.state == DeliveryState::Pending && kept.due_at <= now;
            is_due && kept.entry.customer.is_none()
        };
        let unassigned_event = |kept: &Kept| UnassignedEvent {
            event: kept.entry.id.clone(),
            waiting_since: kept.waiting_since,
            body: kept.body.clone(),
        };
        Ok(state.inbox.events.values().filter(waits).take(limit).map(unassigned_event).collect())
    }

    async fn assign(&self, event: &str, customer: &str) -> Result<(), Fault> {
        if let Some(kept) = self.state().inbox.events.get_mut(event)
            && kept.entry.customer.is_none()
        {
            kept.entry.customer = Some(customer.to_owned());
            kept.entry.error = None;
        }
        Ok(())
    }

    async fn finish(&self, event: &str, now: Timestamp) -> Result<(), Fault> {
        if let Some(kept) = self.state().inbox.events.get_mut(event)
            && kept.entry.state == DeliveryState::Pending
        {
            kept.entry.state = DeliveryState::Done;
            kept.entry.processed_at = Some(now);
            kept.entry.error = None;
        }
        Ok(())
    }

    async fn postpone_unassigned(&self, event: &str, postponed: Postponed) -> Result<(), Fault> {
        if let Some(kept) = self.state().inbox.events.get_mut(event)
            && kept.entry.state == DeliveryState::Pending
        {
            kept.postpone(&postponed);
        }
        Ok(())
    }

    async fn customer(&self, customer: &str) -> Result<CustomerFile, Fault> {
        let state = self.state();
        let own = |kept: &&Kept| {
            kept.entry.customer.as_deref() == Some(customer)
                && kept.entry.state != DeliveryState::Ignored
        };
        let filed = |kept: &Kept| FiledEvent {
            state: kept.entry.state,
            waiting_since: kept.waiting_since,
            body: kept.body.clone(),
        };
        let mut own: Vec<&Kept> = state.inbox.events.values().filter(own).collect();
        own.sort_by_key(|kept| kept.entry.created);
        let events = own.into_iter().map(filed).collect();
        let is_it = |id: &Option<String>| id.as_deref() == Some(customer);
        let mut organizations = state.organizations.values();
        let linked = organizations.find(|found| is_it(&found.stripe_customer_id));
        let known = state.inbox.customers.get(customer).cloned();
        Ok(CustomerFile::of(known, linked.map(|found| found.id), events))
    }

    async fn commit(&self, commit: BillingCommit) -> Result<bool, Fault> {
        let mut state = self.state();
        let known = state.inbox.customers.get(&commit.customer);
        if known.map_or(0, |(revision, ..)| *revision) != commit.revision {
            return Ok(false);
        }
        let id = commit.organization;
        let has = state.organizations.get(&id).and_then(|it| it.stripe_customer_id.clone());
        let is_its = |it: &Organization| it.stripe_customer_id.as_ref() == Some(&commit.customer);
        let others = state.organizations.iter().filter(|(of, _)| **of != id);
        if has != commit.linked || others.map(|(_, it)| it).any(is_its) {
            return Ok(false);
        }
        let file = (commit.revision + 1, id, commit.billing_state);
        state.inbox.customers.insert(commit.customer.clone(), file);
        if let Some(organization) = state.organizations.get_mut(&id) {
            organization.purchases = Some(commit.purchases);
            organization.stripe_customer_id = Some(commit.customer);
        }
        for invoice in commit.invoices {
            state.inbox.invoices.insert(invoice.id.clone(), (id, invoice));
        }
        for event in &commit.done {
            if let Some(kept) = state.inbox.events.get_mut(event)
                && kept.entry.state != DeliveryState::Done
            {
                kept.entry.state = DeliveryState::Done;
                kept.entry.processed_at = Some(commit.at);
                kept.entry.error = None;
            }
        }
        for (event, error) in commit.dead {
            if let Some(kept) = state.inbox.events.get_mut(&event) {
                kept.entry.state = DeliveryState::Dead;
                kept.entry.error = Some(error);
            }
        }
        for record in commit.audit {
            state.append(id, record);
        }
        for alert in commit.alerts {
            state.outbox.raise(alert);
        }
        Ok(true)
    }

    async fn postpone(&self, customer: &str, postponed: Postponed) -> Result<(), Fault> {
        let mut state = self.state();
        for kept in state.inbox.events.values_mut() {
            let own = kept.entry.customer.as_deref() == Some(customer);
            if own && kept.entry.state == DeliveryState::Pending {
                kept.postpone(&postponed);
            }
        }
        Ok(())
    }

    async fn events(
        &self,
        state: Option<DeliveryState>,
        page: Page<String>,
    ) -> Result<Vec<InboxEntry>, Fault> {
        let store = self.state();
        let after = page.after.unwrap_or_default();
        let later =
            store.inbox.events.range::<str, _>((Bound::Excluded(&*after), Bound::Unbounded));
        let wanted = |entry: &&InboxEntry| state.is_none_or(|state| entry.state == state);
        let entries = later.map(|(_, kept)| &kept.entry).filter(wanted);
        Ok(entries.take(page.limit).cloned().collect())
    }

    async fn event(&self, event: &str) -> Result<Option<InboxEntry>, Fault> {
        Ok(self.state().inbox.events.get(event).map(|kept| kept.entry.clone()))
    }

    async fn replay(&self, event: &str, now: Timestamp) -> Result<Option<InboxEntry>, Fault> {
        let mut state = self.state();
        let Some(kept) = state.inbox.events.get_mut(event) else { return Ok(None) };
        if kept.entry.customer.is_some() || EventKind::from(&*kept.entry.kind).is_looked_up() {
            (kept.due_at, kept.waiting_since) = (now, now);
            kept.entry.state = DeliveryState::Pending;
            kept.entry.attempts = 0;
            kept.entry.error = None;
        }
        Ok(Some(kept.entry.clone()))
    }

    async fn aged(&self, before: Timestamp, limit: usize) -> Result<Vec<String>, Fault> {
        let state = self.state();
        let is_aged =
            |kept: &&Kept| kept.entry.state == DeliveryState::Done && kept.due_at < before;
        let aged = state.inbox.events.values().filter(is_aged);
        let customers: BTreeSet<String> =
            aged.filter_map(|kept| kept.entry.customer.clone()).collect();
        Ok(customers.into_iter().take(limit).collect())
    }

    async fn forget(&self, forgetting: Forgetting) -> Result<u64, Fault> {
        let Forgetting { customer, events, before, at } = forgetting;
        let mut state = self.state();
        let count = state.inbox.events.len();
        state.inbox.events.retain(|id, kept| {
            let is_done = kept.entry.customer.as_ref() == Some(&customer)
                && kept.entry.state == DeliveryState::Done;
            if is_done && kept.due_at < before {
                kept.due_at = at;
            }
            !(is_done && kept.entry.received_at < before && events.contains(id))
        });
        Ok((count - state.inbox.events.len()) as u64)
    }

    async fn forget_others(&self, before: Timestamp, limit: usize) -> Result<u64, Fault> {
        let mut state = self.state();
        let is_old = |kept: &&Kept| {
            let InboxEntry { state, customer, received_at, .. } = &kept.entry;
            let is_without_customer = *state == DeliveryState::Done && customer.is_none();
            *received_at < before && (*state == DeliveryState::Ignored || is_without_customer)
        };
        let old = state.inbox.events.values().filter(is_old).take(limit);
        let old: Vec<String> = old.map(|kept| kept.entry.id.clone()).collect();
        for event in &old {
            state.inbox.events.remove(event);
        }
        Ok(old.len() as u64)
    }

    async fn invoices(
        &self,
        organization: OrganizationId,
        page: Page<String>,
    ) -> Result<Vec<InvoiceState>, Fault> {
        let state = self.state();
        let own = state.inbox.invoices.values().filter(|(id, _)| *id == organization);
        let mut own: Vec<InvoiceState> = own.map(|(_, invoice)| invoice.clone()).collect();
        let place =
            |invoice: &InvoiceState| (invoice.created.unwrap_or(invoice.as_of), invoice.id.clone());
        own.sort_by_key(|invoice| std::cmp::Reverse(place(invoice)));
        if let Some(after) = page.after {
            let last = own.iter().position(|invoice| invoice.id == after);
            own.drain(..last.map_or(own.len(), |last| last + 1));
        }
        own.truncate(page.limit);
        Ok(own)
    }
}
