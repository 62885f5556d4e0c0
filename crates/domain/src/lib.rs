//! Everything the gateway decides, as plain functions over plain data.
//!
//! No async, no clock, no randomness, no I/O: time and entropy are arguments, so that one set of
//! tests covers the native server and the Worker alike. The hosts perform the effects, and
//! `driftlock-gateway` decides in which order.

pub mod address;
pub mod alert;
pub mod audit;
pub mod cell;
pub mod config;
pub mod cors;
pub mod denial;
pub mod entitlement;
pub mod filter;
pub mod fleet;
pub mod framing;
pub mod headers;
pub mod id;
pub mod idempotency;
pub mod invoice;
pub mod key;
pub mod lease;
pub mod ledger_host;
pub mod limit;
pub mod log_limit;
pub mod mask;
pub mod money;
pub mod organization;
pub mod period;
pub mod plan;
pub mod problem;
pub mod purchases;
pub mod quota;
pub mod receipt;
pub mod request;
pub mod request_framing;
pub mod response;
pub mod rewrite;
pub mod route;
pub mod shipment;
pub mod store_file;
pub mod stripe;
pub mod text;
pub mod time;
pub mod trusted_time;
pub mod usage;
pub mod websocket;
