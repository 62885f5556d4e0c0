//! The caller and the route of a request, as far as the steps found them, for the audit row of a
//! refusal.

use std::net::IpAddr;
use std::sync::Arc;

use driftlock_domain::audit::AuditRecord;
use driftlock_domain::route::Route;
use driftlock_domain::text;
use driftlock_domain::time::Timestamp;

use crate::audit::DenialKind;
use crate::gateway::{Gateway, RequestId};
use crate::intern::intern;
use crate::keys::CachedKey;
use crate::ports::{Platform, Refusal};

/// Empty until the key is found: before that no organization, and so no audit log, is known.
#[derive(Default)]
pub(crate) struct AuditContext(Option<(Arc<CachedKey>, Arc<Route>)>);

impl AuditContext {
    pub(super) fn caller(&mut self, key: &Arc<CachedKey>, route: &Arc<Route>) {
        self.0 = Some((Arc::clone(key), Arc::clone(route)));
    }

    /// Queues the audit row of a refusal.
    pub(crate) fn refused<P: Platform>(
        self,
        gateway: &Gateway<P>,
        id: &RequestId,
        ip: IpAddr,
        at: Timestamp,
        refusal: &Refusal,
    ) {
        let Some((key, route)) = self.0 else { return };
        let organization = key.record.organization;
        let row = |code: &str| AuditRecord {
            at,
            actor: Arc::clone(&key.id),
            action: intern("request"),
            resource: Arc::clone(&route.label),
            outcome: intern(code),
            request_id: Arc::clone(&id.text),
            ip: text::ip(ip).as_str().into(),
            details: intern("{}"),
        };
        let queue = &gateway.shared.audit;
        match refusal {
            Refusal::Denied(denial, _) => {
                let (key, route, code) = (key.record.id, route.index, denial.code());
                queue.push_denial(DenialKind { organization, key, route, code }, row(code));
            }
            Refusal::Fault(fault) => queue.push(organization, row(fault.code())),
        }
    }
}
