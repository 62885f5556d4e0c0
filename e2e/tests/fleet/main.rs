//! Several gateways on one PostgreSQL: a cap is the fleet's (I4), whatever dies on the way (I1), and
//! what one changes the others know within a second (I5).

#[path = "../support"]
mod support {
    #[expect(dead_code, reason = "this test's backend only answers")]
    pub(crate) mod backend;
    #[expect(dead_code, reason = "the reference backend is another test's matter")]
    pub(crate) mod fleet;
    pub(crate) mod metered;
    pub(crate) mod process;
}
mod authority;
mod cap;
mod held;
mod outage;
mod revocation;

/// Limits that no test here is about.
const CONFIG: &str = "[limits]\naddress_requests_per_minute = 1000000\n\
                      address_ceiling_per_minute = 100000000\n";
