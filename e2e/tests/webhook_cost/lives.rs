//! Customers with simulated lives, and the signed deliveries of their events.

use std::time::Duration;

use driftlock_domain::stripe::sample::{Life, Start};
use driftlock_domain::stripe::signature::sign;
use driftlock_e2e::admin::Organization;
use driftlock_e2e::life::{now, params};
use driftlock_e2e::target::Target;

pub(crate) const SECRET: &str = "whsec_of_the_tests_0123456789abcdef";

/// An organization and its life at Stripe: it signed up, and paid.
pub(crate) struct Customer<'a> {
    pub(crate) organization: Organization<'a>,
    life: Life,
}

/// One delivery.
pub(crate) struct Signed {
    signature: String,
    pub(crate) body: Vec<u8>,
}

impl<'a> Customer<'a> {
    pub(crate) fn new(target: &'a Target, seed: usize) -> Self {
        let organization = super::organization(target);
        let ago = Duration::from_secs(7_200);
        let mut life = Life::new(params(&organization.id, seed as u64, ago));
        let standard = life.params().price.clone();
        life.subscribe(&standard, Start::Paid);
        Self { organization, life }
    }

    pub(crate) fn signup(&self) -> Vec<Signed> {
        self.deliveries_since(0)
    }

    /// Ends the subscription now.
    pub(crate) fn cancel(&mut self) -> Vec<Signed> {
        let known = self.life.events().len();
        self.life.cancel();
        self.deliveries_since(known)
    }

    fn deliveries_since(&self, known: usize) -> Vec<Signed> {
        let signed = |event: &serde_json::Value| {
            let body = event.to_string().into_bytes();
            Signed { signature: sign(SECRET, now().secs(), &body), body }
        };
        self.life.events()[known..].iter().map(signed).collect()
    }
}

impl Signed {
    pub(crate) fn send(&self, target: &Target) {
        let post = target.request("POST", "/webhooks/stripe");
        let post = post.header("stripe-signature", &self.signature);
        post.bytes("application/json", self.body.clone()).send().expect(200);
    }
}
