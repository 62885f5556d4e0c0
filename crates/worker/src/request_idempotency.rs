//! The state of one request's idempotency key, which saves calls of the object: admission also
//! returns the key's record, and settling also stores the answer and ends the claim.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use driftlock_domain::idempotency::{Claimed, Kept};

/// See the module; clones share the state.
#[derive(Clone, Default)]
pub(crate) struct RequestIdempotency(Rc<Inner>);

#[derive(Default)]
struct Inner {
    /// The record that admission returned; taken by its first reader.
    found: RefCell<Option<Claimed>>,
    /// Whether the object still holds the claim.
    in_flight: Cell<bool>,
}

impl RequestIdempotency {
    /// Records that admission claimed the key and returned this record of it.
    pub(crate) fn admitted(&self, kept: Option<Kept>) {
        self.0.found.replace(Some(kept.into()));
        self.0.in_flight.set(true);
    }

    /// The record that admission returned, once: later it may have changed.
    pub(crate) fn found(&self) -> Option<Claimed> {
        self.0.found.take()
    }

    pub(crate) fn is_in_flight(&self) -> bool {
        self.0.in_flight.get()
    }

    /// Records that the object ended the claim.
    pub(crate) fn ended(&self) {
        self.0.in_flight.set(false);
    }
}
