//! What the steps know of a request, and what they hand on.

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use driftlock_domain::audit::AuditRecord;
use driftlock_domain::cell::{Hold, LimitsNow};
use driftlock_domain::denial::Denial;
use driftlock_domain::entitlement::Entitlement;
use driftlock_domain::filter::declared_length;
use driftlock_domain::headers::TrustedWay;
use driftlock_domain::id::{OrganizationId, UsageId};
use driftlock_domain::idempotency::{Claim, Fingerprint, IdempotencyKey};
use driftlock_domain::ledger_host::LedgerHost;
use driftlock_domain::route::Route;
use driftlock_domain::text;
use driftlock_domain::time::Timestamp;
use http::request::Parts as Head;
use http::{Method, Response};

use crate::gateway::{Gateway, RequestBody, RequestId, ResponseBody};
use crate::intern::intern;
use crate::keys::KeyFacts;
use crate::ports::{Admission, Platform, Refusal, Upstream};

/// A request of a known caller, entitled to the route.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) at: Timestamp,
    pub(crate) id: RequestId,
    pub(crate) ip: IpAddr,
    pub(crate) trusted: TrustedWay,
    pub(crate) method: Method,
    pub(crate) route: Arc<Route>,
    pub(crate) key: Arc<KeyFacts>,
    pub(crate) entitlement: Entitlement,
    pub(crate) ledger: LedgerHost,
}

impl Call {
    pub(crate) fn organization(&self) -> OrganizationId {
        self.key.record.organization
    }

    /// The audit row of this request with this outcome.
    pub(crate) fn audit(&self, at: Timestamp, action: &str, outcome: &str) -> AuditRecord {
        AuditRecord {
            at,
            actor: Arc::clone(&self.key.id),
            action: intern(action),
            resource: Arc::clone(&self.route.label),
            outcome: intern(outcome),
            request_id: Arc::clone(&self.id.text),
            ip: text::ip(self.ip).as_str().into(),
            details: intern("{}"),
        }
    }
}

/// The request as it will be forwarded: its path is in normal form, its headers are the client's.
pub(crate) struct Forwarded<P: Platform> {
    pub(crate) head: Head,
    pub(crate) body: RequestBody<P>,
    pub(crate) body_bytes_max: u64,
}

impl<P: Platform> Forwarded<P> {
    /// With a body that fails once it exceeds the route's limit; a declared length was checked.
    pub(crate) fn limited(mut self) -> Self {
        if declared_length(&self.head.headers).is_none() {
            self.body = P::Upstream::limited(self.body, self.body_bytes_max);
        }
        self
    }
}

/// A request that was admitted: it alone may be forwarded.
pub(crate) struct Admitted<P: Platform> {
    pub(crate) gateway: Gateway<P>,
    pub(crate) call: Rc<Call>,
    pub(crate) limits: LimitsNow,
    pub(crate) held: Option<Held<P>>,
}

/// A request that the backend answered.
pub(crate) struct Answered<P: Platform> {
    pub(crate) admitted: Admitted<P>,
    pub(crate) response: Response<ResponseBody<P>>,
}

/// An answer whose usage, if it has any, is in the ledger.
pub(crate) struct Settled<P: Platform> {
    pub(crate) limits: LimitsNow,
    pub(crate) receipt: Option<UsageId>,
    pub(crate) response: Response<ResponseBody<P>>,
}

/// Units held for a request: dropped, they go back, and so does the idempotency key.
pub(crate) struct Held<P: Platform> {
    gateway: Gateway<P>,
    organization: OrganizationId,
    pub(crate) hold: Hold,
    key: Option<IdempotencyKey>,
    /// What the key stands for, once the request's body was read.
    fingerprint: Option<Fingerprint>,
    live: bool,
}

impl<P: Platform> Held<P> {
    pub(crate) fn new(
        gateway: Gateway<P>,
        organization: OrganizationId,
        hold: Hold,
        key: Option<IdempotencyKey>,
    ) -> Self {
        Self { gateway, organization, hold, key, fingerprint: None, live: true }
    }

    /// The body was read: this is what the key stands for.
    pub(crate) fn stands_for(&mut self, fingerprint: Fingerprint) {
        self.fingerprint = Some(fingerprint);
    }

    /// What a settlement claims.
    pub(crate) fn claim(&self) -> Option<Claim> {
        Some(Claim { key: self.key?, fingerprint: self.fingerprint? })
    }

    /// The units are used: only the idempotency key goes back.
    pub(crate) fn used(mut self) {
        self.live = false;
        if let Some(key) = self.key {
            self.gateway.admission.finish(self.organization, key, self.hold.usage);
        }
    }
}

impl<P: Platform> Drop for Held<P> {
    fn drop(&mut self) {
        if self.live {
            self.gateway.admission.release(self.organization, self.hold, self.key);
        }
    }
}

pub(crate) fn denied(denial: impl Into<Denial>) -> Refusal {
    Refusal::Denied(denial.into(), None)
}
