//! `POST /admin/v1/organizations/{id}/portal` returns a link to Stripe's customer portal.

use driftlock_domain::id::uuid_v7;
use driftlock_domain::stripe::api::ApiError;
use http::StatusCode;
use serde::Deserialize;
use serde_json::json;

use super::super::call::{AdminCall, Failure, Reply};
use super::super::input;
use super::failure::{browser_url, stripe_needed};
use crate::ports::{Platform, id_entropy};
use crate::reply;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    return_url: String,
}

pub(in super::super) async fn portal<P: Platform>(
    mut call: AdminCall<'_, P>,
    id: &str,
) -> Reply<P> {
    let body = call.body().await?;
    let body: Body = input::json(&body)?;
    stripe_needed(&call)?;
    browser_url("return_url", &body.return_url)?;
    let organization = call.organization(id).await?;
    let customer = organization.stripe_customer_id.as_deref().ok_or_else(|| {
        Failure::conflict("The organization has no Stripe customer yet: a checkout creates one.")
    })?;
    let gateway = call.gateway;
    let scope = uuid_v7(call.at, id_entropy(&gateway.entropy)).to_string();
    let url = match gateway.portal(customer, &body.return_url, &scope).await {
        Err(ApiError::Missing(_)) if gateway.is_deleted_customer(customer).await? => {
            return Err(Failure::conflict(format!(
                "Customer {customer} was deleted at Stripe: a checkout creates another one."
            )));
        }
        other => other?,
    };
    Ok(reply::json::<P>(StatusCode::CREATED, &json!({ "url": url }))?)
}
