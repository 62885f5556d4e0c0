//! Which customers are being processed. Events of one customer are processed serially and
//! coalesced.
//!
//! Processing reads all events of a customer. So an event that arrives meanwhile starts no second
//! task: the running one processes the customer once more. Customers beyond [`CUSTOMERS_MAX`] wait
//! in the inbox.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::gateway::Gateway;
use crate::ports::{Background, Platform};
use crate::shared::Shared;

/// Customers that are processed at once because of a delivery. The job processes the others, so
/// that a slow Stripe leaves room for other calls.
const CUSTOMERS_MAX: usize = 6;
/// Stands for the unassigned events, which name no customer yet.
pub(crate) const UNASSIGNED: &str = "";

/// Customers that are being processed, and whether an event arrived meanwhile.
#[derive(Debug, Default)]
pub(crate) struct InFlight(Mutex<HashMap<String, bool>>);

/// The exclusive right to process a customer, until processing is over or this is dropped.
pub(crate) struct Slot {
    shared: Arc<Shared>,
    customer: String,
    is_over: bool,
}

impl InFlight {
    fn all(&self) -> MutexGuard<'_, HashMap<String, bool>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has_room(&self) -> bool {
        self.all().len() < CUSTOMERS_MAX
    }

    /// Whether the caller may process the customer. If another task does already, that task
    /// processes the customer once more.
    fn begin(&self, customer: &str) -> bool {
        let mut all = self.all();
        match all.get_mut(customer) {
            Some(again) => {
                *again = true;
                false
            }
            None => {
                all.insert(customer.to_owned(), false);
                true
            }
        }
    }

    /// Whether an event arrived meanwhile; if none did, the customer is no longer in flight.
    fn again(&self, customer: &str) -> bool {
        let mut all = self.all();
        let again = all.get_mut(customer).is_some_and(std::mem::take);
        if !again {
            all.remove(customer);
        }
        again
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        // Once this slot is over, the entry may belong to another slot.
        if !self.is_over {
            self.shared.in_flight.all().remove(&self.customer);
        }
    }
}

impl<P: Platform> Gateway<P> {
    /// Processes a customer's events in the background ([`UNASSIGNED`]: those without a customer).
    /// If too many customers are in flight, the events wait for the job.
    pub(crate) fn process_soon(&self, customer: &str) {
        let in_flight = &self.shared.in_flight;
        let is_running = in_flight.all().contains_key(customer);
        if !is_running && !in_flight.has_room() {
            return;
        }
        if let Some(slot) = self.processing_slot(customer) {
            let work = self.clone();
            self.background.spawn(async move { work.process_in_slot(slot).await });
        }
    }

    /// Processes a customer's events now, unless another task does.
    pub(super) async fn process_exclusively(&self, customer: &str) {
        if let Some(slot) = self.processing_slot(customer) {
            self.process_in_slot(slot).await;
        }
    }

    fn processing_slot(&self, customer: &str) -> Option<Slot> {
        let begins = self.shared.in_flight.begin(customer);
        let slot = || Slot {
            shared: Arc::clone(&self.shared),
            customer: customer.to_owned(),
            is_over: false,
        };
        begins.then(slot)
    }

    async fn process_in_slot(&self, mut slot: Slot) {
        while !slot.is_over {
            match slot.customer.as_str() {
                UNASSIGNED => self.assign_unassigned_events().await,
                customer => {
                    self.process_customer(customer).await;
                }
            }
            slot.is_over = !self.shared.in_flight.again(&slot.customer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_that_arrive_while_a_customer_is_processed_cause_one_more_round() {
        let all = InFlight::default();
        assert!(all.begin("cus_1"));
        assert!(!all.begin("cus_1") && !all.begin("cus_1"), "one at a time");
        assert!(all.again("cus_1"), "two arrived: one more round");
        assert!(!all.again("cus_1"), "none arrived since");
        assert!(all.begin("cus_1"), "processing is over");
    }

    #[test]
    fn at_most_customers_max_are_in_flight() {
        let all = InFlight::default();
        for customer in 0..CUSTOMERS_MAX {
            assert!(all.has_room());
            assert!(all.begin(&customer.to_string()));
        }
        assert!(!all.has_room());
        assert!(!all.again("0") && all.has_room());
    }
}
