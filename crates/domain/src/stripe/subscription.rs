//! A subscription's state: what a fold of events or a fetched object comes to.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::object::{MissingMember, Subscription};
use super::prices::{PlanError, PriceMap};
use crate::organization::SubscriptionStatus;
use crate::period::Period;
use crate::purchases::PurchasedSubscription;
use crate::time::Timestamp;

/// A subscription that follows another one within this time goes on with its service.
const GAP_MAX: Duration = Duration::from_secs(3_600);

/// What is known of one subscription.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubscriptionState {
    /// `sub_…`.
    pub id: String,
    /// `cus_…`.
    pub customer: Option<String>,
    /// The plan that its price maps to, or did last; `None` only when it ended and no price of it is
    /// mapped any more.
    pub plan: Option<String>,
    /// That price.
    pub price: Option<String>,
    /// How many times it buys the plan.
    pub quantity: u64,
    /// Months between two bills; `None` for days and weeks.
    pub interval_months: Option<u32>,
    /// The instant that its billing periods are counted from.
    pub anchor: Option<Timestamp>,
    /// Why its price buys no plan, while the plan stays as it was.
    #[serde(default)]
    pub plan_error: Option<String>,
    /// The status.
    pub status: SubscriptionStatus,
    /// The current billing period, of the item with our price.
    pub period: Option<Period>,
    /// When it is to end.
    pub cancel_at: Option<Timestamp>,
    /// When somebody asked to end it.
    pub canceled_at: Option<Timestamp>,
    /// When it was made.
    pub created: Option<Timestamp>,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// When its trial ends or ended.
    pub trial_end: Option<Timestamp>,
    /// Its last invoice.
    pub latest_invoice: Option<String>,
    /// The organization that its metadata names, unread.
    pub organization: Option<String>,
    /// Whether collection is paused while the status stays.
    pub collection_paused: bool,
    /// Whether it concerns real money.
    pub livemode: Option<bool>,
}

/// Why an object has no state: a dead letter, until a person or the configuration changes it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// It lacks what nothing can be done without.
    #[error(transparent)]
    Missing(#[from] MissingMember),
    /// Its plan cannot be told.
    #[error("subscription {subscription}: {error}")]
    Plan {
        /// Which subscription.
        subscription: String,
        /// What is wrong with its prices.
        error: PlanError,
    },
}

impl SubscriptionState {
    /// The state of a subscription as Stripe answered it when asked.
    ///
    /// # Errors
    /// [`StateError`] when it has no id or no plan.
    pub fn from_object(fetched: &Value, prices: &PriceMap) -> Result<Self, StateError> {
        Self::of(Subscription::read(fetched)?, prices)
    }

    /// The state of a subscription that was read already.
    ///
    /// An ended one needs no plan: its end must count even after its price left the configuration.
    ///
    /// # Errors
    /// [`StateError`] when it has no status or no plan.
    pub fn of(read: Subscription, prices: &PriceMap) -> Result<Self, StateError> {
        Self::keeping(read, prices, None)
    }

    /// The same, where `former` is the plan that it is known to have bought: a price that nobody
    /// mapped leaves it, and everything else of the subscription counts.
    ///
    /// # Errors
    /// [`StateError`] when it has no status, or no plan and never had one.
    pub fn keeping(
        read: Subscription,
        prices: &PriceMap,
        former: Option<&str>,
    ) -> Result<Self, StateError> {
        let missing = MissingMember { object: "subscription", member: "status" };
        let status = read.status.clone().ok_or(missing)?;
        let (purchase, plan_error) = match prices.purchase(&read) {
            Ok(purchase) => (Some(purchase), None),
            Err(_) if status.is_terminal() => (None, None),
            Err(error) => {
                let error = StateError::Plan { subscription: read.id.clone(), error };
                if former.is_none() {
                    return Err(error);
                }
                (None, Some(error.to_string()))
            }
        };
        let any_period = read.items.iter().find_map(|item| item.period);
        let (quantity, interval_months) = match &purchase {
            Some(bought) => (bought.quantity, bought.interval_months),
            // Its plan stays as it was, and so does how it is counted.
            None => {
                let quantities = read.items.iter().filter_map(|item| item.quantity);
                let months = read.items.iter().find_map(|item| item.interval_months);
                (quantities.reduce(u64::saturating_add).unwrap_or(1), months)
            }
        };
        let (plan, price, period) = match purchase {
            Some(bought) => (Some(bought.plan), Some(bought.price), bought.period.or(any_period)),
            None => (former.map(str::to_owned), None, any_period),
        };
        Ok(Self {
            ended: if status.is_terminal() { read.ended_at.or(read.canceled_at) } else { None },
            id: read.id,
            customer: read.customer,
            plan,
            price,
            quantity,
            interval_months,
            anchor: read.anchor,
            plan_error,
            status,
            period,
            cancel_at: read.cancel_at,
            canceled_at: read.canceled_at,
            created: read.created,
            trial_end: read.trial_end,
            latest_invoice: read.latest_invoice,
            organization: read.organization,
            collection_paused: read.collection_paused,
            livemode: read.livemode,
        })
    }

    /// Whether it ended for good: such an id never lives again.
    #[must_use]
    pub const fn is_ended(&self) -> bool {
        self.status.is_terminal()
    }

    /// As it is kept with the organization; `None` when it buys no plan. The month it began in stands
    /// in for a period that Stripe did not tell.
    #[must_use]
    pub fn purchased(&self) -> Option<PurchasedSubscription> {
        let created = self.created.unwrap_or_default();
        Some(PurchasedSubscription {
            id: self.id.clone(),
            status: self.status.clone(),
            plan: self.plan.clone()?,
            quantity: self.quantity,
            period: self.period.unwrap_or_else(|| Period::calendar_month(created)),
            interval_months: self.interval_months,
            anchor: self.anchor,
            created,
            cancel_at: self.cancel_at,
            unpaid_since: None,
            started_at: None,
            ended_at: self.ended,
        })
    }

    /// When the service that this subscription is the last of began. One that follows another without
    /// a gap of an hour goes on with its service: what was used under the former one is billed.
    #[must_use]
    pub fn service_start(&self, all: &[Self]) -> Option<Timestamp> {
        let first = |state: &Self| match (state.created, state.period) {
            (Some(created), Some(period)) => Some(created.min(period.start)),
            (created, period) => created.or(period.map(|period| period.start)),
        };
        let mut start = first(self)?;
        let served = |state: &&Self| {
            use SubscriptionStatus::{Incomplete, IncompleteExpired};
            !matches!(state.status, Incomplete | IncompleteExpired)
        };
        let goes_on = |state: &Self, start: Timestamp| {
            state.ended.is_none_or(|ended| ended.plus(GAP_MAX) >= start)
        };
        // Each turn takes in at least one more of them.
        for _ in all {
            let before = all.iter().filter(served).filter(|state| goes_on(state, start));
            start = before.filter_map(first).min().map_or(start, |first| first.min(start));
        }
        Some(start)
    }
}
