//! Organizations whose customer lives the double of Stripe delivers, and a check of the gateway's
//! state.

use std::collections::BTreeSet;
use std::time::Duration;

use driftlock_domain::stripe::sample::{Life, LifeParams};
use driftlock_e2e::admin::{Organization, pages};
use driftlock_e2e::life::params;
use driftlock_e2e::poll::eventually;
use driftlock_e2e::target::Target;
use driftlock_testkit::stripe::truth;
use serde_json::{Value, json};

/// The default of `[stripe] grace_days`.
const GRACE: Duration = Duration::from_secs(7 * 86_400);

/// One organization.
pub(crate) struct Customer<'a> {
    pub(crate) organization: Organization<'a>,
    pub(crate) life: Life,
}

impl<'a> Customer<'a> {
    /// An organization whose customer life derives from the seed and began `ago`.
    pub(crate) fn new(
        target: &'a Target,
        seed: u64,
        ago: Duration,
        live: impl FnOnce(LifeParams) -> Life,
    ) -> Self {
        let organization = Organization::with(target, json!({ "plan": "standard" }));
        let life = live(params(&organization.id, seed, ago));
        Self { organization, life }
    }

    fn is_as_stripe_has_it(&self) {
        let seed = self.life.params().seed;
        let shown = self.organization.admin("GET", "").send().expect(200).json();
        let truth = truth(&self.life, GRACE);
        let of = |whole: &Value, names: &[&str]| -> Vec<Value> {
            names.iter().map(|name| whole[*name].clone()).collect()
        };
        let subscription = json!({
            "id": truth.subscription, "status": truth.status, "plan": truth.plan,
            "period": truth.period, "cancel_at": truth.cancel_at, "grace_until": truth.grace_until,
        });
        let names = ["id", "status", "plan", "period", "cancel_at", "grace_until"];
        assert_eq!(of(&shown["subscription"], &names), of(&subscription, &names), "life {seed}");
        let billing = json!({
            "price": truth.price, "trial_ends": truth.trial_ends,
            "trial_ending": truth.trial_ending, "disputes": truth.disputes,
            "customer_deleted": truth.customer_deleted,
        });
        let names = ["price", "trial_ends", "trial_ending", "disputes", "customer_deleted"];
        assert_eq!(of(&shown["billing"], &names), of(&billing, &names), "life {seed}");
        let invoices = self.organization.admin("GET", "/invoices?limit=500").send();
        let invoices = invoices.expect(200).json()["data"].as_array().cloned().expect("a list");
        let shown: BTreeSet<(String, String)> =
            invoices.iter().map(|row| (row["id"].to_string(), row["status"].to_string())).collect();
        let known = self.life.invoices().iter();
        let known: BTreeSet<(String, String)> = known
            .map(|found| (json!(found.id).to_string(), json!(found.status).to_string()))
            .collect();
        assert_eq!(shown, known, "life {seed}");
    }
}

/// Waits until everything is processed, and asserts that each event is stored once and processed,
/// and that the gateway shows Stripe's state. Returns the number of events.
pub(crate) fn are_as_stripe_has_them(target: &Target, customers: &[Customer<'_>]) -> usize {
    eventually("everything is processed", || {
        let page = target.admin("GET", "/stripe/events?state=pending").send();
        page.expect(200).json()["data"].as_array().is_some_and(Vec::is_empty).then_some(())
    });
    let kept = pages(target, "/stripe/events", 500);
    let ids: BTreeSet<&str> = kept.iter().map(|row| row["id"].as_str().expect("an id")).collect();
    let events = customers.iter().flat_map(|customer| customer.life.events());
    let sent: BTreeSet<&str> = events.map(|event| event["id"].as_str().expect("an id")).collect();
    assert_eq!((kept.len(), &ids), (sent.len(), &sent), "each is kept, and once");
    let not_done: Vec<&Value> = kept.iter().filter(|row| row["state"] != "done").collect();
    assert!(not_done.is_empty(), "{not_done:?}");
    customers.iter().for_each(Customer::is_as_stripe_has_it);
    kept.len()
}
