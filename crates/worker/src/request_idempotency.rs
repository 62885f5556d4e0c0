//! What one request learns of its idempotency key along with other answers, so that its object is asked
//! once for each step: admission says what is kept of the key, settling keeps the answer and ends the claim.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use driftlock_domain::idempotency::{Claimed, Kept};

/// See the module; clones are the same one.
#[derive(Clone, Default)]
pub(crate) struct RequestIdempotency(Rc<Inner>);

#[derive(Default)]
struct Inner {
    /// What admission found; taken by whoever asks.
    found: RefCell<Option<Claimed>>,
    /// Whether the object still counts the key as in flight.
    in_flight: Cell<bool>,
}

impl RequestIdempotency {
    /// Admission claimed the key, and found this of it.
    pub(crate) fn admitted(&self, kept: Option<Kept>) {
        self.0.found.replace(Some(kept.into()));
        self.0.in_flight.set(true);
    }

    /// What admission found, once: later it may be otherwise.
    pub(crate) fn found(&self) -> Option<Claimed> {
        self.0.found.take()
    }

    pub(crate) fn is_in_flight(&self) -> bool {
        self.0.in_flight.get()
    }

    /// The object knows that the claim is over.
    pub(crate) fn ended(&self) {
        self.0.in_flight.set(false);
    }
}
