//! Several gateways on one PostgreSQL: a cap holds for the fleet (I4), also through crashes (I1),
//! and the others learn a change within a second (I5).

#[path = "../support"]
mod support {
    #[expect(dead_code, reason = "a backend that misbehaves otherwise is another test's matter")]
    pub(crate) mod backend;
    pub(crate) mod documents;
    #[expect(dead_code, reason = "the reference backend is another test's matter")]
    pub(crate) mod fleet;
    pub(crate) mod metered;
    pub(crate) mod metrics;
    pub(crate) mod process;
}
mod backup;
mod cap;
mod documents;
mod held;
mod journal;
mod keyed;
mod ledger_host;
mod outage;
mod revocation;
mod rights;

/// Rate limits so high that no test here reaches them.
const CONFIG: &str = "[limits]\naddress_requests_per_minute = 1000000\n\
                      address_ceiling_per_minute = 100000000\n";

/// Acknowledged units that are missing in the ledger.
fn lost<'a>(fleet: &support::fleet::Fleet, receipts: &'a [String]) -> Vec<&'a String> {
    let known = fleet.sql("select 'use_' || id from driftlock.usage_events where not voided");
    let plain = |id: &str| id.replace('-', "");
    let known: std::collections::HashSet<String> = known.lines().map(plain).collect();
    receipts.iter().filter(|receipt| !known.contains(&plain(receipt))).collect()
}
