//! A simulated life cycle of one Stripe customer: its methods make events, and it knows the true
//! state.
//!
//! Several things may happen in one second: the time moves only by [`Life::wait`].

mod billing;
mod content;
mod course;

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use super::{ApiShape, Entropy, SampleInvoice, SampleSubscription, envelope};
use crate::stripe::event::EventKind;
use crate::time::Timestamp;
use content::Content;

/// The length of a sample billing period, in days.
const PERIOD_DAYS: u64 = 30;

/// A price of the sample catalogue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SamplePrice {
    /// `price_…`.
    pub id: String,
    /// Its amount per period, in cents.
    pub cents: i64,
}

/// The parameters of a life cycle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LifeParams {
    /// The seed of the ids: the n-th event of a type has the same id in every life with this seed.
    pub seed: u64,
    /// The API version that the endpoint is set to.
    pub shape: ApiShape,
    /// Whether it concerns real money.
    pub livemode: bool,
    /// The organization's id, `org_…`.
    pub organization: String,
    /// The customer, `cus_…`; if absent, its id is derived from the seed.
    pub customer: Option<String>,
    /// The price that is bought first.
    pub price: SamplePrice,
    /// The price that an upgrade changes to.
    pub upgrade: SamplePrice,
    /// When it begins.
    pub start: Timestamp,
}

/// How a subscription begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// Paid at once.
    Paid,
    /// The first payment is outstanding.
    Unpaid,
    /// A trial of so many days.
    Trial(u32),
}

/// A simulated life cycle of one Stripe customer.
#[derive(Debug, Clone)]
pub struct Life {
    params: LifeParams,
    /// How many ids were made for each label.
    made: BTreeMap<String, u32>,
    now: Timestamp,
    customer: String,
    subscriptions: Vec<SampleSubscription>,
    invoices: Vec<SampleInvoice>,
    events: Vec<Value>,
    /// The content of each event.
    contents: Vec<Content>,
}

impl Life {
    /// A life in which nothing has happened.
    #[must_use]
    pub fn new(params: LifeParams) -> Self {
        Self::continuing(params, Vec::new(), Vec::new())
    }

    /// A life that continues from known subscriptions and open invoices.
    #[must_use]
    pub fn continuing(
        params: LifeParams,
        subscriptions: Vec<SampleSubscription>,
        invoices: Vec<SampleInvoice>,
    ) -> Self {
        let customer = params.customer.clone();
        Self {
            customer: customer.unwrap_or_else(|| id(params.seed, "cus_", "customer", 1)),
            now: params.start,
            made: BTreeMap::new(),
            params,
            subscriptions,
            invoices,
            events: Vec::new(),
            contents: Vec::new(),
        }
    }

    /// Every event so far, in the order in which they happened.
    #[must_use]
    pub fn events(&self) -> &[Value] {
        &self.events
    }

    /// Every event so far.
    #[must_use]
    pub fn into_events(self) -> Vec<Value> {
        self.events
    }

    /// Every subscription as it is now, in order of creation: the truth.
    #[must_use]
    pub fn subscriptions(&self) -> &[SampleSubscription] {
        &self.subscriptions
    }

    /// Every invoice as it is now, in order of creation: the truth.
    #[must_use]
    pub fn invoices(&self) -> &[SampleInvoice] {
        &self.invoices
    }

    /// The customer's id.
    #[must_use]
    pub fn customer(&self) -> &str {
        &self.customer
    }

    /// Its parameters.
    #[must_use]
    pub const fn params(&self) -> &LifeParams {
        &self.params
    }

    /// Its present time.
    #[must_use]
    pub const fn now(&self) -> Timestamp {
        self.now
    }

    /// Lets time pass.
    pub fn wait(&mut self, time: Duration) {
        self.now = self.now.plus(time);
    }

    /// Sets the endpoint to another API version from now on.
    pub const fn set_shape(&mut self, shape: ApiShape) {
        self.params.shape = shape;
    }

    /// The next id for this label: it depends only on the seed and on earlier ids for the label.
    fn id(&mut self, prefix: &str, label: &str) -> String {
        let count = self.made.entry(label.to_owned()).or_default();
        *count += 1;
        id(self.params.seed, prefix, label, *count)
    }

    fn emit(&mut self, kind: &EventKind, contents: Content) {
        let id = self.id("evt_", kind.as_str());
        let (now, shape) = (self.now, self.params.shape);
        let (object, previous) = contents.render(shape);
        self.events.push(envelope::snapshot(&id, kind, now, shape, &object, previous));
        self.contents.push(contents);
    }

    /// Changes the subscription at an index, and makes an event if something changed.
    fn update(&mut self, place: usize, change: impl FnOnce(&mut SampleSubscription)) {
        let before = self.subscriptions[place].clone();
        change(&mut self.subscriptions[place]);
        let after = self.subscriptions[place].clone();
        if before != after {
            self.emit(&EventKind::SubscriptionUpdated, Content::changed(before, after));
        }
    }

    /// Makes an event with the subscription's state that does not say what changed.
    fn emit_subscription(&mut self, place: usize, kind: &EventKind) {
        self.emit(kind, Content::subscription(self.subscriptions[place].clone()));
    }

    fn emit_invoice(&mut self, place: usize, kind: &EventKind) {
        self.emit(kind, Content::invoice(self.invoices[place].clone()));
    }

    /// Whether its last subscription is live.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.live().is_some()
    }

    /// Whether its live subscription has this price.
    #[must_use]
    pub fn buys(&self, price: &SamplePrice) -> bool {
        self.live().is_some_and(|place| self.subscriptions[place].price.id == price.id)
    }

    /// The index of the last subscription, if it is live.
    fn live(&self) -> Option<usize> {
        let last = self.subscriptions.len().checked_sub(1)?;
        (self.subscriptions[last].ended_at.is_none()).then_some(last)
    }
}

fn id(seed: u64, prefix: &str, label: &str, number: u32) -> String {
    Entropy::of(seed, &[label, &number.to_string()]).id(prefix)
}
