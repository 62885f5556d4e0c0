//! A subscription's state, from a fold of its events or from a fetched object.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::object::{MissingMember, Subscription};
use super::prices::{PlanError, PriceMap};
use crate::organization::SubscriptionStatus;
use crate::period::Period;
use crate::purchases::PurchasedSubscription;
use crate::time::Timestamp;

/// A subscription that follows another one within this time continues its service.
const GAP_MAX: Duration = Duration::from_secs(3_600);

/// What is known about one subscription.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubscriptionState {
    /// `sub_…`.
    pub id: String,
    /// `cus_…`.
    pub customer: Option<String>,
    /// The plan that its price maps to, or mapped to last; `None` only if it ended and none of its
    /// prices is mapped any more.
    pub plan: Option<String>,
    /// The price that buys the plan.
    pub price: Option<String>,
    /// How many times it buys the plan.
    pub quantity: u64,
    /// Months between two bills; `None` for days and weeks.
    pub interval_months: Option<u32>,
    /// The instant that its billing periods are counted from.
    pub anchor: Option<Timestamp>,
    /// Why its price buys no plan; `plan` is then the former plan.
    #[serde(default)]
    pub plan_error: Option<String>,
    /// The status.
    pub status: SubscriptionStatus,
    /// The current billing period, of the item with our price.
    pub period: Option<Period>,
    /// When it is scheduled to end.
    pub cancel_at: Option<Timestamp>,
    /// When its cancellation was requested.
    pub canceled_at: Option<Timestamp>,
    /// When it was created.
    pub created: Option<Timestamp>,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// When its trial ends or ended.
    pub trial_end: Option<Timestamp>,
    /// Its last invoice.
    pub latest_invoice: Option<String>,
    /// The organization that its metadata names, not parsed yet.
    pub organization: Option<String>,
    /// Whether collection is paused while the status stays.
    pub collection_paused: bool,
    /// Whether it concerns real money.
    pub livemode: Option<bool>,
}

/// Why an object has no state. Its event is a dead letter until an operator or the configuration
/// changes that.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// A required member is missing.
    #[error(transparent)]
    Missing(#[from] MissingMember),
    /// Its prices determine no plan.
    #[error("subscription {subscription}: {error}")]
    Plan {
        /// Which subscription.
        subscription: String,
        /// What is wrong with its prices.
        error: PlanError,
    },
}

impl SubscriptionState {
    /// The state of a subscription object that was fetched from Stripe.
    ///
    /// # Errors
    /// [`StateError`] when it has no id or no plan.
    pub fn from_object(fetched: &Value, prices: &PriceMap) -> Result<Self, StateError> {
        Self::of(Subscription::read(fetched)?, prices)
    }

    /// The state of a subscription that was read already.
    ///
    /// An ended subscription needs no plan: its end must count even after its price left the
    /// configuration.
    ///
    /// # Errors
    /// [`StateError`] when it has no status or no plan.
    pub fn of(read: Subscription, prices: &PriceMap) -> Result<Self, StateError> {
        Self::keeping(read, prices, None)
    }

    /// Like [`Self::of`], with the plan that the subscription bought before. A price that is not
    /// mapped keeps the former plan; all other members of the subscription count.
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
            // The plan stays as it was; quantity and interval are read without a mapped price.
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

    /// Whether it ended for good: Stripe never revives such an id.
    #[must_use]
    pub const fn is_ended(&self) -> bool {
        self.status.is_terminal()
    }

    /// The subscription as it is stored with the organization; `None` if it buys no plan. If Stripe
    /// stated no period, the calendar month in which it began is used.
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

    /// When the service began that this subscription continues. A subscription that follows another
    /// one within [`GAP_MAX`] continues its service, so that usage under the former one is billed.
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
        let continues = |state: &Self, start: Timestamp| {
            state.ended.is_none_or(|ended| ended.plus(GAP_MAX) >= start)
        };
        // Each pass includes at least one more subscription, or changes nothing.
        for _ in all {
            let before = all.iter().filter(served).filter(|state| continues(state, start));
            start = before.filter_map(first).min().map_or(start, |first| first.min(start));
        }
        Some(start)
    }
}
