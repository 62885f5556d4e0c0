//! Admission at the edge: calls of the organization's object.
//!
//! If the outcome of a settlement stays unknown, the client gets 503 and must not stay charged
//! (I2). So the request records a pending void in the directory before it answers, then voids the
//! settlement. If that fails, the cron voids it later.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use driftlock_domain::cell::{Admitted, Charge, Hold};
use driftlock_domain::denial::{Fault, FaultKind};
use driftlock_domain::entitlement::Terms;
use driftlock_domain::id::{NodeId, OrganizationId, UsageId};
use driftlock_domain::idempotency::{IdempotencyKey, Kept};
use driftlock_domain::time::Timestamp;
use driftlock_domain::usage::{Settled, Settlement};
use driftlock_gateway::ports::{Admission, Background, Clock, Refusal};
use worker::Delay;

use crate::background::RequestContext;
use crate::clock::EdgeClock;
use crate::directory::EdgeDirectory;
use crate::object::NODE;
use crate::objects::Objects;
use crate::request_idempotency::RequestIdempotency;
use crate::wire::Ask;

/// How long a request that could not settle tries to void, before the cron does.
const VOIDED_BY_CRON_AFTER: Duration = Duration::from_secs(30);
/// Waits before each attempt of that request.
const VOID_WAITS_SECS: [u64; 4] = [0, 1, 4, 10];

/// Admission for one request; clones share its state.
#[derive(Clone)]
pub(crate) struct EdgeAdmission {
    objects: Objects,
    directory: EdgeDirectory,
    context: RequestContext,
    /// The terms under which this request was admitted.
    terms: Rc<RefCell<Option<Terms>>>,
    key: RequestIdempotency,
}

impl EdgeAdmission {
    pub(crate) fn new(
        objects: Objects,
        directory: EdgeDirectory,
        context: RequestContext,
        key: RequestIdempotency,
    ) -> Self {
        Self { objects, directory, context, terms: Rc::default(), key }
    }

    fn ask_in_background(&self, organization: OrganizationId, ask: Ask) {
        let objects = self.objects.clone();
        self.context.spawn(async move {
            if let Err(fault) = objects.ask::<()>(organization, &ask).await {
                // The hold and the idempotency claim in the object expire without this call.
                tracing::warn!(
                    %organization,
                    error = fault.cause,
                    "could not release a hold or claim in the organization's object",
                );
            }
        });
    }

    /// Voids a settlement of unknown outcome, because its client gets an error.
    async fn take_back(&self, organization: OrganizationId, usage: UsageId) {
        let noted = self.note(organization, usage).await;
        let admission = self.clone();
        self.context.spawn(async move { admission.void(organization, usage, noted).await });
    }

    async fn void(&self, organization: OrganizationId, usage: UsageId, mut noted: bool) {
        for secs in VOID_WAITS_SECS {
            Delay::from(Duration::from_secs(secs)).await;
            match self.objects.ask::<()>(organization, &Ask::Void(usage)).await {
                Ok(()) => {
                    if noted && let Err(fault) = self.directory.void_done(usage).await {
                        // The cron then voids the settlement again, which changes nothing.
                        tracing::warn!(error = fault.cause, "could not delete a pending void");
                    }
                    return;
                }
                Err(fault) => {
                    tracing::warn!(
                        %organization, %usage, error = fault.cause,
                        "could not void a settlement, will retry",
                    );
                }
            }
            if !noted {
                noted = self.note(organization, usage).await;
            }
        }
        if !noted {
            tracing::error!(
                %organization, %usage,
                "could neither void a settlement nor record the void: it may stay charged",
            );
        }
    }

    async fn note(&self, organization: OrganizationId, usage: UsageId) -> bool {
        let due = EdgeClock.now().plus(VOIDED_BY_CRON_AFTER);
        let noted = self.directory.void_at(organization, usage, due).await;
        if let Err(fault) = &noted {
            tracing::error!(
                %organization, %usage, error = fault.cause,
                "could not record a pending void",
            );
        }
        noted.is_ok()
    }
}

impl Admission for EdgeAdmission {
    async fn admit(
        &self,
        organization: OrganizationId,
        charge: &Charge,
    ) -> Result<Admitted, Refusal> {
        self.terms.replace(Some(charge.terms));
        let answer = self.objects.ask_deniable(organization, &Ask::Admit(charge.clone())).await;
        let (admitted, kept): (Admitted, Option<Kept>) =
            answer.map_err(Refusal::Fault)?.map_err(Refusal::from)?;
        if charge.hold.as_ref().is_some_and(|hold| hold.claim.is_some()) {
            self.key.admitted(kept);
        }
        Ok(admitted)
    }

    async fn settle(&self, settlement: Settlement) -> Result<Settled, Fault> {
        let (organization, usage) = (settlement.organization, settlement.usage);
        let ask = Ask::Settle(Box::new(settlement), *self.terms.borrow());
        let settled: Result<Settled, Fault> = match self.objects.ask(organization, &ask).await {
            // The first attempt may have been written. The second has the same usage id and so
            // cannot charge twice.
            Err(fault) if fault.kind != FaultKind::Overloaded => {
                self.objects.ask(organization, &ask).await
            }
            settled => settled,
        };
        match &settled {
            Ok(settled) if settled.counts() => self.key.ended(),
            Ok(_) => {}
            Err(_) => self.take_back(organization, usage).await,
        }
        settled
    }

    fn release(&self, organization: OrganizationId, hold: Hold, claim: Option<IdempotencyKey>) {
        self.ask_in_background(organization, Ask::Release(hold, claim));
    }

    fn finish(&self, organization: OrganizationId, key: IdempotencyKey, usage: UsageId) {
        if self.key.is_in_flight() {
            self.ask_in_background(organization, Ask::Finish(key, usage));
        }
    }

    async fn tend(&self) -> Result<(), Fault> {
        // An object is the only node of its organization: there is no lease to renew.
        Ok(())
    }

    fn node(&self) -> NodeId {
        NODE
    }

    fn usage_id(&self, organization: OrganizationId, at: Timestamp, entropy: [u8; 10]) -> UsageId {
        let mut bytes = *UsageId::make(at, entropy).as_bytes();
        bytes[12..].copy_from_slice(&organization.as_bytes()[12..]);
        UsageId::from_bytes(bytes)
    }
}
