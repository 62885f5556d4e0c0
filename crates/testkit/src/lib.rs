//! The conformance suite that every store passes, and tools for tests: a virtual clock, makers of
//! ordinary records, real PostgreSQL, PostgREST and Redis, a double of Stripe, and a gateway in
//! virtual time.

pub mod clock;
pub mod conformance;
pub mod http;
pub mod jwt;
pub mod make;
pub mod may_call;
pub mod node;
mod port;
pub mod postgres;
pub mod redis;
mod serving;
pub mod sim;
pub mod stripe;
pub mod supabase;
