//! Serves the double on a local socket.

use std::net::SocketAddr;

use super::StripeDouble;
use crate::serving::{Serving, status};

/// A server of the double; it stops when this is dropped.
#[derive(Debug)]
pub struct Served {
    /// Its address.
    pub address: SocketAddr,
    _serving: Serving,
}

/// Serves a double on a free local port.
///
/// # Panics
/// If there is no free port.
#[must_use]
pub fn serve(double: StripeDouble) -> Served {
    // If the double gives no answer, the server sends 500, which has the same effect as a broken
    // connection.
    let serving =
        Serving::start(move |request| double.answer(&request).unwrap_or_else(|| status(500)));
    Served { address: serving.address(), _serving: serving }
}
