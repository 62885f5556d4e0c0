//! An organization in an answer of the API.

use driftlock_domain::config::Config;
use driftlock_domain::entitlement::{Decision, NotEntitled, Source, decide};
use driftlock_domain::id::OrganizationId;
use driftlock_domain::ledger_host::LedgerHost;
use driftlock_domain::organization::{Organization, OrganizationStatus};
use driftlock_domain::period::Period;
use driftlock_domain::quota::QuotaPolicy;
use driftlock_domain::stripe::account::{BillingState, LastChange};
use driftlock_domain::time::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

#[derive(Serialize)]
pub(super) struct OrganizationView {
    id: OrganizationId,
    name: String,
    plan: String,
    status: OrganizationStatus,
    quota: Option<QuotaView>,
    requests_per_minute: Option<u32>,
    stripe_customer_id: Option<String>,
    subscription: Option<Value>,
    entitlement: EntitlementView,
    created_at: Timestamp,
    ledger: LedgerHost,
    #[serde(skip_serializing_if = "Option::is_none")]
    billing: Option<BillingView>,
}

/// Whether the organization may call now, as requests are decided.
#[derive(Serialize)]
struct EntitlementView {
    may_call: bool,
    /// Why the organization may not call.
    reason: Option<NotEntitled>,
    source: Source,
    /// The plan whose quota applies.
    plan: String,
    quantity: u64,
    period: Period,
}

/// The billing state from Stripe's events, besides the subscription.
#[derive(Serialize)]
struct BillingView {
    price: Option<String>,
    trial_ends: Option<Timestamp>,
    trial_ending: bool,
    disputed: bool,
    disputes: Vec<String>,
    customer_deleted: bool,
    last_change: Option<LastChange>,
}

/// The quota in force: that of the applicable plan, overridden by the organization's settings.
#[derive(Serialize)]
struct QuotaView {
    included: u64,
    policy: QuotaPolicy,
    cap_percent: u32,
    spend_cap_micros: Option<u64>,
}

impl OrganizationView {
    pub(super) fn of(organization: Organization, config: &Config, now: Timestamp) -> Self {
        let decision = decide(&organization, config, now);
        let plan = config.plan(decision.plan);
        let quota = plan.map(|plan| decision.quota(&organization, plan));
        let entitlement = EntitlementView::of(&decision);
        let subscription = decision.shown.map(|shown| json!(shown));
        Self {
            id: organization.id,
            name: organization.name,
            plan: organization.plan,
            status: organization.status,
            quota: quota.map(|quota| QuotaView {
                included: quota.included,
                policy: quota.policy,
                cap_percent: quota.cap_percent,
                spend_cap_micros: quota.spend_cap_micros,
            }),
            requests_per_minute: organization.requests_per_minute,
            stripe_customer_id: organization.stripe_customer_id,
            subscription,
            entitlement,
            created_at: organization.created_at,
            ledger: organization.ledger,
            billing: None,
        }
    }

    pub(super) fn with_billing(mut self, billing_state: Option<BillingState>) -> Self {
        self.billing = billing_state.map(|billing_state| BillingView {
            price: billing_state.price,
            trial_ends: billing_state.trial_ends,
            trial_ending: billing_state.trial_ending,
            disputed: billing_state.disputed,
            disputes: billing_state.disputes,
            customer_deleted: billing_state.customer_deleted,
            last_change: billing_state.last_change,
        });
        self
    }
}

impl EntitlementView {
    fn of(decision: &Decision<'_>) -> Self {
        Self {
            may_call: decision.verdict.is_ok(),
            reason: decision.verdict.err(),
            source: decision.source,
            plan: decision.plan.to_owned(),
            quantity: decision.quantity,
            period: decision.period,
        }
    }
}
