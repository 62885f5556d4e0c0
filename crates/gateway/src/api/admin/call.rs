//! A call of the admin API, with the helpers that endpoints share.

use std::sync::Arc;

use bytes::Bytes;
use driftlock_domain::audit::AuditRecord;
use driftlock_domain::denial::{Denial, Fault};
use driftlock_domain::id::{KeyId, OrganizationId};
use driftlock_domain::key::KeyRecord;
use driftlock_domain::organization::Organization;
use driftlock_domain::problem::Problem;
use driftlock_domain::stripe::clearing::Clearing;
use driftlock_domain::time::Timestamp;
use http::request::Parts as Head;
use http::{Method, Response, StatusCode};
use serde_json::Value;

use super::input;
use crate::gateway::{Arrival, Gateway, RequestBody, RequestId, ResponseBody};
use crate::ports::{Directory, Platform, Refusal, Upstream};

/// The largest body that an endpoint accepts, in bytes.
const BODY_BYTES_MAX: u64 = 64 << 10;

/// An endpoint's answer.
pub(super) type Reply<P> = Result<Response<ResponseBody<P>>, Failure>;

/// Why an endpoint does not answer.
pub(super) enum Failure {
    /// A problem of this API, as the caller gets it.
    Problem(Problem),
    /// A refusal as on all other paths.
    Refusal(Refusal),
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refusal(refusal)
    }
}

impl From<Denial> for Failure {
    fn from(denial: Denial) -> Self {
        Self::Refusal(denial.into())
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Self::Refusal(fault.into())
    }
}

impl Failure {
    /// A body or parameter is not valid; `detail` says what would be right.
    pub(super) fn invalid(detail: impl Into<String>) -> Self {
        let title = "The request is not valid";
        let (status, code) = (StatusCode::BAD_REQUEST, "invalid-request");
        Self::Problem(Problem::new(status, code, title, detail.into()))
    }

    /// The resource that the path names does not exist.
    pub(super) fn not_found(what: &str) -> Self {
        let title = "There is no such resource";
        let detail = format!("There is no {what} with this id.");
        Self::Problem(Problem::new(StatusCode::NOT_FOUND, "not-found", title, detail))
    }

    /// The resource's state does not allow the call.
    pub(super) fn conflict(detail: impl Into<String>) -> Self {
        let title = "The resource's state does not allow this";
        Self::Problem(Problem::new(StatusCode::CONFLICT, "conflict", title, detail.into()))
    }
}

/// An authorized call.
pub(super) struct AdminCall<'a, P: Platform> {
    pub(super) gateway: &'a Gateway<P>,
    pub(super) at: Timestamp,
    id: RequestId,
    ip: Arc<str>,
    pub(super) head: Head,
    body: Option<RequestBody<P>>,
}

impl<'a, P: Platform> AdminCall<'a, P> {
    pub(super) fn new(gateway: &'a Gateway<P>, arrival: Arrival<P>) -> Self {
        let Arrival { at, id, ip, head, body, .. } = arrival;
        Self { gateway, at, id, ip: ip.to_string().into(), head, body: Some(body) }
    }

    pub(super) fn method(&self) -> &Method {
        &self.head.method
    }

    pub(super) fn is(&self, method: &Method) -> bool {
        self.head.method == *method
    }

    /// Reads the body, once.
    pub(super) async fn body(&mut self) -> Result<Bytes, Failure> {
        match self.body.take() {
            Some(body) => {
                let buffers = &self.gateway.shared.buffers;
                Ok(self.gateway.upstream.collect(body, BODY_BYTES_MAX, buffers).await?)
            }
            None => Ok(Bytes::new()),
        }
    }

    /// The audit row of a change.
    pub(super) fn audit(&self, action: &str, resource: String, details: &Value) -> AuditRecord {
        AuditRecord {
            at: self.at,
            actor: "admin".into(),
            action: action.into(),
            resource: resource.into(),
            outcome: "ok".into(),
            request_id: Arc::clone(&self.id.text),
            ip: Arc::clone(&self.ip),
            details: details.to_string().into(),
        }
    }

    /// Who clears a dispute, and why.
    pub(super) fn clearing(&self, reason: String) -> Clearing {
        let AuditRecord { actor, request_id, ip, .. } = self.audit("", String::new(), &Value::Null);
        let [by, request_id, ip] = [actor, request_id, ip].map(|text| text.to_string());
        Clearing { by, reason, request_id, ip }
    }

    /// The organization that the path names.
    pub(super) async fn organization(&self, id: &str) -> Result<Organization, Failure> {
        let id: OrganizationId = input::id(id, "organization")?;
        let found = self.gateway.directory.organization(id).await?;
        found.ok_or_else(|| Failure::not_found("organization"))
    }

    /// The key that the path names.
    pub(super) async fn key(&self, id: &str) -> Result<KeyRecord, Failure> {
        let id: KeyId = input::id(id, "key")?;
        self.gateway.directory.key(id).await?.ok_or_else(|| Failure::not_found("key"))
    }
}
