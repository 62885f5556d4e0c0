//! A subscription, in the shape of any API version.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{MissingMember, field, id, list, path, reference, text, unix};
use crate::organization::SubscriptionStatus;
use crate::period::Period;
use crate::time::Timestamp;

/// The members of a subscription object that matter here. Objects of different API versions with
/// the same content are equal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// `sub_…`.
    pub id: String,
    /// `cus_…`.
    pub customer: Option<String>,
    /// Its status; `None` if the object has none, which no API version does.
    pub status: Option<SubscriptionStatus>,
    /// Its items, in order of id.
    pub items: Vec<Item>,
    /// When it is scheduled to end: `cancel_at`, or the period's end with `cancel_at_period_end`.
    pub cancel_at: Option<Timestamp>,
    /// When its cancellation was requested.
    pub canceled_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// When its trial ends or ended.
    pub trial_end: Option<Timestamp>,
    /// When it was created.
    pub created: Option<Timestamp>,
    /// The instant that its billing periods are counted from (`billing_cycle_anchor`).
    pub anchor: Option<Timestamp>,
    /// Its last invoice, `in_…`.
    pub latest_invoice: Option<String>,
    /// `metadata.organization`, as our checkout set it.
    pub organization: Option<String>,
    /// Whether collection is paused while the status stays (`pause_collection`).
    pub collection_paused: bool,
    /// Whether it concerns real money.
    pub livemode: Option<bool>,
}

/// One item of a subscription.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Item {
    /// `si_…`; empty if the object has none.
    pub id: String,
    /// `price_…`, or a legacy plan's id.
    pub price: Option<String>,
    /// Its billing period.
    pub period: Option<Period>,
    /// The quantity; a metered price has none.
    pub quantity: Option<u64>,
    /// Months between two bills; `None` for days and weeks, or if the object does not say.
    pub interval_months: Option<u32>,
}

impl Item {
    /// The id of its price.
    #[must_use]
    pub fn price_id(&self) -> Option<&str> {
        self.price.as_deref()
    }
}

impl Subscription {
    /// Reads a subscription object.
    ///
    /// # Errors
    /// [`MissingMember`] when it has no id.
    pub fn read(object: &Value) -> Result<Self, MissingMember> {
        let whole = period(object);
        let mut items: Vec<Item> =
            list(object, "items").iter().map(|value| item(value, whole)).collect();
        if items.is_empty()
            && let Some(price) = price(object)
        {
            // Subscriptions had a single plan before they had items.
            items.push(Item {
                id: String::new(),
                price: Some(price),
                period: whole,
                quantity: field(object, "quantity").and_then(Value::as_u64),
                interval_months: interval_months(object),
            });
        }
        items.sort();
        let period_end = items.iter().filter_map(|item| item.period).map(|period| period.end).min();
        Ok(Self {
            id: id(object, "subscription")?,
            customer: reference(object, "customer").map(str::to_owned),
            status: text(object, "status").map(status),
            cancel_at: unix(object, "cancel_at").or_else(|| at_period_end(object, period_end)),
            canceled_at: unix(object, "canceled_at"),
            ended_at: unix(object, "ended_at"),
            trial_end: unix(object, "trial_end"),
            created: unix(object, "created"),
            anchor: unix(object, "billing_cycle_anchor"),
            latest_invoice: reference(object, "latest_invoice").map(str::to_owned),
            organization: path(object, &["metadata", "organization"])
                .and_then(Value::as_str)
                .map(str::to_owned),
            collection_paused: field(object, "pause_collection").is_some(),
            livemode: object.get("livemode").and_then(Value::as_bool),
            items,
        })
    }

    /// The ids of all prices, in order.
    #[must_use]
    pub fn prices(&self) -> BTreeSet<&str> {
        self.items.iter().filter_map(|item| item.price.as_deref()).collect()
    }
}

/// Parses Stripe's status.
#[must_use]
pub(crate) fn status(text: &str) -> SubscriptionStatus {
    match text {
        "active" => SubscriptionStatus::Active,
        "trialing" => SubscriptionStatus::Trialing,
        "past_due" => SubscriptionStatus::PastDue,
        "canceled" => SubscriptionStatus::Canceled,
        "unpaid" => SubscriptionStatus::Unpaid,
        "incomplete" => SubscriptionStatus::Incomplete,
        "incomplete_expired" => SubscriptionStatus::IncompleteExpired,
        "paused" => SubscriptionStatus::Paused,
        other => SubscriptionStatus::Other(other.to_owned()),
    }
}

fn item(value: &Value, whole: Option<Period>) -> Item {
    Item {
        id: text(value, "id").unwrap_or_default().to_owned(),
        price: price(value),
        period: period(value).or(whole),
        quantity: field(value, "quantity").and_then(Value::as_u64),
        interval_months: interval_months(value),
    }
}

/// The interval is in a price's `recurring`, or in the older plan itself.
fn interval_months(value: &Value) -> Option<u32> {
    let recurring = path(value, &["price", "recurring"]).or_else(|| field(value, "plan"))?;
    let count = field(recurring, "interval_count").and_then(Value::as_u64).unwrap_or(1);
    let months = match text(recurring, "interval")? {
        "month" => count,
        "year" => count.saturating_mul(12),
        _ => return None,
    };
    u32::try_from(months).ok()
}

/// The price's id. For a time objects had both names; before 2020 there were only plans.
fn price(value: &Value) -> Option<String> {
    reference(value, "price").or_else(|| reference(value, "plan")).map(str::to_owned)
}

fn period(value: &Value) -> Option<Period> {
    let start = unix(value, "current_period_start")?;
    let end = unix(value, "current_period_end")?;
    (start < end).then_some(Period { start, end })
}

fn at_period_end(object: &Value, end: Option<Timestamp>) -> Option<Timestamp> {
    field(object, "cancel_at_period_end")?.as_bool()?.then_some(end)?
}
