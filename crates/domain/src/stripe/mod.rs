//! Stripe's side of the house, as plain functions: what an event says, what follows from all of
//! them, and what Stripe is told of usage.
//!
//! Events come at least once, in any order, in the shape of whatever API version the endpoint is
//! set to. So nothing here depends on the order of arrival: a subscription's state is a fold over
//! the *set* of its events ([`fold`]), an invoice's a join ([`invoices`]), an organization's
//! standing a function of both ([`account`]). Storing, fetching and sending are the hosts'.

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
