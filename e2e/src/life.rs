//! Simulated customer lives at Stripe, on the plans of the tests' configuration.

use std::time::Duration;

use driftlock_domain::stripe::sample::{ApiShape, LifeParams, SamplePrice};
use driftlock_domain::time::Timestamp;
use time::OffsetDateTime;

/// The time, in whole seconds.
#[must_use]
pub fn now() -> Timestamp {
    Timestamp::from_secs(OffsetDateTime::now_utc().unix_timestamp())
}

/// A customer life of this organization, derived from the seed, that began `ago`.
#[must_use]
pub fn params(organization: &str, seed: u64, ago: Duration) -> LifeParams {
    let price = |plan: &str, cents| SamplePrice { id: format!("price_{plan}"), cents };
    LifeParams {
        seed,
        shape: ApiShape::Basil,
        livemode: false,
        organization: organization.to_owned(),
        customer: None,
        price: price("standard", 4_900),
        upgrade: price("growth", 24_900),
        start: now().minus(ago),
    }
}
