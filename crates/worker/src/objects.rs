//! The way to the organizations' objects, and the audit log, which is there.
//!
//! Every call is bounded in time. A stub that failed is not used again: each call takes a new one.

use std::time::Duration;

use driftlock_domain::audit::{AuditEntry, AuditHead, AuditRecord};
use driftlock_domain::denial::{Fault, FaultKind};
use driftlock_domain::id::OrganizationId;
use driftlock_domain::time::Timestamp;
use driftlock_gateway::ports::AuditLog;
use futures_util::future::{Either, select};
use serde::de::DeserializeOwned;
use worker::{Delay, Method, ObjectNamespace, Request, RequestInit};

use crate::wire::{Answer, Ask};

/// What an object may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// The objects, as one request reaches them.
#[derive(Clone)]
pub(crate) struct Objects {
    namespace: ObjectNamespace,
}

impl Objects {
    pub(crate) const fn new(namespace: ObjectNamespace) -> Self {
        Self { namespace }
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

    /// The same; a denial is an answer.
    ///
    /// # Errors
    /// That it did not answer.
    pub(crate) async fn ask<T: DeserializeOwned>(
        &self,
        organization: OrganizationId,
        ask: &Ask,
    ) -> Result<Answer<T>, Fault> {
        let answer = std::pin::pin!(self.fetch(organization, ask));
        let patience = std::pin::pin!(Delay::from(PATIENCE));
        let text = match select(answer, patience).await {
            Either::Left((text, _)) => text.map_err(|error| failed(&error))?,
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
}

/// An object that is overloaded took nothing in, and is not helped by being asked again:
/// <https://developers.cloudflare.com/durable-objects/best-practices/error-handling/>.
fn failed(error: &worker::Error) -> Fault {
    let cause = error.to_string();
    let kind = if cause.contains("overloaded") { FaultKind::Overloaded } else { FaultKind::Store };
    Fault::new(kind, cause)
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
