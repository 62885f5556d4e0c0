//! Validates an organization before it is stored.

use driftlock_domain::config::Config;
use driftlock_domain::organization::{Organization, OrganizationPatch};
use driftlock_domain::quota::QuotaPolicy;
use serde_json::{Value, json};

use super::super::call::Failure;
use super::super::input;

/// Larger numbers are not exact in every JSON reader.
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
        return Err(Failure::invalid(format!("`quota.included` must be at most {UNITS_MAX}.")));
    }
    if quota.cap_percent.is_some_and(|percent| !(100..=100_000).contains(&percent)) {
        return Err(Failure::invalid("`quota.cap_percent` must be 100 to 100000."));
    }
    if plan.overage_micros.is_none() {
        if quota.policy.is_some_and(|policy| policy != QuotaPolicy::Block) {
            return Err(Failure::invalid(format!(
                "`quota.policy` must be `block`: the plan `{}` has no overage price.",
                plan.name
            )));
        }
        if quota.spend_cap_micros.is_some() {
            return Err(Failure::invalid(format!(
                "`quota.spend_cap_micros` must be null: the plan `{}` has no overage price.",
                plan.name
            )));
        }
    }
    let Some(contract) = &organization.contract else { return Ok(()) };
    if config.plan(&contract.plan).is_none() {
        return Err(unknown("subscription.plan", &contract.plan));
    }
    if contract.period.start >= contract.period.end {
        return Err(Failure::invalid("`subscription.period`: `start` must be before `end`."));
    }
    Ok(())
}

/// The details of the audit row of a change: the changed fields, with their old and new values. The
/// name has no values there: it may be a person's name, and the log would keep it too long.
pub(super) fn audited(
    patch: &OrganizationPatch,
    before: Option<&Organization>,
    after: &Organization,
) -> Value {
    let quota = patch.quota.clone().unwrap_or_default();
    let present = [
        ("name", patch.name.is_some()),
        ("plan", patch.plan.is_some()),
        ("status", patch.status.is_some()),
        ("quota.included", quota.included.is_some()),
        ("quota.policy", quota.policy.is_some()),
        ("quota.cap_percent", quota.cap_percent.is_some()),
        ("quota.spend_cap_micros", quota.spend_cap_micros.is_some()),
        ("requests_per_minute", patch.requests_per_minute.is_some()),
        ("stripe_customer_id", patch.stripe_customer_id.is_some()),
        ("subscription", patch.contract.is_some()),
    ];
    let fields: Vec<&str> =
        present.iter().filter(|(_, present)| *present).map(|(field, _)| *field).collect();
    let (old, new) = (before.map(values), values(after));
    let change = |field: &&str| {
        let old = old.as_ref().map(|old| old[*field].clone());
        ((*field).to_owned(), json!({ "old": old, "new": new[*field] }))
    };
    let shown = fields.iter().filter(|field| **field != "name");
    let changes: serde_json::Map<String, Value> = shown.map(change).collect();
    json!({ "fields": fields, "changes": changes })
}

/// An organization's settings, by their names in a patch.
fn values(organization: &Organization) -> Value {
    let quota = &organization.quota;
    json!({
        "plan": organization.plan,
        "status": organization.status,
        "quota.included": quota.included,
        "quota.policy": quota.policy,
        "quota.cap_percent": quota.cap_percent,
        "quota.spend_cap_micros": quota.spend_cap_micros,
        "requests_per_minute": organization.requests_per_minute,
        "stripe_customer_id": organization.stripe_customer_id,
        "subscription": organization.contract,
    })
}
