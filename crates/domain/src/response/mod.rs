//! A backend's answer as a message of HTTP/1.1: how its body is delimited, what of that may be
//! passed on or kept, and whether the connection that it came over may carry another request.
//!
//! Invariant: a header that delimits a body never goes from one connection to another. The gateway
//! reads a body by the backend's framing, drops that framing, and states a new one from the body
//! that it really sends. Otherwise a wrong length would shift the answers behind it, and one
//! customer would read what belongs to another.

mod framing;
mod reuse;

pub use framing::{BodyFraming, Clarity, MalformedResponse, ResponseFraming, is_framing};
pub use reuse::{REST, Reuse, UNTRUSTED_FOR, is_stray, reuse};
