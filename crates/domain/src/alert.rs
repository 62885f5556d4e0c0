//! Alerts for people: usage thresholds, failed payments, usage reports that Stripe rejects.
//!
//! An alert is stored in the commit that causes it, so that none is lost in a crash. Kind and
//! subject identify it: a cause that is seen again raises no second alert.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::entitlement::Terms;
use crate::id::OrganizationId;
use crate::time::Timestamp;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertKind {
    /// 70 % of the included units are used.
    #[serde(rename = "usage_70_percent")]
    Usage70Percent,
    /// 90 % of them.
    #[serde(rename = "usage_90_percent")]
    Usage90Percent,
    /// All of them.
    #[serde(rename = "usage_100_percent")]
    Usage100Percent,
    /// The first unit beyond them.
    OverageStarted,
    /// The cap: later requests are denied.
    CapReached,
    /// A payment failed; requests are allowed until the grace time ends.
    PaymentFailed,
    /// The grace time ends within a day.
    GraceEnding,
    /// The trial is about to end.
    TrialEnding,
    /// A charge is disputed.
    ChargeDisputed,
    /// A customer has more than one live subscription.
    SeveralSubscriptions,
    /// Stripe rejected a usage report permanently, or found an error in one that it had accepted.
    MeterError,
    /// Stripe's sums and the ledger differ.
    UsageDrift,
    /// More units are included now, so overage that was reported to Stripe is none any more: a
    /// negative quantity is reported.
    OverageOverreported,
}

/// One alert.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    /// The organization that it is about.
    pub organization: OrganizationId,
    /// What happened.
    pub kind: AlertKind,
    /// Distinguishes alerts of one kind: a period's start, an invoice, a bucket.
    pub subject: String,
    /// When it happened.
    pub at: Timestamp,
    /// Further data, which depend on the kind.
    pub details: Value,
}

impl AlertKind {
    /// Its name in the store and the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Usage70Percent => "usage_70_percent",
            Self::Usage90Percent => "usage_90_percent",
            Self::Usage100Percent => "usage_100_percent",
            Self::OverageStarted => "overage_started",
            Self::CapReached => "cap_reached",
            Self::PaymentFailed => "payment_failed",
            Self::GraceEnding => "grace_ending",
            Self::TrialEnding => "trial_ending",
            Self::ChargeDisputed => "charge_disputed",
            Self::SeveralSubscriptions => "several_subscriptions",
            Self::MeterError => "meter_error",
            Self::UsageDrift => "usage_drift",
            Self::OverageOverreported => "overage_overreported",
        }
    }
}

/// The alerts of the thresholds that are reached when an organization's units go from `before` to
/// `after` under these terms.
pub fn crossed(
    organization: OrganizationId,
    terms: Terms,
    before: u64,
    after: u64,
    at: Timestamp,
) -> impl Iterator<Item = Alert> {
    alerts(organization, terms, at, move |units| before < units && units <= after)
}

/// The alerts of all thresholds that the used units reach under new terms: a change of plan can
/// reach several of them at once. Alerts that were raised in this period are not raised again,
/// since kind and subject are the same.
pub fn reached(
    organization: OrganizationId,
    terms: Terms,
    used: u64,
    at: Timestamp,
) -> impl Iterator<Item = Alert> {
    // Without use no threshold is reached, not even a cap of 0.
    alerts(organization, terms, at, move |units| units.max(1) <= used)
}

/// The alerts of the thresholds whose units `is_reached` accepts.
fn alerts(
    organization: OrganizationId,
    terms: Terms,
    at: Timestamp,
    is_reached: impl Fn(u64) -> bool,
) -> impl Iterator<Item = Alert> {
    thresholds(terms).into_iter().filter_map(move |(kind, units)| {
        let units = units.filter(|units| is_reached(*units))?;
        let subject = terms.period.start.secs().to_string();
        let details = json!({
            "threshold_units": units,
            "included": terms.included,
            "cap": terms.cap,
            "period": terms.period,
        });
        Some(Alert { organization, kind, subject, at, details })
    })
}

/// The units that reach each threshold. Without included units there are no percentages of them.
fn thresholds(terms: Terms) -> [(AlertKind, Option<u64>); 5] {
    let Terms { included, cap, .. } = terms;
    let share = |percent: u128| {
        let units = (u128::from(included) * percent).div_ceil(100);
        (included > 0).then(|| u64::try_from(units).unwrap_or(u64::MAX))
    };
    let beyond = included.checked_add(1).filter(|first| cap.is_none_or(|cap| cap >= *first));
    [
        (AlertKind::Usage70Percent, share(70)),
        (AlertKind::Usage90Percent, share(90)),
        (AlertKind::Usage100Percent, share(100)),
        (AlertKind::OverageStarted, beyond),
        (AlertKind::CapReached, cap),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::period::Period;

    const ID: OrganizationId = OrganizationId::from_bytes([7; 16]);

    fn terms(included: u64, cap: Option<u64>) -> Terms {
        let period = Period::calendar_month(Timestamp::from_secs(1_800_000_000));
        Terms::free(period, included, cap)
    }

    fn raised(included: u64, cap: Option<u64>, before: u64, after: u64) -> Vec<AlertKind> {
        let alerts = crossed(ID, terms(included, cap), before, after, Timestamp::default());
        alerts.map(|alert| alert.kind).collect()
    }

    #[test]
    fn each_threshold_is_reached_by_exactly_one_unit() {
        use AlertKind::{
            CapReached, OverageStarted, Usage70Percent, Usage90Percent, Usage100Percent,
        };
        let steps = |included, cap, until: u64| -> Vec<(u64, AlertKind)> {
            let step = |unit| raised(included, cap, unit - 1, unit).into_iter();
            (1..=until).flat_map(|unit| step(unit).map(move |kind| (unit, kind))).collect()
        };
        let soft = [
            (7, Usage70Percent),
            (9, Usage90Percent),
            (10, Usage100Percent),
            (11, OverageStarted),
            (12, CapReached),
        ];
        assert_eq!(steps(10, Some(12), 20), soft);
        assert_eq!(raised(10, Some(12), 0, 12), soft.map(|(_, kind)| kind), "all at once, too");
        let block =
            [(3, Usage70Percent), (3, Usage90Percent), (3, Usage100Percent), (3, CapReached)];
        assert_eq!(steps(3, Some(3), 5), block, "shares are rounded up");
        assert_eq!(steps(0, None, 3), [(1, OverageStarted)], "no percentages of 0 units");
        assert_eq!(raised(u64::MAX, None, 0, u64::MAX).len(), 3);
    }

    #[test]
    fn new_terms_reach_what_lies_at_or_below_the_units_used() {
        use AlertKind::{
            CapReached, OverageStarted, Usage70Percent, Usage90Percent, Usage100Percent,
        };
        let kinds = |included, cap, used| -> Vec<AlertKind> {
            let alerts = reached(ID, terms(included, cap), used, Timestamp::default());
            alerts.map(|alert| alert.kind).collect()
        };
        let all = [Usage70Percent, Usage90Percent, Usage100Percent, OverageStarted, CapReached];
        assert_eq!(kinds(10, Some(12), 12), all);
        assert_eq!(kinds(10, Some(12), 500), all, "far beyond, too");
        assert_eq!(kinds(10, Some(12), 11), all[..4]);
        assert_eq!(kinds(10, Some(12), 6), []);
        assert_eq!(kinds(0, Some(0), 1), [CapReached]);
        assert_eq!(kinds(0, Some(0), 0), [], "nothing is used");
        // The same thresholds are reached by use, step by step, and by a change of terms.
        for used in 0..20 {
            assert_eq!(kinds(10, Some(12), used), raised(10, Some(12), 0, used), "{used} units");
        }
        let same = reached(ID, terms(10, None), 7, Timestamp::default()).next();
        assert_eq!(same, crossed(ID, terms(10, None), 6, 7, Timestamp::default()).next());
    }

    #[test]
    fn names_are_the_same_everywhere() {
        let month = Period::calendar_month(Timestamp::default());
        for (kind, _) in thresholds(Terms::free(month, 1, None)) {
            assert_eq!(serde_json::to_value(kind).expect("JSON"), kind.as_str());
        }
        for kind in [AlertKind::UsageDrift, AlertKind::OverageOverreported] {
            assert_eq!(serde_json::to_value(kind).expect("JSON"), kind.as_str());
        }
    }
}
