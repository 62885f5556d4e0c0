//! The native host: the gateway on a thread per core, over TCP and its choice of store.
//!
//! The host only connects the parts; all decisions are made in the gateway crate. The entry point
//! is [`platform::serve`]; [`environment`] reads the environment's variables.

mod activity;
mod background;
mod client_stream;
mod clients;
mod clock;
mod connection;
mod connection_limiter;
mod core;
mod descriptors;
mod entropy;
mod environment;
mod http_client;
mod journal;
mod listen;
pub(crate) mod log;
mod platform;
mod serve;
mod socket;
mod store_http;
mod supabase;
mod tunnel;
mod unwanted;
mod upstream;

pub(crate) use clock::NativeClock;

pub(crate) use environment::{
    BACKEND_URL, DATABASE_URL, Environment, EnvironmentError, REDIS_URL, SUPABASE_URL, StoreUrl,
};
pub(crate) use journal::Journal;
pub(crate) use platform::{NativeStore, SharedStore, serve};
pub(crate) use serve::{Addresses, AdminListen, Setup, stop_signal};
pub(crate) use store_http::StoreHttp;
pub(crate) use supabase::open as open_supabase;
pub(crate) use upstream::Backends;
