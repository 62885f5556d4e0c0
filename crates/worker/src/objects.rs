//! The way to the organizations' objects: admission and audit log of the edge.
//!
//! Every call is bounded in time. A stub that failed is not used again: each call takes a new one.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use driftlock_domain::audit::{AuditEntry, AuditHead, AuditRecord};
use driftlock_domain::cell::{Admitted, Charge, Hold};
use driftlock_domain::denial::Fault;
use driftlock_domain::entitlement::Terms;
use driftlock_domain::id::{NodeId, OrganizationId, UsageId};
use driftlock_domain::idempotency::Claim;
use driftlock_domain::time::Timestamp;
use driftlock_domain::usage::{Settled, Settlement};
use driftlock_gateway::ports::{Admission, AuditLog, Background, Refusal};
use futures_util::future::{Either, select};
use serde::de::DeserializeOwned;
use worker::{Delay, Method, ObjectNamespace, Request, RequestInit};

use crate::background::RequestContext;
use crate::object::NODE;
use crate::wire::{Answer, Ask, Refused};

/// What an object may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// The objects, as one request reaches them.
#[derive(Clone)]
pub(crate) struct Objects {
    namespace: ObjectNamespace,
    context: RequestContext,
    /// The terms that this request was admitted under.
    terms: Rc<RefCell<Option<Terms>>>,
}

impl Objects {
    pub(crate) fn new(namespace: ObjectNamespace, context: RequestContext) -> Self {
        Self { namespace, context, terms: Rc::default() }
    }

    /// Appends audit rows of the directory, each number once.
    pub(crate) async fn append_once(
        &self,
        organization: OrganizationId,
        rows: Vec<(i64, AuditRecord)>,
    ) -> Result<(), Fault> {
        self.told(organization, &Ask::AppendOnce(rows)).await
    }

    /// Asks an organization's object.
    ///
    /// # Errors
    /// What it says, or that it did not answer.
    pub(crate) async fn told<T: DeserializeOwned>(
        &self,
        organization: OrganizationId,
        ask: &Ask,
    ) -> Result<T, Fault> {
        self.ask(organization, ask).await?.map_err(Fault::from)
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        organization: OrganizationId,
        ask: &Ask,
    ) -> Result<Answer<T>, Fault> {
        let answer = std::pin::pin!(self.fetch(organization, ask));
        let patience = std::pin::pin!(Delay::from(PATIENCE));
        let text = match select(answer, patience).await {
            Either::Left((text, _)) => text.map_err(Fault::store)?,
            Either::Right(((), _)) => return Err(Fault::store("an object did not answer in time")),
        };
        serde_json::from_str(&text)
            .map_err(|error| Fault::store(format!("an object's answer is none: {error}")))
    }

    async fn fetch(&self, organization: OrganizationId, ask: &Ask) -> worker::Result<String> {
        let name = organization.to_string();
        let body = serde_json::to_string(ask)?;
        let mut init = RequestInit::new();
        init.with_method(Method::Post).with_body(Some(body.into()));
        let request = Request::new_with_init(&format!("https://object/{name}"), &init)?;
        let stub = self.namespace.id_from_name(&name)?.get_stub()?;
        let mut response = stub.fetch_with_request(request).await?;
        let text = response.text().await?;
        if response.status_code() == 200 { Ok(text) } else { Err(worker::Error::RustError(text)) }
    }

    fn later(&self, organization: OrganizationId, ask: Ask) {
        let objects = self.clone();
        self.context.spawn(async move {
            if let Err(fault) = objects.told::<()>(organization, &ask).await {
                // A hold lapses by itself, an idempotency key with it.
                tracing::warn!(cause = fault.cause, "an object was not told");
            }
        });
    }
}

impl Admission for Objects {
    async fn admit(
        &self,
        organization: OrganizationId,
        charge: &Charge,
    ) -> Result<Admitted, Refusal> {
        self.terms.replace(Some(charge.terms));
        let answer = self.ask(organization, &Ask::Admit(charge.clone())).await;
        answer.map_err(Refusal::Fault)?.map_err(Refused::into)
    }

    async fn settle(&self, settlement: Settlement) -> Result<Settled, Fault> {
        let (organization, usage) = (settlement.organization, settlement.usage);
        let ask = Ask::Settle(Box::new(settlement), *self.terms.borrow());
        let settled = match self.told(organization, &ask).await {
            // Whether it was written is not known: under the same usage id it counts once.
            Err(_) => self.told(organization, &ask).await,
            settled => settled,
        };
        if settled.is_err() {
            self.later(organization, Ask::Void(usage));
        }
        settled
    }

    fn release(&self, organization: OrganizationId, hold: Hold, claim: Option<Claim>) {
        self.later(organization, Ask::Release(hold, claim));
    }

    fn finish(&self, organization: OrganizationId, claim: Claim, usage: UsageId) {
        self.later(organization, Ask::Finish(claim, usage));
    }

    async fn tend(&self) -> Result<(), Fault> {
        // An object has its units to itself: there is no lease to renew.
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

impl AuditLog for Objects {
    async fn append(&self, records: Vec<(OrganizationId, AuditRecord)>) -> Result<(), Fault> {
        let mut chains: Vec<(OrganizationId, Vec<AuditRecord>)> = Vec::new();
        for (organization, record) in records {
            match chains.iter_mut().find(|(known, _)| *known == organization) {
                Some((_, chain)) => chain.push(record),
                None => chains.push((organization, vec![record])),
            }
        }
        for (organization, chain) in chains {
            self.told::<()>(organization, &Ask::Append(chain)).await?;
        }
        Ok(())
    }

    async fn entries(
        &self,
        organization: OrganizationId,
        after: u64,
        limit: usize,
    ) -> Result<Vec<AuditEntry>, Fault> {
        self.told(organization, &Ask::Entries(after, limit)).await
    }

    async fn head(&self, organization: OrganizationId) -> Result<AuditHead, Fault> {
        self.told(organization, &Ask::Head).await
    }

    async fn checkpoint(&self, organization: OrganizationId) -> Result<AuditHead, Fault> {
        self.told(organization, &Ask::Checkpoint).await
    }

    async fn prune(
        &self,
        organization: OrganizationId,
        before: Timestamp,
        now: Timestamp,
    ) -> Result<u64, Fault> {
        self.told(organization, &Ask::Prune(before, now)).await
    }
}
