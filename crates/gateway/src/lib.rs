//! The flow of a request, and the admin API, over ports that hosts and stores implement.
//!
//! Runtime-free: the same code runs on the native server's per-core loops and in a Worker's
//! isolate. What is decided is decided in `driftlock-domain`; here it is strung together.

mod admin_token;
mod api;
mod audit;
mod buffers;
mod cache;
mod cached_lookup;
mod cells;
mod cors;
mod fleet_cells;
mod gateway;
mod health;
mod intern;
mod jobs;
mod keys;
mod lookups;
pub mod memory;
mod metrics;
pub mod ports;
mod proxy;
mod reply;
mod schedule;
mod shared;
mod shield;
mod single_source;
mod streams;
mod stripe;
mod thresholds;
mod webhook;

pub use admin_token::{AdminTokens, MalformedAdminToken};
pub use buffers::{Buffers, Copies, Gathered, NoRoom, Share};
pub use cells::LocalCells;
pub use fleet_cells::FleetCells;
pub use gateway::{Gateway, Listener, Parts};
pub use metrics::{FleetGauges, JournalGauges};
pub use shared::{Secrets, Shared};
