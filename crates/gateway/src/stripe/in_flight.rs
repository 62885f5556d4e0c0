//! Which customers are being processed: each once at a time, however many events of it come.
//!
//! What comes in between is taken up by whoever is at it already, since processing reads everything
//! there is. So events of one customer cost one reading after the other, never one each at once; and
//! what has no place waits in the inbox.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::gateway::Gateway;
use crate::ports::{Background, Platform};
use crate::shared::Shared;

/// Customers that deliveries have processed at once; the others are taken up by the job, so that a
/// Stripe that hangs leaves room for its other calls.
const CUSTOMERS_MAX: usize = 6;
/// Stands for the events of which nobody knows whose they are.
pub(crate) const UNASSIGNED: &str = "";

/// Customers that are being processed, and whether something came meanwhile.
#[derive(Debug, Default)]
pub(crate) struct InFlight(Mutex<HashMap<String, bool>>);

/// A customer's turn, until it is over or given up.
pub(crate) struct Turn {
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

    /// Whether the customer's turn begins; where somebody is at it, they go on once more.
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

    /// Whether something came meanwhile; if nothing did, the turn is over.
    fn again(&self, customer: &str) -> bool {
        let mut all = self.all();
        let again = all.get_mut(customer).is_some_and(std::mem::take);
        if !again {
            all.remove(customer);
        }
        again
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        // Once it is over, the entry may be another turn's.
        if !self.is_over {
            self.shared.in_flight.all().remove(&self.customer);
        }
    }
}

impl<P: Platform> Gateway<P> {
    /// Has a customer's events processed in the background, unless there is too much of that; then
    /// they are taken up soon. For [`UNASSIGNED`], those of which nobody knows whose they are.
    pub(crate) fn process_soon(&self, customer: &str) {
        let in_flight = &self.shared.in_flight;
        let is_at_it = in_flight.all().contains_key(customer);
        if !is_at_it && !in_flight.has_room() {
            return;
        }
        if let Some(turn) = self.turn(customer) {
            let work = self.clone();
            self.background.spawn(async move { work.take_turn(turn).await });
        }
    }

    /// Processes a customer's events now, unless somebody is at it.
    pub(super) async fn process_in_turn(&self, customer: &str) {
        if let Some(turn) = self.turn(customer) {
            self.take_turn(turn).await;
        }
    }

    fn turn(&self, customer: &str) -> Option<Turn> {
        let begins = self.shared.in_flight.begin(customer);
        let turn = || Turn {
            shared: Arc::clone(&self.shared),
            customer: customer.to_owned(),
            is_over: false,
        };
        begins.then(turn)
    }

    async fn take_turn(&self, mut turn: Turn) {
        while !turn.is_over {
            match turn.customer.as_str() {
                UNASSIGNED => self.assign_unassigned_events().await,
                customer => {
                    self.process_customer(customer).await;
                }
            }
            turn.is_over = !self.shared.in_flight.again(&turn.customer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_meanwhile_is_one_more_round_of_whoever_is_at_it() {
        let all = InFlight::default();
        assert!(all.begin("cus_1"));
        assert!(!all.begin("cus_1") && !all.begin("cus_1"), "one at a time");
        assert!(all.again("cus_1"), "two came: one round more");
        assert!(!all.again("cus_1"), "and no other");
        assert!(all.begin("cus_1"), "it is over");
    }

    #[test]
    fn there_is_room_for_so_many() {
        let all = InFlight::default();
        for customer in 0..CUSTOMERS_MAX {
            assert!(all.has_room());
            assert!(all.begin(&customer.to_string()));
        }
        assert!(!all.has_room());
        assert!(!all.again("0") && all.has_room());
    }
}
