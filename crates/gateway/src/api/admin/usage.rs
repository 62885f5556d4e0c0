//! `GET /admin/v1/organizations/{id}/usage?group_by=hour|day|key|route&at=TIME`.

use driftlock_domain::denial::{Fault, FaultKind};
use driftlock_domain::entitlement::period;
use driftlock_domain::period::Period;
use driftlock_domain::quota::Quota;
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
        Some(_) => return Err(Failure::invalid("`group_by` is hour, day, key or route.")),
    };
    let organization = call.organization(id).await?;
    let plan = call.gateway.shared.config.plan(&organization.plan).ok_or_else(|| {
        Fault::new(FaultKind::Internal, "the organization's plan is not configured")
    })?;
    let quota = Quota::in_force(plan, &organization.quota);
    let in_force = period(&organization, at);
    let found = call.gateway.usage.usage(organization.id, at, in_force, grouping).await?;
    let UsageSummary { period, units, buckets } =
        found.unwrap_or_else(|| UsageSummary { period: in_force, units: 0, buckets: Vec::new() });
    let view = UsageView {
        period,
        units,
        included: quota.included,
        overage_units: quota.overage_units(units),
        amount_micros: quota.amount_micros(units),
        buckets,
    };
    Ok(reply::json::<P>(StatusCode::OK, &view)?)
}
