//! What an organization must be to be stored.

use driftlock_domain::config::Config;
use driftlock_domain::organization::{Organization, OrganizationPatch};
use driftlock_domain::quota::QuotaPolicy;
use serde_json::{Value, json};

use super::super::call::Failure;
use super::super::input;

/// Units beyond this are no longer exact in every JSON reader.
const UNITS_MAX: u64 = 1 << 53;

pub(super) fn check(organization: &Organization, config: &Config) -> Result<(), Failure> {
    input::name(&organization.name)?;
    input::requests_per_minute(organization.requests_per_minute)?;
    let unknown = |field: &str, plan: &str| {
        let names = config.plans.names();
        Failure::invalid(format!("`{field}`: there is no plan `{plan}`; the plans are {names}."))
    };
    let plan = config.plan(&organization.plan);
    let plan = plan.ok_or_else(|| unknown("plan", &organization.plan))?;
    let quota = &organization.quota;
    if quota.included.is_some_and(|units| units > UNITS_MAX) {
        return Err(Failure::invalid(format!("`quota.included` is at most {UNITS_MAX}.")));
    }
    if quota.cap_percent.is_some_and(|percent| !(100..=100_000).contains(&percent)) {
        return Err(Failure::invalid("`quota.cap_percent` is 100 to 100000."));
    }
    if plan.overage_micros.is_none() {
        if quota.policy.is_some_and(|policy| policy != QuotaPolicy::Block) {
            return Err(Failure::invalid(format!(
                "`quota.policy`: the plan `{}` has no overage price, so that only `block` exists.",
                plan.name
            )));
        }
        if quota.spend_cap_micros.is_some() {
            return Err(Failure::invalid(format!(
                "`quota.spend_cap_micros`: the plan `{}` has no overage price.",
                plan.name
            )));
        }
    }
    let Some(subscription) = &organization.subscription else { return Ok(()) };
    if config.plan(&subscription.plan).is_none() {
        return Err(unknown("subscription.plan", &subscription.plan));
    }
    if subscription.period.start >= subscription.period.end {
        return Err(Failure::invalid("`subscription.period`: `start` lies before `end`."));
    }
    Ok(())
}

/// What the audit row tells of a change: the fields, not people's names.
pub(super) fn audited(patch: &OrganizationPatch) -> Value {
    let mut fields = Vec::new();
    let OrganizationPatch { name, plan, status, quota, .. } = patch;
    let present = [
        ("name", name.is_some()),
        ("plan", plan.is_some()),
        ("status", status.is_some()),
        ("quota", quota.is_some()),
        ("requests_per_minute", patch.requests_per_minute.is_some()),
        ("stripe_customer_id", patch.stripe_customer_id.is_some()),
        ("subscription", patch.subscription.is_some()),
    ];
    fields.extend(present.iter().filter(|(_, changed)| *changed).map(|(field, _)| *field));
    json!({ "fields": fields, "plan": plan, "status": status })
}
