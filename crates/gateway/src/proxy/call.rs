//! The types that the steps pass on: a request from its entitlement to its settlement.

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
use crate::keys::CachedKey;
use crate::ports::{Admission, Platform, Refusal, Upstream};

/// A request of an authenticated caller that is entitled to the route.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) at: Timestamp,
    pub(crate) id: RequestId,
    pub(crate) ip: IpAddr,
    pub(crate) trusted: TrustedWay,
    pub(crate) method: Method,
    pub(crate) route: Arc<Route>,
    pub(crate) key: Arc<CachedKey>,
    pub(crate) entitlement: Entitlement,
    pub(crate) ledger: LedgerHost,
}

impl Call {
    pub(crate) fn organization(&self) -> OrganizationId {
        self.key.record.organization
    }

    /// The audit row for this request.
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

/// The request to be forwarded: its path is in normal form, its headers are still the client's.
pub(crate) struct Forwarded<P: Platform> {
    pub(crate) head: Head,
    pub(crate) body: RequestBody<P>,
    pub(crate) body_bytes_max: u64,
}

impl<P: Platform> Forwarded<P> {
    /// Makes the body fail once it exceeds the route's limit. A declared length needs no such body:
    /// routing has checked it.
    pub(crate) fn limited(mut self) -> Self {
        if declared_length(&self.head.headers).is_none() {
            self.body = P::Upstream::limited(self.body, self.body_bytes_max);
        }
        self
    }
}

/// An admitted request. Only an admitted request can be forwarded.
pub(crate) struct Admitted<P: Platform> {
    pub(crate) gateway: Gateway<P>,
    pub(crate) call: Rc<Call>,
    pub(crate) limits: LimitsNow,
    pub(crate) held: Option<Held<P>>,
}

/// A request with the backend's answer.
pub(crate) struct Answered<P: Platform> {
    pub(crate) admitted: Admitted<P>,
    pub(crate) response: Response<ResponseBody<P>>,
}

/// An answer whose charge, if it has one, is in the ledger.
pub(crate) struct Settled<P: Platform> {
    pub(crate) limits: LimitsNow,
    pub(crate) receipt: Option<UsageId>,
    pub(crate) response: Response<ResponseBody<P>>,
}

/// The units held for a request. When this is dropped, the units and the idempotency key are
/// released.
pub(crate) struct Held<P: Platform> {
    gateway: Gateway<P>,
    organization: OrganizationId,
    pub(crate) hold: Hold,
    key: Option<IdempotencyKey>,
    /// The fingerprint of the request, once its body was read.
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

    /// Sets the request's fingerprint, once its body was read.
    pub(crate) fn set_fingerprint(&mut self, fingerprint: Fingerprint) {
        self.fingerprint = Some(fingerprint);
    }

    /// The claim that is stored with the settlement.
    pub(crate) fn claim(&self) -> Option<Claim> {
        Some(Claim { key: self.key?, fingerprint: self.fingerprint? })
    }

    /// Ends the hold after settling: the units are used, only the idempotency key is released.
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
