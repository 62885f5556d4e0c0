//! `GET /admin/v1/organizations/{id}/invoices/upcoming` shows what the period will cost by the
//! gateway's own count and prices, and Stripe's preview if there is one: only Stripe knows
//! prorations, tax and credits.

use driftlock_domain::denial::{Fault, FaultKind};
use driftlock_domain::entitlement::{Source, decide};
use driftlock_domain::id::uuid_v7;
use driftlock_domain::invoice::{lines, total_cents};
use driftlock_domain::usage::Grouping;
use http::StatusCode;
use serde_json::{Value, json};

use super::super::call::{AdminCall, Reply};
use super::super::input::Query;
use crate::ports::{Platform, UsageRecords, id_entropy};
use crate::reply;

pub(in super::super) async fn upcoming<P: Platform>(call: AdminCall<'_, P>, id: &str) -> Reply<P> {
    Query::of(&call.head.uri, &[])?;
    let organization = call.organization(id).await?;
    let gateway = call.gateway;
    let config = &gateway.shared.config;
    let decision = decide(&organization, config, call.at);
    let plan = config.plan(decision.plan).ok_or_else(|| {
        Fault::new(FaultKind::Internal, "the plan whose quota counts is not configured")
    })?;
    let quota = decision.quota(&organization, plan);
    let in_force = decision.period;
    // A period that begins a few seconds ahead, since clocks differ, counts already.
    let at = call.at.max(in_force.start);
    let usage = gateway.usage.usage(organization.id, at, in_force, Grouping::Day).await?;
    let units = usage.as_ref().map_or(0, |usage| usage.units);
    let period = usage.map_or(in_force, |usage| usage.period);
    let lines = lines(&quota, units);
    let (mut preview, mut missing) = (None, None);
    let sold = decision.shown.as_ref().filter(|_| decision.source == Source::Stripe);
    if let (Some(customer), Some(subscription)) = (&organization.stripe_customer_id, sold) {
        let key = uuid_v7(call.at, id_entropy(&gateway.entropy)).to_string();
        // The gateway's own figures are shown even if the preview fails.
        match gateway.invoice_preview(customer, subscription.id, &key).await {
            Ok(found) => preview = found,
            Err(error) => {
                tracing::warn!(%error, "could not get Stripe's invoice preview");
                missing = Some(error.to_string());
            }
        }
    }
    let answer = json!({
        "period": period,
        "plan": decision.plan,
        "units": units,
        "currency": "usd",
        "amount_micros": quota.amount_micros(units),
        "amount_cents": total_cents(&lines),
        "lines": lines,
        "stripe_preview": preview.as_ref().map(shown),
        "stripe_error": missing,
    });
    Ok(reply::json::<P>(StatusCode::OK, &answer)?)
}

/// The part of Stripe's preview that is shown; amounts are in the currency's smallest unit (cents).
fn shown(preview: &Value) -> Value {
    let line = |line: &Value| {
        json!({
            "description": line["description"],
            "quantity": line["quantity"],
            "amount": line["amount"],
        })
    };
    let lines = preview["lines"]["data"].as_array();
    json!({
        "currency": preview["currency"],
        "subtotal": preview["subtotal"],
        "total": preview["total"],
        "amount_due": preview["amount_due"],
        "lines": lines.map(|lines| lines.iter().map(line).collect::<Vec<_>>()),
    })
}
