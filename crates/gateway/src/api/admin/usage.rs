//! `GET /admin/v1/organizations/{id}/usage?group_by=hour|day|key|route&at=TIME`.

use driftlock_domain::denial::{Fault, FaultKind};
use driftlock_domain::entitlement::{FrozenTerms, Price, decide};
use driftlock_domain::period::Period;
use driftlock_domain::time::Timestamp;
use driftlock_domain::usage::{Grouping, UsageBucket, UsageSummary};
use http::StatusCode;
use serde::Serialize;

use super::call::{AdminCall, Failure, Reply};
use super::input::Query;
use crate::ports::{Platform, UsageRecords};
use crate::reply;

#[derive(Serialize)]
struct UsageView {
    period: Period,
    units: u64,
    included: u64,
    overage_units: u64,
    amount_micros: u64,
    buckets: Vec<UsageBucket>,
}

pub(super) async fn usage<P: Platform>(call: AdminCall<'_, P>, id: &str) -> Reply<P> {
    let query = Query::of(&call.head.uri, &["group_by", "at"])?;
    let at: Timestamp = match query.get::<String>("at")? {
        Some(text) => {
            Timestamp::parse(&text).map_err(|error| Failure::invalid(format!("`at`: {error}.")))?
        }
        None => call.at,
    };
    let by: Option<String> = query.get("group_by")?;
    let grouping = match by.as_deref() {
        None | Some("day") => Grouping::Day,
        Some("hour") => Grouping::Hour,
        Some("key") => Grouping::Key,
        Some("route") => Grouping::Route,
        Some(_) => return Err(Failure::invalid("`group_by` must be hour, day, key or route.")),
    };
    let organization = call.organization(id).await?;
    let config = &call.gateway.shared.config;
    let decision = decide(&organization, config, at);
    let plan = config.plan(decision.plan).ok_or_else(|| {
        let cause = format!("the plan `{}` of the organization is not configured", decision.plan);
        Fault::new(FaultKind::Internal, cause)
    })?;
    let quota = decision.quota(&organization, plan);
    let in_force = decision.period;
    // Clocks differ, so the current period may begin some seconds ahead: units already count in it.
    let shown_at = if at < call.at { at } else { at.max(in_force.start) };
    let found = call.gateway.usage.usage(organization.id, shown_at, in_force, grouping).await?;
    let none = UsageSummary { period: in_force, terms: None, units: 0, buckets: Vec::new() };
    let UsageSummary { period, terms, units, buckets } = found.unwrap_or(none);
    let now = FrozenTerms {
        included: quota.included,
        price: Price { base_micros: quota.base_micros, overage_micros: quota.overage_micros },
    };
    // A past period keeps the terms that it had; the current one has the current terms.
    let terms = terms.filter(|_| period != in_force).unwrap_or(now);
    let view = UsageView {
        period,
        units,
        included: terms.included,
        overage_units: terms.overage_units(units),
        amount_micros: terms.amount_micros(units),
        buckets,
    };
    Ok(reply::json::<P>(StatusCode::OK, &view)?)
}
