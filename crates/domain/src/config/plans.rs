//! The plans on sale, by name.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::plan::{MicroDollars, Plan};
use crate::quota::QuotaPolicy;

/// The plans; listing any replaces all default plans.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plans(BTreeMap<String, Plan>);

impl Plans {
    /// A plan by name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Plan> {
        self.0.get(name)
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Plan> {
        self.0.values()
    }

    /// Their names, for messages.
    #[must_use]
    pub fn names(&self) -> String {
        self.0.keys().map(String::as_str).collect::<Vec<_>>().join(", ")
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    base_micros: MicroDollars,
    included: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    overage_micros: Option<MicroDollars>,
    policy: QuotaPolicy,
    #[serde(default = "default_cap_percent")]
    cap_percent: u32,
    requests_per_minute: u32,
    needs_subscription: bool,
}

const fn default_cap_percent() -> u32 {
    120
}

impl Serialize for Plans {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let rows = self.iter().map(|plan| (&plan.name, row(plan)));
        serializer.collect_map(rows)
    }
}

impl<'de> Deserialize<'de> for Plans {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let rows = BTreeMap::<String, Row>::deserialize(deserializer)?;
        Ok(Self(rows.into_iter().map(|(name, row)| (name.clone(), plan(name, row))).collect()))
    }
}

fn row(plan: &Plan) -> Row {
    Row {
        base_micros: plan.base_micros,
        included: plan.included,
        overage_micros: plan.overage_micros,
        policy: plan.policy,
        cap_percent: plan.cap_percent,
        requests_per_minute: plan.requests_per_minute,
        needs_subscription: plan.needs_subscription,
    }
}

fn plan(name: String, row: Row) -> Plan {
    Plan {
        name,
        base_micros: row.base_micros,
        included: row.included,
        overage_micros: row.overage_micros,
        policy: row.policy,
        cap_percent: row.cap_percent,
        requests_per_minute: row.requests_per_minute,
        needs_subscription: row.needs_subscription,
    }
}

impl Default for Plans {
    /// DriftLock's published prices.
    fn default() -> Self {
        let cap_percent = default_cap_percent();
        let of = |name: &str, base_micros, included, overage_micros, policy, per_minute| Plan {
            name: name.into(),
            base_micros,
            included,
            overage_micros,
            policy,
            cap_percent,
            requests_per_minute: per_minute,
            needs_subscription: base_micros > 0 || policy == QuotaPolicy::Allow,
        };
        let plans = [
            of("developer", 0, 10_000, None, QuotaPolicy::Block, 60),
            of("standard", 49_000_000, 250_000, Some(3_500), QuotaPolicy::SoftCap, 300),
            of("growth", 249_000_000, 2_000_000, Some(1_800), QuotaPolicy::SoftCap, 1_200),
            of("enterprise", 0, 0, Some(1_000), QuotaPolicy::Allow, 6_000),
        ];
        Self(plans.into_iter().map(|plan| (plan.name.clone(), plan)).collect())
    }
}
