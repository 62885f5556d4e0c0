//! The black-box suite: what a running gateway must do, seen through HTTP and the admin API only.
//!
//! The same cases run against every host. Each case makes its organizations and keys, so cases run
//! concurrently, in any order, against a gateway with other data. No case sleeps: eventual effects
//! are polled until a deadline ([`poll`]). A case is a function that panics when the gateway is
//! wrong;
//! [`cases::CASES`] lists them.

pub mod admin;
pub mod answer;
pub mod cases;
pub mod life;
pub mod poll;
pub mod raw;
pub mod runner;
pub mod signatures;
pub mod target;

pub use runner::{Case, Turn};
pub use target::Target;
