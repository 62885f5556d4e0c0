//! A double of Stripe for tests: customers, subscriptions, invoices and meters in the shapes that
//! Stripe publishes, with its rules for identifiers and idempotency keys. A seed chooses its
//! faults.
//!
//! The double contains lives ([`Life`]); their final state is the truth that a gateway is compared
//! with. It answers requests as values; [`serve`] puts it on a socket. It delivers events to its
//! endpoints over a network that loses, doubles, delays and reorders them.

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
/// The secret key that it accepts.
pub const SECRET_KEY: &str = "sk_test_of_the_double";

/// The double; clones share one state.
#[derive(Clone)]
pub struct StripeDouble(Arc<Mutex<State>>);

struct State {
    clock: Box<dyn Fn() -> Timestamp + Send>,
    entropy: Entropy,
    lives: BTreeMap<String, Life>,
    /// Customers that a call created, with the organization that each names.
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
    sent: BTreeMap<String, usize>,
    deliveries: Deliveries,
}

impl StripeDouble {
    /// An empty double with this clock.
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
            sent: BTreeMap::new(),
            deliveries: Deliveries::default(),
        })))
    }

    /// Sets a customer to the present state of its life, and sends its new events to the endpoints.
    pub fn put(&self, life: &Life) {
        let mut state = self.state();
        state.lives.insert(life.customer().to_owned(), life.clone());
        state.send_new_events(life.customer());
    }

    /// Adds a charge of a customer, which a dispute names.
    pub fn put_charge(&self, charge: &str, customer: &str) {
        self.state().charges.insert(charge.to_owned(), customer.to_owned());
    }

    /// Adds a thin event with its data, to be fetched.
    pub fn put_event(&self, fetched: Value) {
        let id = fetched["id"].as_str().unwrap_or_default().to_owned();
        self.state().fetchable.insert(id, fetched);
    }

    /// Sets the faults of later calls.
    pub fn set_faults(&self, faults: Faults) {
        self.state().faults = faults;
    }

    /// Sets the time in which it answers nothing.
    pub fn set_outage(&self, outage: Option<Period>) {
        self.state().outage = outage;
    }

    /// Every call so far, as `METHOD /path`.
    #[must_use]
    pub fn calls(&self) -> Vec<String> {
        self.state().calls.clone()
    }

    /// Customers that calls created.
    #[must_use]
    pub fn customers(&self) -> Vec<String> {
        self.state().customers.keys().cloned().collect()
    }

    /// Every accepted meter event.
    #[must_use]
    pub fn meter_events(&self) -> Vec<MeterEvent> {
        self.state().meter.events().to_vec()
    }

    /// The sum of a customer's meter events in a period.
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
