//! How far an organization may go in a billing period, and what it costs.
//!
//! The cap is min(included × cap_percent, included + ⌊spend_cap / price⌋); without an overage price
//! only `block` exists. The base fee never counts towards a spend cap.

use serde::{Deserialize, Deserializer, Serialize};

use crate::plan::{MicroDollars, Plan};

/// What happens when the included units are used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QuotaPolicy {
    /// Deny at 100 %.
    Block,
    /// Bill overage up to `cap_percent`, then deny.
    SoftCap,
    /// Deny only at a spend cap.
    Allow,
}

/// An organization's own quota settings; where one is `None`, the plan's setting applies.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QuotaOverride {
    /// Units included per billing period.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub included: Option<u64>,
    /// The policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<QuotaPolicy>,
    /// Where `soft_cap` ends, in percent of `included`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cap_percent: Option<u32>,
    /// The most that overage may cost in a billing period, in micro-dollars.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spend_cap_micros: Option<MicroDollars>,
}

/// An operator's change to a [`QuotaOverride`]: an absent field stays as it is, `null` restores the
/// plan's setting.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QuotaPatch {
    /// Units included per billing period.
    #[serde(deserialize_with = "explicit")]
    pub included: Option<Option<u64>>,
    /// The policy.
    #[serde(deserialize_with = "explicit")]
    pub policy: Option<Option<QuotaPolicy>>,
    /// Where `soft_cap` ends, in percent of `included`.
    #[serde(deserialize_with = "explicit")]
    pub cap_percent: Option<Option<u32>>,
    /// The most that overage may cost in a billing period, in micro-dollars.
    #[serde(deserialize_with = "explicit")]
    pub spend_cap_micros: Option<Option<MicroDollars>>,
}

impl QuotaPatch {
    /// Applies it.
    pub fn apply(self, own: &mut QuotaOverride) {
        own.included = self.included.unwrap_or(own.included);
        own.policy = self.policy.unwrap_or(own.policy);
        own.cap_percent = self.cap_percent.unwrap_or(own.cap_percent);
        own.spend_cap_micros = self.spend_cap_micros.unwrap_or(own.spend_cap_micros);
    }
}

/// Distinguishes an explicit `null` (clear) from an absent field (leave).
pub(crate) fn explicit<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    T::deserialize(deserializer).map(Some)
}

/// The quota in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quota {
    /// Units included per billing period.
    pub included: u64,
    /// The policy; `block` wherever there is no overage price.
    pub policy: QuotaPolicy,
    /// Where `soft_cap` ends, in percent of `included`.
    pub cap_percent: u32,
    /// The most that overage may cost in a billing period, in micro-dollars.
    pub spend_cap_micros: Option<MicroDollars>,
    /// What a unit beyond `included` costs.
    pub overage_micros: Option<MicroDollars>,
    /// The base fee per billing period.
    pub base_micros: MicroDollars,
}

impl Quota {
    /// The plan's quota, bought `quantity` times; the organization's own settings override it.
    #[must_use]
    pub fn in_force(plan: &Plan, quantity: u64, own: &QuotaOverride) -> Self {
        let policy = match plan.overage_micros {
            Some(_) => own.policy.unwrap_or(plan.policy),
            None => QuotaPolicy::Block,
        };
        Self {
            included: own.included.unwrap_or(plan.included.saturating_mul(quantity)),
            policy,
            cap_percent: own.cap_percent.unwrap_or(plan.cap_percent),
            spend_cap_micros: own.spend_cap_micros,
            overage_micros: plan.overage_micros,
            base_micros: plan.base_micros.saturating_mul(quantity),
        }
    }

    /// Units after which requests are denied; `None` when none are denied.
    #[must_use]
    pub fn cap(&self) -> Option<u64> {
        let by_policy = match self.policy {
            QuotaPolicy::Block => Some(self.included),
            QuotaPolicy::SoftCap => Some(percent_of(self.included, self.cap_percent)),
            QuotaPolicy::Allow => None,
        };
        let by_spend = match (self.spend_cap_micros, self.overage_micros) {
            (Some(spend), Some(price)) if price > 0 => {
                Some(self.included.saturating_add(spend / price))
            }
            (Some(_) | None, Some(_) | None) => None,
        };
        match (by_policy, by_spend) {
            (Some(policy), Some(spend)) => Some(policy.min(spend)),
            (policy, spend) => policy.or(spend),
        }
    }

    /// Units beyond the included ones.
    #[must_use]
    pub const fn overage_units(&self, used: u64) -> u64 {
        used.saturating_sub(self.included)
    }

    /// What the period costs: base fee and overage, in micro-dollars.
    #[must_use]
    pub fn amount_micros(&self, used: u64) -> MicroDollars {
        let overage = self.overage_units(used).saturating_mul(self.overage_micros.unwrap_or(0));
        self.base_micros.saturating_add(overage)
    }
}

fn percent_of(units: u64, percent: u32) -> u64 {
    let exact = u128::from(units) * u128::from(percent) / 100;
    u64::try_from(exact).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standard() -> Quota {
        Quota {
            included: 250_000,
            policy: QuotaPolicy::SoftCap,
            cap_percent: 120,
            spend_cap_micros: None,
            overage_micros: Some(3_500),
            base_micros: 49_000_000,
        }
    }

    #[test]
    fn the_worked_example_costs_136_dollars_50() {
        assert_eq!(standard().amount_micros(275_000), 136_500_000);
        assert_eq!(standard().overage_units(275_000), 25_000);
        assert_eq!(standard().amount_micros(10), 49_000_000);
    }

    #[test]
    fn the_lower_of_two_caps_counts() {
        assert_eq!(standard().cap(), Some(300_000));
        let spending = Quota { spend_cap_micros: Some(35_000_000), ..standard() };
        assert_eq!(spending.cap(), Some(260_000));
        let open = Quota { policy: QuotaPolicy::Allow, ..standard() };
        assert_eq!(open.cap(), None);
        let open_but_capped = Quota { spend_cap_micros: Some(3_501), ..open };
        assert_eq!(open_but_capped.cap(), Some(250_001), "a part of a unit buys nothing");
    }

    #[test]
    fn without_an_overage_price_only_block_exists() {
        let plan = Plan {
            name: "developer".into(),
            base_micros: 0,
            included: 10_000,
            overage_micros: None,
            policy: QuotaPolicy::Block,
            cap_percent: 120,
            requests_per_minute: 60,
            needs_subscription: false,
        };
        let own = QuotaOverride { policy: Some(QuotaPolicy::Allow), ..QuotaOverride::default() };
        assert_eq!(Quota::in_force(&plan, 1, &own).cap(), Some(10_000));
    }
}
