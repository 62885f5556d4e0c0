//! Subscriptions of a life: begin, change, pause, end. A method does nothing if its event cannot
//! happen now.

use std::time::Duration;

use serde_json::Value;

use super::content::Content;
use super::{Life, PERIOD_DAYS, SamplePrice, Start};
use crate::period::Period;
use crate::stripe::event::EventKind;
use crate::stripe::sample::{SampleSubscription, extras, thin};
use crate::time::Timestamp;

const DAY: Duration = Duration::from_secs(86_400);

impl Life {
    /// Completes a Checkout Session: it links organization, customer and last subscription.
    pub fn checkout(&mut self) {
        let id = self.id("cs_test_", "checkout");
        let made = self.subscriptions.last().map(|last| last.id.clone());
        let (organization, livemode) = (self.params.organization.clone(), self.params.livemode);
        let object = extras::checkout_session(
            &id,
            &organization,
            &self.customer,
            made.as_deref(),
            self.now,
            livemode,
        );
        self.emit(&EventKind::CheckoutCompleted, Content::Object(object));
    }

    /// Begins a subscription.
    pub fn subscribe(&mut self, price: &SamplePrice, start: Start) {
        let length = match start {
            Start::Trial(days) => DAY * days,
            Start::Paid | Start::Unpaid => period_length(),
        };
        let period = Period { start: self.now, end: self.now.plus(length) };
        let (status, trial) = match start {
            Start::Trial(_) => ("trialing", Some(period)),
            Start::Paid | Start::Unpaid => ("incomplete", None),
        };
        let (id, item) = (self.id("sub_", "subscription"), self.id("si_", "item"));
        self.subscriptions.push(SampleSubscription {
            id,
            item,
            customer: self.customer.clone(),
            organization: Some(self.params.organization.clone()),
            price: price.clone(),
            status: status.to_owned(),
            created: self.now,
            period,
            cancel_at_period_end: false,
            canceled_at: None,
            ended_at: None,
            trial,
            latest_invoice: None,
            livemode: self.params.livemode,
        });
        let place = self.subscriptions.len() - 1;
        if trial.is_none() {
            self.invoice(place, "subscription_create");
        }
        self.emit_subscription(place, &EventKind::SubscriptionCreated);
        match start {
            Start::Paid => self.pay(),
            Start::Unpaid => self.fail(),
            Start::Trial(_) => {}
        }
    }

    /// Changes the live subscription to another price.
    pub fn change_price(&mut self, price: &SamplePrice) {
        if let Some(place) = self.live() {
            self.update(place, |subscription| subscription.price = price.clone());
        }
    }

    /// Announces the end of the trial.
    pub fn announce_trial_end(&mut self) {
        if let Some(place) = self.live_as("trialing") {
            self.emit_subscription(place, &EventKind::TrialWillEnd);
        }
    }

    /// Pauses the subscription: the trial ended without a payment method.
    pub fn pause(&mut self) {
        if let Some(place) = self.live_as("trialing").or_else(|| self.live_as("active")) {
            self.update(place, |subscription| subscription.status = "paused".to_owned());
            self.emit_subscription(place, &EventKind::SubscriptionPaused);
        }
    }

    /// Resumes a paused subscription.
    pub fn resume(&mut self) {
        if let Some(place) = self.live_as("paused") {
            self.update(place, |subscription| subscription.status = "active".to_owned());
            self.emit_subscription(place, &EventKind::SubscriptionResumed);
        }
    }

    /// Schedules the subscription to end with its period.
    pub fn schedule_cancellation(&mut self) {
        let now = self.now;
        if let Some(place) = self.live() {
            self.update(place, |subscription| {
                subscription.cancel_at_period_end = true;
                subscription.canceled_at = Some(now);
            });
        }
    }

    /// Withdraws the scheduled end.
    pub fn withdraw_cancellation(&mut self) {
        if let Some(place) = self.live() {
            self.update(place, |subscription| {
                subscription.cancel_at_period_end = false;
                subscription.canceled_at = None;
            });
        }
    }

    /// Ends the subscription now.
    pub fn cancel(&mut self) {
        let now = self.now;
        let Some(place) = self.live() else { return };
        let subscription = &mut self.subscriptions[place];
        let expired = subscription.status == "incomplete";
        let status = if expired { "incomplete_expired" } else { "canceled" };
        let end = |subscription: &mut SampleSubscription| {
            subscription.status = status.to_owned();
            subscription.canceled_at = subscription.canceled_at.or(Some(now));
            subscription.ended_at = Some(now);
        };
        if expired {
            self.update(place, end);
        } else {
            end(subscription);
            self.emit_subscription(place, &EventKind::SubscriptionDeleted);
        }
    }

    /// Deletes the customer together with its live subscription.
    pub fn delete_customer(&mut self) {
        self.cancel();
        let (customer, organization) = (self.customer.clone(), self.params.organization.clone());
        let object =
            extras::customer(&customer, &organization, self.params.start, self.params.livemode);
        self.emit(&EventKind::CustomerDeleted, Content::Object(object));
    }

    /// Opens a dispute of a charge.
    pub fn dispute(&mut self) {
        let (id, charge) = (self.id("dp_", "dispute"), self.id("ch_", "charge"));
        let object = extras::dispute(&id, &charge, &self.customer, self.now, self.params.livemode);
        self.emit(&EventKind::DisputeCreated, Content::Object(object));
    }

    /// Closes the last dispute.
    pub fn close_dispute(&mut self) {
        let disputed = |event: &&Value| event["type"] == EventKind::DisputeCreated.as_str();
        let Some(opened) = self.events.iter().rev().find(disputed) else { return };
        let mut object = opened["data"]["object"].clone();
        object["status"] = "won".into();
        self.emit(&EventKind::DisputeClosed, Content::Object(object));
    }

    /// Reports invalid meter events by a thin event that names their meter; its details are fetched
    /// ([`super::super::fetched`]).
    pub fn report_meter_errors(&mut self) {
        let kind = EventKind::MeterErrorReport;
        let (id, meter) = (self.id("evt_test_", kind.as_str()), self.id("mtr_test_", "meter"));
        let related = ("billing.meter", meter.as_str());
        self.events.push(thin(&id, &kind, self.now, related, self.params.livemode));
        self.contents.push(Content::Thin);
    }

    pub(super) fn live_as(&self, status: &str) -> Option<usize> {
        self.live().filter(|place| self.subscriptions[*place].status == status)
    }

    pub(super) fn next_period(&self, start: Timestamp) -> Period {
        Period { start, end: start.plus(period_length()) }
    }
}

fn period_length() -> Duration {
    DAY * u32::try_from(PERIOD_DAYS).unwrap_or(30)
}
