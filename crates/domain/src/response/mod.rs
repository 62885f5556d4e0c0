//! A backend's response as an HTTP/1.1 message: how its body is delimited, which of its framing
//! headers may be passed on or stored, and whether its connection may carry another request.
//!
//! Invariant: a header that delimits a body never passes from one connection to another. The
//! gateway reads a body by the backend's framing, drops that framing, and states a new one for the
//! body that it sends. Otherwise a wrong length would shift the following responses, and one
//! customer would read data of another.

mod framing;
mod reuse;

pub use framing::{BodyFraming, Clarity, MalformedResponse, ResponseFraming, is_framing};
pub use reuse::{REST, Reuse, UNTRUSTED_FOR, is_stray, reuse};
