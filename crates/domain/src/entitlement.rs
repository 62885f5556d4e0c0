//! Decides whether an organization may call now, and on what terms. The rule is the table in
//! `docs/stripe.md`.
//!
//! [`decide`] checks the candidates in this order: the operator's contract, Stripe's subscriptions
//! (the one created last comes first), the organization's own plan. The first candidate that
//! entitles decides. It runs for every request, so that a grace time or a subscription ends without
//! any event.

mod candidate;
mod reason;

use std::num::NonZeroU32;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::{AfterSubscription, Config};
use crate::organization::{Organization, OrganizationStatus};
use crate::period::Period;
use crate::plan::{MicroDollars, Plan};
use crate::quota::Quota;
use crate::time::Timestamp;

pub use candidate::ShownSubscription;
pub use reason::NotEntitled;

use candidate::Candidate;

/// The quota's terms in force: what a lease is granted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// The billing period.
    pub period: Period,
    /// Units included in it.
    pub included: u64,
    /// Units after which requests are denied; `None` when none are denied.
    pub cap: Option<u64>,
    /// What the period costs.
    #[serde(default)]
    pub price: Price,
}

impl Terms {
    /// Terms that cost nothing.
    #[must_use]
    pub fn free(period: Period, included: u64, cap: Option<u64>) -> Self {
        Self { period, included, cap, price: Price::default() }
    }

    /// The part that a ledger stores with the period: a closed period is shown with these terms.
    #[must_use]
    pub const fn frozen(&self) -> FrozenTerms {
        FrozenTerms { included: self.included, price: self.price }
    }
}

/// What a period costs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Price {
    /// The base fee, in micro-dollars.
    pub base_micros: MicroDollars,
    /// What a unit beyond the included ones costs, where there is overage to buy.
    pub overage_micros: Option<MicroDollars>,
}

/// The terms that a period had when units were last leased in it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrozenTerms {
    /// Units included in it.
    pub included: u64,
    /// What it costs.
    pub price: Price,
}

impl FrozenTerms {
    /// Units beyond the included ones.
    #[must_use]
    pub const fn overage_units(&self, used: u64) -> u64 {
        used.saturating_sub(self.included)
    }

    /// What `used` units cost: base fee and overage, in micro-dollars.
    #[must_use]
    pub fn amount_micros(&self, used: u64) -> MicroDollars {
        let each = self.price.overage_micros.unwrap_or(0);
        self.price.base_micros.saturating_add(self.overage_units(used).saturating_mul(each))
    }
}

/// What an organization may do now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entitlement {
    /// The quota's terms.
    pub terms: Terms,
    /// Requests per minute of a key that has no limit of its own.
    pub key_requests_per_minute: NonZeroU32,
    /// Requests per minute over all keys.
    pub organization_requests_per_minute: Option<NonZeroU32>,
}

/// Which candidate decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The contract that an operator set.
    Contract,
    /// A subscription at Stripe.
    Stripe,
    /// The organization's own plan.
    OwnPlan,
}

/// The decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision<'a> {
    /// Whether the organization may call, and if not, why.
    pub verdict: Result<(), NotEntitled>,
    /// The candidate that gives plan and period: the one that entitles, else the one that is
    /// nearest to entitling and was in service, else the own plan.
    pub source: Source,
    /// The subscription to show.
    pub shown: Option<ShownSubscription<'a>>,
    /// The plan whose quota counts.
    pub plan: &'a str,
    /// How many times the plan's included units count.
    pub quantity: u64,
    /// The period that the included units are for.
    pub period: Period,
}

/// Decides whether an organization may call, by its contract, all its subscriptions at Stripe and
/// its own plan.
#[must_use]
pub fn decide<'a>(organization: &'a Organization, config: &Config, now: Timestamp) -> Decision<'a> {
    let decision = decide_active(organization, config, now);
    match organization.status {
        OrganizationStatus::Active => decision,
        OrganizationStatus::Suspended => {
            Decision { verdict: Err(NotEntitled::Suspended), ..decision }
        }
    }
}

fn decide_active<'a>(
    organization: &'a Organization,
    config: &Config,
    now: Timestamp,
) -> Decision<'a> {
    let grace = Duration::from_secs(u64::from(config.stripe.grace_days) * 86_400);
    let contract = organization.contract.iter();
    let contract = contract.map(|set| (Source::Contract, Candidate::contract(set, now)));
    let bought = organization.bought().iter();
    let bought = bought.map(|one| (Source::Stripe, Candidate::bought(one, grace, now)));
    let mut nearest: Option<(NotEntitled, Source, Candidate<'a>)> = None;
    let mut was_live =
        organization.purchases.as_ref().is_some_and(|all| all.was_live || all.was_live_before);
    for (source, candidate) in contract.chain(bought) {
        let Err(reason) = candidate.verdict else { return of(source, candidate) };
        was_live |= source == Source::Contract && candidate.has_served;
        let is_nearer =
            |found: &(NotEntitled, Source, Candidate<'_>)| reason.nearness() > found.0.nearness();
        if nearest.as_ref().is_none_or(is_nearer) {
            nearest = Some((reason, source, candidate));
        }
    }
    let needs_subscription =
        config.plan(&organization.plan).is_none_or(|plan| plan.needs_subscription);
    let may_use_own_plan = match config.metering.after_subscription {
        AfterSubscription::OwnPlan => true,
        AfterSubscription::Refuse => !was_live,
    };
    let verdict = if !needs_subscription && may_use_own_plan {
        Ok(())
    } else {
        let without =
            if was_live { NotEntitled::SubscriptionEnded } else { NotEntitled::NoSubscription };
        Err(nearest.as_ref().map_or(without, |(reason, ..)| *reason))
    };
    match nearest {
        // Usage is shown with this candidate's terms until it is renewed or replaced.
        Some((_, source, candidate)) if verdict.is_err() && candidate.has_served => {
            Decision { verdict, ..of(source, candidate) }
        }
        nearest => Decision {
            verdict,
            source: Source::OwnPlan,
            shown: nearest.map(|(_, _, candidate)| candidate.shown),
            plan: &organization.plan,
            quantity: 1,
            period: Period::calendar_month(now),
        },
    }
}

fn of(source: Source, candidate: Candidate<'_>) -> Decision<'_> {
    Decision {
        verdict: candidate.verdict,
        source,
        plan: candidate.shown.plan,
        shown: Some(candidate.shown),
        quantity: candidate.quantity,
        period: candidate.period,
    }
}

impl Decision<'_> {
    /// The quota in force under this decision.
    #[must_use]
    pub fn quota(&self, organization: &Organization, plan: &Plan) -> Quota {
        Quota::in_force(plan, self.quantity, &organization.quota)
    }

    /// The terms in force, whether or not the organization may call; `plan` is the plan that
    /// [`Self::plan`] names.
    #[must_use]
    pub fn entitlement(&self, organization: &Organization, plan: &Plan) -> Entitlement {
        let quota = self.quota(organization, plan);
        Entitlement {
            terms: Terms {
                period: self.period,
                included: quota.included,
                cap: quota.cap(),
                price: Price {
                    base_micros: quota.base_micros,
                    overage_micros: quota.overage_micros,
                },
            },
            key_requests_per_minute: NonZeroU32::new(plan.requests_per_minute)
                .unwrap_or(NonZeroU32::MIN),
            organization_requests_per_minute: organization
                .requests_per_minute
                .and_then(NonZeroU32::new),
        }
    }
}

#[cfg(test)]
mod tests;
