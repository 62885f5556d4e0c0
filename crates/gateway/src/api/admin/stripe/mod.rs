//! Admin routes for Stripe: events, invoices, links to Stripe's pages, usage reports,
//! reconciliation.

pub(super) mod checkout;
pub(super) mod disputes;
pub(super) mod events;
mod failure;
pub(super) mod invoices;
pub(super) mod portal;
pub(super) mod reconcile;
pub(super) mod replay;
pub(super) mod reports;
pub(super) mod upcoming;
