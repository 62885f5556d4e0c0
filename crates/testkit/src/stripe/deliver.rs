//! Delivers the events of the double's lives to every endpoint, through a
//! [`Network`](super::Network).

use std::collections::BTreeMap;
use std::thread;

use serde_json::Value;

use super::{Endpoint, Fate, Outcome, State, StripeDouble};

/// The most attempts in one round.
pub(super) const AT_ONCE: usize = 8;
/// After so many refused attempts the test fails: the endpoint will never accept the delivery.
const ATTEMPTS_MAX: u32 = 64;

/// An event on its way to an endpoint.
#[derive(Debug, Clone)]
pub(super) struct Notice {
    endpoint: usize,
    event: Value,
}

/// Counts of the attempts so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Deliveries {
    /// Attempts, by what the network did to them.
    pub fates: BTreeMap<Fate, u64>,
    /// Answers that came back, by status.
    pub answers: BTreeMap<u16, u64>,
    /// Attempts that arrived at no server, although the network would have returned an answer.
    pub unanswered: u64,
}

impl StripeDouble {
    /// Adds an endpoint, to which later events are delivered.
    pub fn add_endpoint(&self, endpoint: Endpoint) {
        self.state().endpoints.push(endpoint);
    }

    /// How many deliveries were accepted.
    #[must_use]
    pub fn taken(&self) -> u64 {
        let answers = &self.state().deliveries.answers;
        answers.range(200..300).map(|(_, count)| count).sum()
    }

    /// Makes one round of concurrent deliveries; returns whether some are still in transit.
    ///
    /// # Panics
    /// If an endpoint refuses a delivery [`ATTEMPTS_MAX`] times.
    pub fn deliver(&self) -> bool {
        let (attempts, endpoints, now) = {
            let mut state = self.state();
            let now = (state.clock)();
            (state.network.round(), state.endpoints.clone(), now)
        };
        // Do not hold the double's lock: the receiver of a delivery may call the double.
        thread::scope(|scope| {
            for attempt in attempts {
                let Notice { endpoint, event } = attempt.what;
                let endpoint = &endpoints[endpoint];
                scope.spawn(move || {
                    let status = endpoint.attempt(&event, now, attempt.fate);
                    self.state().report(attempt.number, attempt.fate, status);
                });
            }
        });
        let attempts = self.state().network.attempts();
        assert!(attempts < Some(ATTEMPTS_MAX), "refused again and again: {:?}", self.deliveries());
        attempts.is_some()
    }

    /// Counts of the attempts so far.
    #[must_use]
    pub fn deliveries(&self) -> Deliveries {
        let state = self.state();
        Deliveries { fates: state.network.fates().clone(), ..state.deliveries.clone() }
    }
}

impl State {
    /// Sends a customer's new events to every endpoint.
    pub(super) fn send_new_events(&mut self, customer: &str) {
        let Some(life) = self.lives.get(customer) else { return };
        let sent = self.sent.insert(customer.to_owned(), life.events().len()).unwrap_or(0);
        for place in sent..life.events().len() {
            for (endpoint, of) in self.endpoints.iter().enumerate() {
                if let Some(event) = life.event_at(place, of.api_version) {
                    self.network.carry(Notice { endpoint, event });
                }
            }
        }
    }

    fn report(&mut self, number: u64, fate: Fate, status: Option<u16>) {
        let outcome = match (status, fate) {
            (Some(200..=299), _) => Outcome::Taken,
            (None, Fate::Answered | Fate::Doubled) => Outcome::Away,
            (_, _) => Outcome::Untaken,
        };
        self.network.report(number, outcome);
        self.deliveries.unanswered += u64::from(outcome == Outcome::Away);
        if let Some(status) = status {
            *self.deliveries.answers.entry(status).or_default() += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use bytes::Bytes;
    use driftlock_domain::stripe::sample::{ApiShape, Life, LifeParams, SamplePrice, Scenario};
    use driftlock_domain::stripe::signature::{Secrets, verify};
    use driftlock_gateway::ports::Clock;
    use http::Request;

    use super::*;
    use crate::clock::VirtualClock;
    use crate::make::now;
    use crate::serving::{Serving, status};

    const SECRETS: [&str; 2] =
        ["whsec_the_old_one_0123456789abcdef", "whsec_the_new_one_0123456789abcdef"];

    fn life() -> Life {
        let price = |plan: &str| SamplePrice { id: format!("price_{plan}"), cents: 4_900 };
        Scenario::PaymentFailure.life(LifeParams {
            seed: 1,
            shape: ApiShape::Basil,
            livemode: false,
            organization: "org_00000000000000000000000000000001".to_owned(),
            customer: None,
            price: price("standard"),
            upgrade: price("growth"),
            start: now(),
        })
    }

    /// An endpoint that notes each event's signatures in order, and refuses each event once.
    type Came = BTreeMap<String, Vec<String>>;

    fn endpoint(clock: &VirtualClock, came: &Arc<Mutex<Came>>) -> Serving {
        let (clock, came) = (clock.clone(), Arc::clone(came));
        Serving::start(move |request: Request<Bytes>| {
            let header = request.headers()["stripe-signature"].to_str().expect("text").to_owned();
            let is_signed = SECRETS.into_iter().all(|secret| {
                let secret = Secrets::parse(secret).expect("well-formed");
                verify(&header, request.body(), clock.now().secs(), &secret).is_ok()
            });
            let event: Value = serde_json::from_slice(request.body()).expect("JSON");
            if !is_signed || event["api_version"] != ApiShape::Y2024.as_str() {
                return status(400);
            }
            let mut came = came.lock().expect("no panic holds it");
            let of_it = came.entry(event["id"].as_str().expect("an id").to_owned()).or_default();
            of_it.push(header);
            status(if of_it.len() == 1 { 500 } else { 200 })
        })
    }

    #[test]
    fn a_refused_delivery_is_repeated_with_a_new_signature() {
        let (clock, came) = (VirtualClock::at(now()), Arc::<Mutex<Came>>::default());
        let serving = endpoint(&clock, &came);
        let double = StripeDouble::new(3, {
            let clock = clock.clone();
            move || clock.now()
        });
        let life = life();
        double.add_endpoint(Endpoint {
            address: serving.address().to_string(),
            path: "/webhooks/stripe".to_owned(),
            secrets: SECRETS.map(str::to_owned).to_vec(),
            api_version: ApiShape::Y2024,
        });
        double.put(&life);
        double.put(&life);
        while double.deliver() {
            // The signature of an earlier attempt would be too old.
            clock.advance(Duration::from_secs(3_600));
        }
        let came = came.lock().expect("no panic holds it");
        let sent: BTreeSet<&str> =
            life.events().iter().filter_map(|event| event["id"].as_str()).collect();
        assert_eq!(came.keys().map(String::as_str).collect::<BTreeSet<_>>(), sent);
        assert!(came.values().all(|signatures| signatures.len() > 1), "{came:?}");
        assert_eq!(double.taken(), sent.len() as u64, "{:?}", double.deliveries());
        let answers = double.deliveries().answers;
        assert_eq!(answers.keys().collect::<Vec<_>>(), [&200, &500], "{answers:?}");
    }
}
