//! Properties that must hold for any input from outside, one module per parser.
//!
//! Each `check` panics when a property does not hold. The fuzzer calls the checks
//! (`fuzz/fuzz_targets`), and so does an ordinary test over the corpora, earlier findings and
//! thousands of mutations of both.

pub mod addresses;
pub mod audit_head;
pub mod config;
pub mod framing;
pub mod head_filter;
pub mod headers;
pub mod idempotency_key;
pub mod ids;
pub mod key;
mod lines;
pub mod path_route;
pub mod rate_limit;
pub mod stripe_event;
pub mod stripe_signature;
pub mod times;

/// A check of any bytes.
pub type Check = fn(&[u8]);

/// All checks by name, which is also the folder of the corpus.
pub const ALL: [(&str, Check); 14] = [
    ("addresses", addresses::check),
    ("audit_head", audit_head::check),
    ("config", config::check),
    ("framing", framing::check),
    ("head_filter", head_filter::check),
    ("headers", headers::check),
    ("idempotency_key", idempotency_key::check),
    ("ids", ids::check),
    ("key", key::check),
    ("path_route", path_route::check),
    ("rate_limit", rate_limit::check),
    ("stripe_event", stripe_event::check),
    ("stripe_signature", stripe_signature::check),
    ("times", times::check),
];
