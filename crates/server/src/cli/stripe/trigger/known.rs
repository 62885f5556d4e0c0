//! Reads the organization's customer, subscription and open invoices from the gateway, so that
//! sample events continue from there.

use anyhow::{Context, Result};
use driftlock_domain::organization::Contract;
use driftlock_domain::period::Period;
use driftlock_domain::stripe::sample::{
    Life, LifeParams, SampleInvoice, SamplePrice, SampleSubscription,
};
use driftlock_domain::time::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use crate::cli::api::Api;

/// How many of the newest invoices are read: enough to find the open ones.
const INVOICES: usize = 100;

/// The organization's life cycle as the admin API shows it; `None` if it has no Stripe customer.
pub(super) fn life(api: &Api, params: &LifeParams) -> Result<Option<Life>> {
    let path = format!("/organizations/{}", params.organization);
    let shown = api.get(&path)?;
    let Some(customer) = text(&shown["stripe_customer_id"]) else { return Ok(None) };
    let mut params = params.clone();
    params.customer = Some(customer);
    let invoices = api.get(&format!("{path}/invoices?limit={INVOICES}"))?;
    let (mut subscriptions, mut open) = (Vec::new(), Vec::new());
    if let Some(live) = subscription(&shown, &params)? {
        let own =
            invoices["data"].as_array().into_iter().flatten().filter(|invoice| {
                invoice["subscription"] == *live.id && invoice["status"] == "open"
            });
        // The API lists invoices newest first; the life cycle needs them oldest first.
        open = own.rev().map(|shown| invoice(shown, &live)).collect();
        // New events must not be older than the subscription and its invoices.
        let latest = open.iter().map(|invoice: &SampleInvoice| invoice.created).max();
        params.start = params.start.max(live.created).max(latest.unwrap_or(live.created));
        subscriptions.push(live);
    }
    Ok(Some(Life::continuing(params, subscriptions, open)))
}

/// The current subscription, unless it ended.
fn subscription(shown: &Value, params: &LifeParams) -> Result<Option<SampleSubscription>> {
    let Some(current) = Option::<Contract>::deserialize(&shown["subscription"])
        .context("the gateway shows a subscription that cannot be read")?
    else {
        return Ok(None);
    };
    let status = text(&shown["subscription"]["status"]).unwrap_or_default();
    if ["canceled", "incomplete_expired"].contains(&&*status) {
        return Ok(None);
    }
    // A contract that an operator set has no price: assume the price of the command.
    let id = text(&shown["billing"]["price"]).unwrap_or_else(|| params.price.id.clone());
    let known = [&params.price, &params.upgrade].into_iter().find(|price| price.id == id);
    let cents = known.map_or(params.price.cents, |price| price.cents);
    let trial_ends: Option<Timestamp> =
        Option::deserialize(&shown["billing"]["trial_ends"]).unwrap_or_default();
    Ok(Some(SampleSubscription {
        item: current.id.replacen("sub_", "si_", 1),
        id: current.id,
        customer: params.customer.clone().unwrap_or_default(),
        organization: Some(params.organization.clone()),
        price: SamplePrice { id, cents },
        status,
        created: current.period.start,
        period: current.period,
        cancel_at_period_end: current.cancel_at.is_some(),
        canceled_at: None,
        ended_at: None,
        trial: trial_ends.map(|end| Period { start: current.period.start, end }),
        latest_invoice: None,
        livemode: params.livemode,
    }))
}

fn invoice(shown: &Value, of: &SampleSubscription) -> SampleInvoice {
    let time = |name: &str| Option::<Timestamp>::deserialize(&shown[name]).unwrap_or_default();
    let id = text(&shown["id"]).unwrap_or_default();
    SampleInvoice {
        line: id.replacen("in_", "il_", 1),
        id,
        subscription: of.clone(),
        status: "open".to_owned(),
        number: text(&shown["number"]).unwrap_or_default(),
        total: shown["total"].as_i64().unwrap_or(of.price.cents),
        attempt_count: shown["attempt_count"].as_u64().unwrap_or(0),
        created: time("created").unwrap_or(of.created),
        period: Period {
            start: time("period_start").unwrap_or(of.period.start),
            end: time("period_end").unwrap_or(of.period.end),
        },
        reason: "subscription_cycle".to_owned(),
        first_failure_at: None,
        settled_at: None,
    }
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}
