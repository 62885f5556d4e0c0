//! Random histories of a customer: subscriptions, invoices, contracts, and their events.

use std::time::Duration;

use driftlock_domain::config::{AfterSubscription, Config};
use driftlock_domain::id::OrganizationId;
use driftlock_domain::organization::{
    Contract, OrganizationPatch, OrganizationStatus, SubscriptionStatus,
};
use driftlock_domain::period::Period;
use driftlock_domain::stripe::sample::Entropy;
use driftlock_domain::time::Timestamp;
use serde_json::Value;

use super::objects;
use crate::make::now;

pub(super) const DAY: Duration = Duration::from_secs(86_400);
const DEEDS_MAX: usize = 14;

/// The final state of a subscription.
#[derive(Debug, Clone)]
pub(super) struct Sold {
    pub(super) id: String,
    pub(super) price: &'static str,
    pub(super) quantity: u64,
    pub(super) months: u32,
    pub(super) currency: &'static str,
    /// Whether its invoices are sent and paid manually.
    pub(super) is_sent: bool,
    pub(super) status: &'static str,
    pub(super) created: Timestamp,
    pub(super) period: Period,
    pub(super) cancel_at: Option<Timestamp>,
    pub(super) ended_at: Option<Timestamp>,
    /// Whether it was ever trialing, active or past due.
    pub(super) was_live: bool,
}

/// The final state of an invoice.
#[derive(Debug, Clone)]
pub(super) struct Billed {
    pub(super) id: String,
    pub(super) subscription: usize,
    pub(super) status: &'static str,
    pub(super) created: Timestamp,
    pub(super) due: Option<Timestamp>,
    pub(super) first_failure: Option<Timestamp>,
    pub(super) attempts: u64,
}

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct History {
    pub(super) organization: OrganizationId,
    pub(super) customer: String,
    pub(super) now: Timestamp,
    pub(super) sold: Vec<Sold>,
    pub(super) billed: Vec<Billed>,
    pub(super) contract: Option<Contract>,
    pub(super) is_suspended: bool,
    pub(super) is_deleted: bool,
    pub(super) after: AfterSubscription,
    events: Vec<Value>,
    patches: Vec<OrganizationPatch>,
}

impl History {
    pub(super) fn random(seed: u64, organization: OrganizationId, random: &mut Entropy) -> Self {
        let mut history = Self {
            organization,
            customer: format!("cus_{seed}"),
            now: Timestamp::from_secs(now().secs()),
            sold: Vec::new(),
            billed: Vec::new(),
            contract: None,
            is_suspended: false,
            is_deleted: false,
            after: [AfterSubscription::Refuse, AfterSubscription::OwnPlan][random.below(2)],
            events: Vec::new(),
            patches: Vec::new(),
        };
        for _ in 0..=random.below(DEEDS_MAX) {
            let secs = [1, 3_600, 86_400, 40 * 86_400][random.below(4)];
            history.waits(Duration::from_secs(secs));
            history.something_happens(random);
        }
        history
    }

    pub(super) const fn events(&self) -> &Vec<Value> {
        &self.events
    }

    pub(super) const fn patches(&self) -> &Vec<OrganizationPatch> {
        &self.patches
    }

    pub(super) const fn end(&self) -> Timestamp {
        self.now
    }

    pub(super) fn config(&self, mut config: Config) -> Config {
        config.metering.after_subscription = self.after;
        config
    }

    fn waits(&mut self, time: Duration) {
        self.now = self.now.plus(time);
    }

    fn something_happens(&mut self, random: &mut Entropy) {
        match random.below(20) {
            0..=3 if self.sold.len() < 3 && !self.is_deleted => self.is_sold(random),
            4 => self.contract(random),
            5 if random.below(3) == 0 => self.suspension(),
            6 if random.below(4) == 0 && !self.sold.is_empty() => self.is_deleted_at_stripe(),
            _ if self.sold.is_empty() => {}
            _ => {
                let place = random.below(self.sold.len());
                if !self.is_deleted && self.sold[place].ended_at.is_none() {
                    self.changes(place, random);
                }
            }
        }
    }

    fn is_sold(&mut self, random: &mut Entropy) {
        let place = self.sold.len();
        let (months, is_sent) = ([1, 1, 12][random.below(3)], random.below(3) == 0);
        let days = u32::try_from(30 * months).unwrap_or(30);
        let prices = ["price_standard", "price_growth", "price_growth", "price_of_something_else"];
        let status = match random.below(4) {
            0 => "trialing",
            _ if is_sent => "active",
            _ => "incomplete",
        };
        self.sold.push(Sold {
            id: format!("sub_{place}_{}", self.customer),
            price: prices[random.below(4)],
            quantity: [1, 1, 1, 3, 0][random.below(5)],
            months: u32::try_from(months).unwrap_or(1),
            currency: ["usd", "eur", "jpy"][random.below(3)],
            is_sent,
            status: "incomplete",
            created: self.now,
            period: Period { start: self.now, end: self.now.plus(DAY * days) },
            cancel_at: None,
            ended_at: None,
            was_live: false,
        });
        self.becomes(place, status);
        self.add_event(place, "customer.subscription.created");
        if status != "trialing" {
            self.is_billed(place);
        }
    }

    fn is_billed(&mut self, place: usize) {
        let due = self.sold[place].is_sent.then(|| self.now.plus(DAY * 30));
        let number = self.billed.len();
        self.billed.push(Billed {
            id: format!("in_{number}_{}", self.customer),
            subscription: place,
            status: "open",
            created: self.now,
            due,
            first_failure: None,
            attempts: 0,
        });
        self.add_invoice_event(number, "invoice.finalized");
    }

    fn becomes(&mut self, place: usize, status: &'static str) {
        self.sold[place].status = status;
        self.sold[place].was_live |= ["trialing", "active", "past_due"].contains(&status);
    }

    /// Changes a subscription that has not ended in one random way.
    fn changes(&mut self, place: usize, random: &mut Entropy) {
        let status = self.sold[place].status;
        let open = (0..self.billed.len()).find(|at| self.is_open(*at, place));
        match (random.below(14), open) {
            (0..=2, Some(open)) => self.settles(place, open, "paid", "invoice.paid"),
            (3, Some(open)) => self.settles(place, open, "void", "invoice.voided"),
            (4, Some(open)) => {
                self.settles(place, open, "uncollectible", "invoice.marked_uncollectible");
            }
            (5 | 6, Some(open)) => self.fails(place, open, random),
            (7, _) if ["active", "trialing", "past_due"].contains(&status) => self.renews(place),
            (8, _) if status == "trialing" => {
                self.becomes(place, "paused");
                self.add_event(place, "customer.subscription.paused");
            }
            (8, _) if status == "paused" => {
                self.becomes(place, "active");
                self.add_event(place, "customer.subscription.resumed");
            }
            (9, _) if status == "past_due" => {
                self.becomes(place, "unpaid");
                self.add_event(place, "customer.subscription.updated");
            }
            (10, _) => {
                let end = self.sold[place].period.end;
                self.sold[place].cancel_at = [Some(end), None][random.below(2)];
                self.add_event(place, "customer.subscription.updated");
            }
            (11, _) => {
                self.sold[place].price = ["price_standard", "price_growth"][random.below(2)];
                self.sold[place].quantity = [1, 2, 0][random.below(3)];
                self.add_event(place, "customer.subscription.updated");
            }
            (12, _) if random.below(2) == 0 => self.ends(place),
            _ => {}
        }
    }

    fn is_open(&self, number: usize, place: usize) -> bool {
        let invoice = &self.billed[number];
        invoice.subscription == place && invoice.status == "open"
    }

    fn settles(&mut self, place: usize, open: usize, status: &'static str, kind: &str) {
        self.billed[open].status = status;
        self.add_invoice_event(open, kind);
        let waits = match self.sold[place].status {
            "incomplete" => status == "paid",
            "past_due" | "unpaid" => true,
            _ => false,
        };
        if waits && !(0..self.billed.len()).any(|at| self.is_open(at, place)) {
            self.becomes(place, "active");
            self.add_event(place, "customer.subscription.updated");
        }
    }

    /// A payment attempt fails, or a sent invoice is not paid in time.
    fn fails(&mut self, place: usize, open: usize, random: &mut Entropy) {
        if self.sold[place].is_sent {
            let due = self.billed[open].due.expect("it was sent");
            self.now = self.now.max(due);
        } else {
            self.billed[open].attempts += 1;
            let first = self.billed[open].first_failure.unwrap_or(self.now);
            self.billed[open].first_failure = Some(first);
            self.add_invoice_event(open, "invoice.payment_failed");
        }
        // Sometimes Stripe still says `active`.
        if self.sold[place].status == "active" && random.below(3) != 0 {
            self.becomes(place, "past_due");
            self.add_event(place, "customer.subscription.updated");
        }
    }

    fn renews(&mut self, place: usize) {
        let end = self.sold[place].period.end;
        self.now = self.now.max(end);
        if self.sold[place].cancel_at.is_some() {
            return self.ends(place);
        }
        let days = 30 * self.sold[place].months;
        let start = self.now;
        self.sold[place].period = Period { start, end: start.plus(DAY * days) };
        if self.sold[place].status == "trialing" {
            self.becomes(place, "active");
        }
        self.is_billed(place);
        self.add_event(place, "customer.subscription.updated");
    }

    fn ends(&mut self, place: usize) {
        let expires = self.sold[place].status == "incomplete";
        self.sold[place].ended_at = Some(self.now);
        self.becomes(place, if expires { "incomplete_expired" } else { "canceled" });
        let kind = if expires { "updated" } else { "deleted" };
        self.add_event(place, &format!("customer.subscription.{kind}"));
    }

    fn contract(&mut self, random: &mut Entropy) {
        let length = DAY * [10, 30, 365][random.below(3)];
        let ends = [None, Some(self.now.plus(DAY * 20)), Some(self.now.minus(DAY))];
        let contract = (random.below(3) != 0).then(|| Contract {
            id: "contract".into(),
            status: SubscriptionStatus::Active,
            plan: "enterprise".into(),
            period: Period { start: self.now, end: self.now.plus(length) },
            cancel_at: ends[random.below(3)],
            grace_until: None,
        });
        self.contract.clone_from(&contract);
        self.patches
            .push(OrganizationPatch { contract: Some(contract), ..OrganizationPatch::default() });
    }

    fn suspension(&mut self) {
        self.is_suspended = !self.is_suspended;
        let status = if self.is_suspended {
            OrganizationStatus::Suspended
        } else {
            OrganizationStatus::Active
        };
        self.patches
            .push(OrganizationPatch { status: Some(status), ..OrganizationPatch::default() });
    }

    fn is_deleted_at_stripe(&mut self) {
        self.is_deleted = true;
        let object = objects::customer(self);
        self.emits("customer.deleted", &object);
    }

    fn add_event(&mut self, place: usize, kind: &str) {
        let object = objects::subscription(self, place);
        self.emits(kind, &object);
    }

    fn add_invoice_event(&mut self, number: usize, kind: &str) {
        let object = objects::invoice(self, number);
        self.emits(kind, &object);
    }

    /// Each event gets a different second, so that the order of events is determined.
    fn emits(&mut self, kind: &str, object: &Value) {
        let number = self.events.len();
        self.events.push(objects::event(self, number, kind, object));
        self.waits(Duration::from_secs(1));
    }
}
