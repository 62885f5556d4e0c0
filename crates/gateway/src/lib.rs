//! The request flow and the admin API, over ports that hosts and stores implement.
//!
//! This crate depends on no async runtime: the same code runs on the native server's event loops
//! (one for each core) and in a Worker's isolate. Decisions are made in `driftlock-domain`; this
//! crate calls them in order and does the I/O.

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
