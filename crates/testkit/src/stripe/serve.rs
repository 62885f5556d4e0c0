//! The double on a socket of this machine.

use std::net::SocketAddr;

use super::StripeDouble;
use crate::serving::{Serving, status};

/// A double that listens until this is dropped.
#[derive(Debug)]
pub struct Served {
    /// Where.
    pub address: SocketAddr,
    _serving: Serving,
}

/// Puts a double on a free port of this machine.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn serve(double: StripeDouble) -> Served {
    // Unanswered, the server says 500: as good as a broken connection.
    let serving =
        Serving::start(move |request| double.answer(&request).unwrap_or_else(|| status(500)));
    Served { address: serving.address(), _serving: serving }
}
