//! Stripe's events: `/admin/v1/stripe/events`, and the invoices that they told of.

pub(super) mod events;
pub(super) mod invoices;
pub(super) mod replay;
