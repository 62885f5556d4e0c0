//! Computes an organization's billing state from the events in the inbox.
//!
//! The billing state is computed from all events of a customer each time. It is committed only if
//! no other commit for this customer happened since the events were read. So events may arrive in
//! any order or twice, two nodes may process the same customer, and a crash loses nothing: pending
//! events are processed again.
//!
//! With a secret key, Stripe is asked after the events were read. So its answer is newer than every
//! earlier commit, and a commit made meanwhile prevents this one. No lock is held during the call.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use driftlock_domain::alert::Alert;
use driftlock_domain::audit::AuditRecord;
use driftlock_domain::denial::Fault;
use driftlock_domain::id::OrganizationId;
use driftlock_domain::organization::Organization;
use driftlock_domain::purchases::Purchases;
use driftlock_domain::stripe::account::LastChange;
use driftlock_domain::stripe::apply::{Applied, Customer, Rules, apply, linked};
use driftlock_domain::stripe::delivery::{DeliveryState, OTHER_MODE, of_other_account};
use driftlock_domain::stripe::event::Event;
use driftlock_domain::stripe::file::{BillingCommit, CustomerFile, FiledEvent, Postponed};
use driftlock_domain::stripe::transition::Transition;
use driftlock_domain::time::Timestamp;
use futures_util::stream::{self, StreamExt};

use super::in_flight::UNASSIGNED;
use super::moving::{Relation, moved};
use crate::gateway::Gateway;
use crate::ports::{Clock, Directory, EventInbox, Platform};

/// Customers processed in one run of the job.
const CUSTOMERS_MAX: usize = 100;
/// Customers of a run that are processed at once.
const CUSTOMERS_AT_ONCE: usize = 4;
/// How often processing is attempted when other commits for the same customer come first.
const CONFLICTS_MAX: usize = 8;

/// The result of processing a customer's events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Processed {
    /// Their effect is committed.
    Committed {
        /// The customer's organization.
        organization: OrganizationId,
        /// What changed.
        transitions: Vec<Transition>,
        /// Subscriptions that have no effect, and why.
        problems: Vec<String>,
    },
    /// They cannot be processed yet, for this reason.
    Waiting(String),
}

impl<P: Platform> Gateway<P> {
    /// Processes the Stripe events that are due.
    pub async fn process_due_events(&self) {
        self.process_exclusively(UNASSIGNED).await;
        match self.inbox.due(self.clock.now(), CUSTOMERS_MAX).await {
            Ok(customers) => {
                let work = customers.iter().map(|customer| self.process_exclusively(customer));
                let work = stream::iter(work).buffer_unordered(CUSTOMERS_AT_ONCE);
                work.for_each(|()| async {}).await;
            }
            Err(fault) => {
                tracing::error!(error = fault.cause, "could not read due Stripe events");
            }
        }
    }

    /// Processes all events of one customer. Events that fail stay in the inbox and are retried.
    pub(crate) async fn process_customer(&self, customer: &str) -> Processed {
        for _ in 0..CONFLICTS_MAX {
            match self.try_customer(customer).await {
                Ok(Some(processed)) => return processed,
                Ok(None) => {}
                Err(fault) => {
                    let error = fault.cause;
                    tracing::error!(customer, error, "could not process Stripe events; will retry");
                    return Processed::Waiting("the store does not answer".to_owned());
                }
            }
        }
        let conflicts = CONFLICTS_MAX;
        tracing::warn!(customer, conflicts, "gave up after revision conflicts; will retry");
        Processed::Waiting(format!("{CONFLICTS_MAX} commits for this customer came first"))
    }

    /// One attempt; `None` when another commit for the customer came first.
    async fn try_customer(&self, customer: &str) -> Result<Option<Processed>, Fault> {
        let file = self.inbox.customer(customer).await?;
        let fetched = self.fetch_customer(customer).await;
        let now = self.clock.now();
        let fetched = match fetched {
            Ok(fetched) => fetched,
            Err(error) => return self.postpone(customer, &file, error.to_string(), now).await,
        };
        let stripe = &self.shared.config.stripe;
        let grace = Duration::from_secs(u64::from(stripe.grace_days) * 86_400);
        let rules = Rules { prices: &stripe.prices, grace };
        let (events, no_effect) = read(&file.events, stripe.livemode);
        let known = Customer {
            id: customer,
            organization: file.organization,
            billing_state: &file.billing_state,
            events: &events,
            fetched: fetched.as_ref(),
        };
        let mut applied = match apply(known, rules) {
            Ok(mut applied) => {
                applied.dead.extend(no_effect);
                applied
            }
            Err(unlinked) => {
                return self.postpone(customer, &file, unlinked.to_string(), now).await;
            }
        };
        let organization = self.directory.organization(applied.organization).await?;
        if let Some(before) = organization.as_ref().and_then(|found| found.purchases.as_ref()) {
            applied.purchases.was_live_before = was_live_before(before, customer);
        }
        let changed = organization.clone().map(|before| {
            let purchases = Some(applied.purchases.clone());
            (before.clone(), Organization { purchases, ..before })
        });
        let is_named = linked(&events) == Some(applied.organization);
        let relation = match &organization {
            Some(owner) => self.relation(owner, customer, &file, &applied.billing_state).await?,
            None => Ok(Relation::Own),
        };
        if relation == Ok(Relation::Former) {
            let (organization, problems) = (applied.organization, applied.problems);
            let transitions = Vec::new();
            return Ok(Some(Processed::Committed { organization, transitions, problems }));
        }
        let belongs = relation.and_then(|relation| {
            belongs(organization, customer, &file, &applied, (relation, is_named))
        });
        let linked = match belongs {
            Ok(linked) => linked,
            Err(obstacle) => return self.postpone(customer, &file, obstacle, now).await,
        };
        let processed = Processed::Committed {
            organization: applied.organization,
            transitions: applied.transitions.clone(),
            problems: applied.problems.clone(),
        };
        let commit = commit((customer, linked), &file, applied, &events, now);
        let id = commit.organization;
        let is_committed = self.inbox.commit(commit).await?;
        self.shared.organizations.invalidate(&id);
        if let Some((before, after)) = changed.filter(|_| is_committed) {
            self.note_change(&before, &after).await;
        }
        Ok(is_committed.then_some(processed))
    }

    async fn postpone(
        &self,
        customer: &str,
        file: &CustomerFile,
        error: String,
        now: Timestamp,
    ) -> Result<Option<Processed>, Fault> {
        let pending = file.events.iter().filter(|event| event.state == DeliveryState::Pending);
        let since = pending.map(|event| event.waiting_since);
        let processed = Processed::Waiting(error.clone());
        let postponed = Postponed::retried(error, since, now, self.random());
        tracing::warn!(
            customer,
            error = postponed.error,
            "Stripe events cannot be processed yet; will retry"
        );
        self.inbox.postpone(customer, postponed).await?;
        Ok(Some(processed))
    }
}

/// Whether a customer that the organization had before `customer` had a live subscription.
fn was_live_before(before: &Purchases, customer: &str) -> bool {
    before.was_live_before || (before.customer != customer && before.was_live)
}

/// Reads stored events. Events of the other mode and of connected accounts have no effect; the map
/// names those of them that are still pending, with the reason. An event that cannot be read is
/// skipped: the webhook stores only events that it could read.
pub(super) fn read(
    filed: &[FiledEvent],
    mode: Option<bool>,
) -> (Vec<Event>, BTreeMap<String, String>) {
    let (mut events, mut waiting) = (Vec::new(), BTreeMap::new());
    for filed in filed {
        let Ok(event) = Event::parse(&filed.body) else { continue };
        match has_no_effect(&event, mode) {
            None => events.push(event),
            Some(why) if filed.state == DeliveryState::Pending => {
                waiting.insert(event.id, why);
            }
            Some(_) => {}
        }
    }
    (events, waiting)
}

/// Why an event has no effect, if it has none.
fn has_no_effect(event: &Event, mode: Option<bool>) -> Option<String> {
    match &event.account {
        Some(account) => Some(of_other_account(account)),
        None => event.is_of_other_mode(mode).then(|| OTHER_MODE.to_owned()),
    }
}

/// The organization's present Stripe customer, or why `customer` may not change its billing state.
/// An organization moves from a customer that is not living to one that an event, such as a
/// checkout's, links to the organization.
fn belongs(
    organization: Option<Organization>,
    customer: &str,
    file: &CustomerFile,
    applied: &Applied,
    (relation, is_named): (Relation, bool),
) -> Result<Option<String>, String> {
    let Some(organization) = organization else {
        return Err(format!("there is no organization {}", applied.organization));
    };
    match organization.stripe_customer_id.as_deref() {
        // A file that is linked to the organization already is a former customer's: an operator
        // chose the other customer.
        Some(other)
            if other != customer
                && (relation == Relation::Beside || file.organization.is_some() || !is_named) =>
        {
            Err(format!(
                "organization {} has Stripe customer {other} already; if {customer} is the right \
                 one, set the organization's stripe_customer_id to it",
                organization.id
            ))
        }
        Some(_) | None => Ok(organization.stripe_customer_id),
    }
}

fn commit(
    (customer, linked): (&str, Option<String>),
    file: &CustomerFile,
    applied: Applied,
    events: &[Event],
    now: Timestamp,
) -> BillingCommit {
    let Applied { organization, mut billing_state, purchases, transitions, invoices, dead, .. } =
        applied;
    let last = |change: &Transition| LastChange { action: change.action().to_owned(), at: now };
    billing_state.last_change =
        transitions.last().map(last).or_else(|| file.billing_state.last_change.clone());
    let resource: Arc<str> = billing_state.subscription.as_deref().unwrap_or(customer).into();
    let row = |transition: &Transition| {
        let by = transition.clearing();
        AuditRecord {
            at: now,
            actor: by.map_or("stripe", |by| &by.by).into(),
            action: transition.action().into(),
            resource: Arc::clone(&resource),
            outcome: "ok".into(),
            request_id: by.map_or("", |by| &by.request_id).into(),
            ip: by.map_or("", |by| &by.ip).into(),
            details: transition.details().to_string().into(),
        }
    };
    let moved = moved((customer, linked.as_deref()), now);
    let audit = moved.into_iter().chain(transitions.iter().map(row)).collect();
    let alert = |transition: &Transition| {
        let (kind, subject) = transition.alert(&resource)?;
        let details = transition.details();
        Some(Alert { organization, kind, subject, at: now, details })
    };
    let alerts = transitions.iter().filter_map(alert).collect();
    let done = events.iter().map(|event| event.id.clone());
    BillingCommit {
        customer: customer.to_owned(),
        revision: file.revision,
        done: done.filter(|event| !dead.contains_key(event)).collect(),
        organization,
        linked,
        billing_state,
        purchases,
        invoices,
        audit,
        alerts,
        dead,
        at: now,
    }
}
