//! Which plan a price buys: `[stripe.prices]` of the configuration.
//!
//! A subscription without a mapped price buys no plan, and one whose prices map to different plans
//! is an error for an operator to resolve. Items whose price is not mapped (a seat fee, a metered
//! price) do not matter if another item's price is mapped.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::object::{Item, Subscription};
use crate::period::Period;

/// Price ids, and the plan that each buys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PriceMap(BTreeMap<String, String>);

/// What a subscription buys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Purchase {
    /// The plan's name in the configuration.
    pub plan: String,
    /// The price that maps to it.
    pub price: String,
    /// The billing period of the item with that price.
    pub period: Option<Period>,
    /// How many times it buys the plan: the sum over its licensed prices, or 1 if all are metered.
    pub quantity: u64,
    /// Months between two bills; `None` for days and weeks.
    pub interval_months: Option<u32>,
}

/// Why a subscription's prices determine no plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// It has no item.
    #[error("the subscription has no price")]
    NoPrice,
    /// None of its prices is mapped.
    #[error("[stripe.prices] maps none of the subscription's prices: {}", .0.join(", "))]
    Unmapped(Vec<String>),
    /// Its prices are mapped to several plans.
    #[error("the subscription's prices map to several plans: {}", .0.join(", "))]
    Ambiguous(Vec<String>),
}

impl PriceMap {
    /// Maps prices (first) to plans (second).
    pub fn new<P: Into<String>, N: Into<String>>(pairs: impl IntoIterator<Item = (P, N)>) -> Self {
        Self(pairs.into_iter().map(|(price, plan)| (price.into(), plan.into())).collect())
    }

    /// The plan that a price buys.
    #[must_use]
    pub fn plan(&self, price: &str) -> Option<&str> {
        self.0.get(price).map(String::as_str)
    }

    /// A price that buys this plan; if there are several, the first by name.
    #[must_use]
    pub fn price(&self, plan: &str) -> Option<&str> {
        self.iter().find(|(_, mapped)| *mapped == plan).map(|(price, _)| price)
    }

    /// Every price and its plan, by price.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(price, plan)| (price.as_str(), plan.as_str()))
    }

    /// What a subscription buys.
    ///
    /// # Errors
    /// [`PlanError`] names the prices that are not mapped, or the plans that conflict.
    pub fn purchase(&self, subscription: &Subscription) -> Result<Purchase, PlanError> {
        let mapped = |item| {
            let price = Item::price_id(item)?;
            Some((item, price, self.plan(price)?))
        };
        let found: Vec<(&Item, &str, &str)> =
            subscription.items.iter().filter_map(mapped).collect();
        let plans: BTreeSet<&str> = found.iter().map(|(.., plan)| *plan).collect();
        if plans.len() > 1 {
            return Err(PlanError::Ambiguous(plans.into_iter().map(str::to_owned).collect()));
        }
        let licensed = found.iter().find(|(item, ..)| item.quantity.is_some());
        let Some((item, price, plan)) = licensed.or(found.first()) else {
            let prices: Vec<String> =
                subscription.prices().into_iter().map(str::to_owned).collect();
            let is_empty = prices.is_empty();
            return Err(if is_empty { PlanError::NoPrice } else { PlanError::Unmapped(prices) });
        };
        let quantities = found.iter().filter_map(|(item, ..)| item.quantity);
        Ok(Purchase {
            plan: (*plan).to_owned(),
            price: (*price).to_owned(),
            period: item.period,
            quantity: quantities.reduce(u64::saturating_add).unwrap_or(1),
            interval_months: item.interval_months,
        })
    }
}

impl Default for PriceMap {
    /// The prices that ship with the default plans.
    fn default() -> Self {
        Self::new(["standard", "growth", "enterprise"].map(|plan| (format!("price_{plan}"), plan)))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::time::Timestamp;

    fn subscription(prices: &[&str]) -> Subscription {
        let items: Vec<_> = (0..)
            .zip(prices)
            .map(|(at, price)| {
                json!({ "id": format!("si_{at}"), "price": { "id": price },
                        "current_period_start": 10 + at, "current_period_end": 20 + at })
            })
            .collect();
        Subscription::read(&json!({ "id": "sub_1", "items": { "data": items } })).expect("an id")
    }

    #[test]
    fn one_mapped_item_suffices_and_its_period_counts() {
        let bought = PriceMap::default().purchase(&subscription(&["price_seat", "price_growth"]));
        let bought = bought.expect("a plan");
        assert_eq!((bought.plan.as_str(), bought.price.as_str()), ("growth", "price_growth"));
        assert_eq!(bought.period.expect("a period").start, Timestamp::from_secs(11), "not [0]");
    }

    #[test]
    fn a_plan_is_bought_as_often_as_its_licensed_prices_say() {
        let of = |items: serde_json::Value| {
            let object = json!({ "id": "sub_1", "items": { "data": items } });
            let prices = PriceMap::new([("base", "standard"), ("metered", "standard")]);
            let read = Subscription::read(&object).expect("an id");
            prices.purchase(&read).expect("a plan")
        };
        let item = |id: &str, price: &str, quantity: Option<u64>| {
            json!({ "id": id, "quantity": quantity,
                    "price": { "id": price, "recurring": { "interval": "year", "interval_count": 1 } } })
        };
        let both = of(json!([item("si_1", "metered", None), item("si_2", "base", Some(3))]));
        assert_eq!((both.price.as_str(), both.quantity), ("base", 3));
        assert_eq!(both.interval_months, Some(12));
        let twice = of(json!([item("si_1", "base", Some(2)), item("si_2", "base", Some(5))]));
        assert_eq!(twice.quantity, 7);
        assert_eq!(of(json!([item("si_1", "metered", None)])).quantity, 1);
        assert_eq!(of(json!([item("si_1", "base", Some(0))])).quantity, 0);
        let weekly = json!({ "id": "base", "interval": "week", "interval_count": 2 });
        assert_eq!(of(json!([{ "id": "si_1", "plan": weekly }])).interval_months, None);
        let quarter = json!({ "id": "base", "interval": "month", "interval_count": 3 });
        assert_eq!(of(json!([{ "id": "si_1", "plan": quarter }])).interval_months, Some(3));
    }

    #[test]
    fn an_unknown_price_is_named_and_never_a_silent_plan() {
        let error = PriceMap::default().purchase(&subscription(&["price_b", "price_a"]));
        let error = error.expect_err("no plan");
        assert_eq!(error, PlanError::Unmapped(vec!["price_a".into(), "price_b".into()]));
        assert!(error.to_string().ends_with("price_a, price_b"));
        assert_eq!(PriceMap::default().purchase(&subscription(&[])), Err(PlanError::NoPrice));
    }

    #[test]
    fn two_plans_at_once_are_an_error_and_two_prices_of_one_plan_are_not() {
        let error =
            PriceMap::default().purchase(&subscription(&["price_standard", "price_growth"]));
        assert_eq!(error, Err(PlanError::Ambiguous(vec!["growth".into(), "standard".into()])));
        let prices = PriceMap::new([("base", "standard"), ("metered", "standard")]);
        assert!(prices.purchase(&subscription(&["base", "metered"])).is_ok());
        assert_eq!(prices.price("standard"), Some("base"));
    }
}
