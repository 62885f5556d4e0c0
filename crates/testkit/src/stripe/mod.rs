//! A double of Stripe, since its servers cannot be had: customers, subscriptions, invoices and meters
//! in the shapes that Stripe publishes, with its rules for identifiers and idempotency keys, and the
//! ways in which it fails, chosen by a seed.
//!
//! Lives ([`Life`]) happen to it; what they come to is the truth that a gateway is held against.
//! It answers requests as values; [`serve`] puts it on a socket. What happens it delivers to its
//! endpoints, over a network that loses, doubles, delays and reorders.

mod answer;
mod deliver;
mod endpoint;
mod faults;
mod happening;
mod meter;
mod network;
mod routes;
mod serve;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use driftlock_domain::period::Period;
use driftlock_domain::stripe::sample::{Entropy, Life};
use driftlock_domain::time::Timestamp;
use http::{Request, Response};
use serde_json::Value;

pub use deliver::Deliveries;
pub use endpoint::Endpoint;
pub use faults::{Fault, Faults};
pub use happening::{PAUSE_SECS_MAX, something_happens, time_passes, truth};
pub use meter::MeterEvent;
pub use network::{Attempt, Fate, Network, Outcome};
pub use serve::{Served, serve};

/// The event name of its only meter.
pub const METER_EVENT_NAME: &str = "driftlock_units";
/// The secret key that it takes.
pub const SECRET_KEY: &str = "sk_test_of_the_double";

/// The double; clones are the same one.
#[derive(Clone)]
pub struct StripeDouble(Arc<Mutex<State>>);

struct State {
    clock: Box<dyn Fn() -> Timestamp + Send>,
    entropy: Entropy,
    lives: BTreeMap<String, Life>,
    /// Customers that were made by a call: the organization that each names.
    customers: BTreeMap<String, String>,
    charges: HashMap<String, String>,
    /// Thin events as they are fetched, by id.
    fetchable: HashMap<String, Value>,
    meter: meter::Meter,
    answered: HashMap<String, answer::Kept>,
    faults: Faults,
    outage: Option<Period>,
    calls: Vec<String>,
    endpoints: Vec<Endpoint>,
    network: Network<deliver::Notice>,
    /// How many events of each life were given to the network.
    told: BTreeMap<String, usize>,
    deliveries: Deliveries,
}

impl StripeDouble {
    /// A double to which nothing has happened, by this clock.
    pub fn new(seed: u64, clock: impl Fn() -> Timestamp + Send + 'static) -> Self {
        Self(Arc::new(Mutex::new(State {
            clock: Box::new(clock),
            entropy: Entropy::new(seed),
            lives: BTreeMap::new(),
            customers: BTreeMap::new(),
            charges: HashMap::new(),
            fetchable: HashMap::new(),
            meter: meter::Meter::default(),
            answered: HashMap::new(),
            faults: Faults::none(),
            outage: None,
            calls: Vec::new(),
            endpoints: Vec::new(),
            network: Network::new(seed, deliver::AT_ONCE),
            told: BTreeMap::new(),
            deliveries: Deliveries::default(),
        })))
    }

    /// From now on it knows this customer, as the life has come; its endpoints are told of what is new.
    pub fn put(&self, life: &Life) {
        let mut state = self.state();
        state.lives.insert(life.customer().to_owned(), life.clone());
        state.tell(life.customer());
    }

    /// A charge of a customer, as a dispute names it.
    pub fn put_charge(&self, charge: &str, customer: &str) {
        self.state().charges.insert(charge.to_owned(), customer.to_owned());
    }

    /// A thin event, with the data that it is fetched with.
    pub fn put_event(&self, fetched: Value) {
        let id = fetched["id"].as_str().unwrap_or_default().to_owned();
        self.state().fetchable.insert(id, fetched);
    }

    /// How it fails from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.state().faults = faults;
    }

    /// When it is away altogether.
    pub fn set_outage(&self, outage: Option<Period>) {
        self.state().outage = outage;
    }

    /// Every call so far, as `METHOD /path`.
    #[must_use]
    pub fn calls(&self) -> Vec<String> {
        self.state().calls.clone()
    }

    /// Customers that were made by calls.
    #[must_use]
    pub fn customers(&self) -> Vec<String> {
        self.state().customers.keys().cloned().collect()
    }

    /// Every meter event that it took.
    #[must_use]
    pub fn meter_events(&self) -> Vec<MeterEvent> {
        self.state().meter.events().to_vec()
    }

    /// The sum of a customer's meter events whose time lies in a period.
    #[must_use]
    pub fn metered(&self, customer: &str, period: Period) -> i64 {
        self.state().meter.sum(customer, period)
    }

    /// Answers a request; `None` when the connection breaks instead.
    #[must_use]
    pub fn answer(&self, request: &Request<Bytes>) -> Option<Response<Bytes>> {
        answer::answer(&mut self.state(), request)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
