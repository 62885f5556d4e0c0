//! What a running gateway must do, seen from outside: HTTP and the admin API, nothing else.
//!
//! The same cases run against every host. Each makes organizations and keys of its own, so that
//! they run side by side, in any order, against a gateway that holds other data. None sleeps: what
//! is eventual is polled until a deadline ([`poll`]). A case is an ordinary function that panics
//! when the gateway is wrong; [`cases::CASES`] is the one list of them.

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
