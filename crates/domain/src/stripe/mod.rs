//! Billing by Stripe as pure functions: reading events, computing the billing state from all
//! events, and computing the usage to report.
//!
//! Stripe delivers an event at least once, in any order, in the shape of the endpoint's API
//! version. So nothing here depends on the order of arrival: a subscription's state is a fold over
//! the *set* of its events ([`fold`]), an invoice's state is a join ([`invoices`]), and an
//! organization's billing state is a function of both ([`account`]). The hosts store, fetch and
//! send.

pub mod account;
pub mod api;
pub mod apply;
pub mod chain;
pub mod clearing;
pub mod delivery;
pub mod event;
pub mod expendable;
pub mod file;
pub mod fold;
pub mod idempotency;
pub mod invoices;
pub mod meter;
pub mod object;
pub mod patience;
pub mod prices;
pub mod sample;
pub mod signature;
pub mod subscription;
pub mod transition;

#[cfg(test)]
#[path = "tests/property.rs"]
mod property;
