//! `POST /admin/v1/organizations/{id}/checkout` returns a link to Stripe's checkout for a plan. The
//! first checkout creates the organization's customer; a customer that was deleted at Stripe is
//! replaced.

use driftlock_domain::id::uuid_v7;
use driftlock_domain::organization::Organization;
use driftlock_domain::purchases::PurchasedSubscription;
use driftlock_domain::time::Timestamp;
use http::StatusCode;
use serde::Deserialize;
use serde_json::json;

use super::super::call::{AdminCall, Failure, Reply};
use super::super::input;
use super::failure::{browser_url, stripe_needed};
use crate::ports::{Platform, id_entropy};
use crate::reply;
use crate::stripe::links::{Checkout, Session};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    plan: String,
    success_url: String,
    cancel_url: String,
}

pub(in super::super) async fn checkout<P: Platform>(
    mut call: AdminCall<'_, P>,
    id: &str,
) -> Reply<P> {
    let body = call.body().await?;
    let body: Body = input::json(&body)?;
    stripe_needed(&call)?;
    browser_url("success_url", &body.success_url)?;
    browser_url("cancel_url", &body.cancel_url)?;
    let gateway = call.gateway;
    let stripe = &gateway.shared.config.stripe;
    let price = stripe.prices.price(&body.plan).ok_or_else(|| {
        let plans: Vec<&str> = stripe.prices.iter().map(|(_, plan)| plan).collect();
        let plans = plans.join(", ");
        Failure::invalid(format!("`plan`: no price buys `{}`; there are {plans}.", body.plan))
    })?;
    let organization = call.organization(id).await?;
    if let Some(live) = live(&organization, call.at) {
        return Err(Failure::conflict(format!(
            "Subscription {} is live: a second one would be billed in addition. The portal changes \
             its plan.",
            live.id
        )));
    }
    let audit = |customer: &str| {
        let resource = organization.id.to_string();
        call.audit("organization.customer", resource, &json!({ "stripe_customer_id": customer }))
    };
    let scope = uuid_v7(call.at, id_entropy(&gateway.entropy)).to_string();
    let wanted = Checkout {
        price,
        metered_price: stripe.metered_prices.get(&body.plan).map(String::as_str),
        success_url: &body.success_url,
        cancel_url: &body.cancel_url,
        scope: &scope,
    };
    let Session { id, url, customer } = gateway.checkout(&organization, &wanted, audit).await?;
    let answer = json!({ "id": id, "url": url, "stripe_customer_id": customer });
    Ok(reply::json::<P>(StatusCode::CREATED, &answer)?)
}

/// A subscription of the organization at Stripe that is live.
fn live(organization: &Organization, now: Timestamp) -> Option<&PurchasedSubscription> {
    organization
        .bought()
        .iter()
        .find(|one| one.status.is_live() && one.cancel_at.is_none_or(|end| now < end))
}
