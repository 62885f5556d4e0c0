//! Makers of ordinary records, so that a test states only what matters to it.

use std::num::NonZeroU32;
use std::time::Duration;

use driftlock_domain::audit::AuditRecord;
use driftlock_domain::cell::{Charge, HoldAsk};
use driftlock_domain::entitlement::Terms;
use driftlock_domain::id::{KeyId, NodeId, OrganizationId, UsageId};
use driftlock_domain::idempotency::IdempotencyKey;
use driftlock_domain::key::{KeyHash, KeyRecord};
use driftlock_domain::lease::LeaseAsk;
use driftlock_domain::ledger_host::LedgerHost;
use driftlock_domain::organization::{Organization, OrganizationStatus};
use driftlock_domain::period::Period;
use driftlock_domain::quota::QuotaOverride;
use driftlock_domain::time::Timestamp;
use driftlock_domain::usage::Settlement;

/// The instant at which tests begin: the middle of a month.
#[must_use]
pub fn now() -> Timestamp {
    Timestamp::parse("2026-06-15T12:30:00Z").expect("RFC 3339")
}

/// The organization of this number.
#[must_use]
pub fn organization_id(number: u8) -> OrganizationId {
    OrganizationId::from_bytes([number; 16])
}

/// The key of this number.
#[must_use]
pub fn key_id(number: u8) -> KeyId {
    KeyId::from_bytes([number; 16])
}

/// The node of this number.
#[must_use]
pub fn node(number: u8) -> NodeId {
    NodeId::from_bytes([number; 16])
}

/// The usage id of this number, made at this instant.
#[must_use]
pub fn usage(at: Timestamp, number: u64) -> UsageId {
    let mut entropy = [0; 10];
    entropy[2..].copy_from_slice(&number.to_be_bytes());
    UsageId::make(at, entropy)
}

/// An active organization.
#[must_use]
pub fn organization(number: u8) -> Organization {
    Organization {
        id: organization_id(number),
        name: format!("Organization {number}"),
        plan: "developer".into(),
        status: OrganizationStatus::Active,
        quota: QuotaOverride::default(),
        requests_per_minute: None,
        stripe_customer_id: None,
        contract: None,
        purchases: None,
        created_at: now(),
        ledger: LedgerHost::default(),
    }
}

/// A key of an organization, and its hash.
#[must_use]
pub fn key(number: u8, organization: u8) -> (KeyRecord, KeyHash) {
    let record = KeyRecord {
        id: key_id(number),
        organization: organization_id(organization),
        name: format!("key {number}"),
        prefix: "dlk_00000000".into(),
        scopes: vec!["*".into()],
        requests_per_minute: Some(7),
        ip_allow: vec!["192.0.2.0/24".parse().expect("a network")],
        expires_at: None,
        revoked_at: None,
        last_used_at: None,
        created_at: now(),
    };
    (record, KeyHash([number; 32]))
}

/// An audit record.
#[must_use]
pub fn audit(action: &str) -> AuditRecord {
    AuditRecord {
        at: now(),
        actor: "admin".into(),
        action: action.into(),
        resource: "r".into(),
        outcome: "ok".into(),
        request_id: "id".into(),
        ip: "192.0.2.1".into(),
        details: "{}".into(),
    }
}

/// Terms of the month of [`now`] with this cap.
#[must_use]
pub fn terms(cap: Option<u64>) -> Terms {
    Terms::free(Period::calendar_month(now()), cap.unwrap_or(0), cap)
}

/// A lease request under these terms.
#[must_use]
pub fn ask(cap: Option<u64>, keep: u64, want: u64) -> LeaseAsk {
    LeaseAsk { terms: terms(cap), number: 1, keep, want }
}

/// A settlement of one unit.
#[must_use]
pub fn settlement(organization: u8, number: u64) -> Settlement {
    Settlement {
        usage: usage(now(), number),
        organization: organization_id(organization),
        key: key_id(organization),
        route: "POST /api/v1/anomalies/detect".into(),
        units: 1,
        node: node(1),
        request_id: format!("request-{number}").into(),
        claim: None,
        answer: None,
        audit: audit("request"),
    }
}

/// The charge of one metered request of an organization.
#[must_use]
pub fn charge(cap: Option<u64>, usage: UsageId, claim: Option<IdempotencyKey>) -> Charge {
    Charge {
        key: key_id(1),
        key_requests_per_minute: NonZeroU32::MAX,
        organization_requests_per_minute: None,
        terms: terms(cap),
        hold: Some(HoldAsk { usage, units: 1, lifetime: Duration::from_secs(60), claim }),
    }
}
