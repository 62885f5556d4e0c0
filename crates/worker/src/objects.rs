//! Calls of the organizations' objects, and the audit log, which is in them.
//!
//! Every call is bounded in time. Each call takes a new stub, since a stub that failed stays
//! broken.

use std::time::Duration;

use driftlock_domain::audit::{AuditEntry, AuditHead, AuditRecord};
use driftlock_domain::denial::{Fault, FaultKind};
use driftlock_domain::id::OrganizationId;
use driftlock_domain::time::Timestamp;
use driftlock_gateway::ports::AuditLog;
use futures_util::future::{Either, select};
use serde::de::DeserializeOwned;
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;
use worker::{Delay, ObjectNamespace};

use crate::js::thrown;
use crate::wire::{Answer, Ask};

/// How long an object may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);

#[wasm_bindgen]
extern "C" {
    /// An object as `entry.mjs` exports it:
    /// <https://developers.cloudflare.com/workers/runtime-apis/rpc/>.
    type Stub;
    #[wasm_bindgen(method, catch)]
    async fn ask(this: &Stub, organization: &str, question: &str) -> Result<JsValue, JsValue>;
}

/// The namespace of the objects.
#[derive(Clone)]
pub(crate) struct Objects {
    namespace: ObjectNamespace,
}

impl Objects {
    pub(crate) const fn new(namespace: ObjectNamespace) -> Self {
        Self { namespace }
    }

    /// Appends rows of the directory's audit outbox, each number once.
    pub(crate) async fn append_once(
        &self,
        organization: OrganizationId,
        rows: Vec<(i64, AuditRecord)>,
    ) -> Result<(), Fault> {
        self.ask(organization, &Ask::AppendOnce(rows)).await
    }

    /// Asks an organization's object a question that it never denies.
    ///
    /// # Errors
    /// The object's fault, or a missing answer.
    pub(crate) async fn ask<T: DeserializeOwned>(
        &self,
        organization: OrganizationId,
        ask: &Ask,
    ) -> Result<T, Fault> {
        self.ask_deniable(organization, ask).await?.map_err(Fault::from)
    }

    /// Asks an organization's object a question that it may deny.
    ///
    /// # Errors
    /// A missing answer.
    pub(crate) async fn ask_deniable<T: DeserializeOwned>(
        &self,
        organization: OrganizationId,
        ask: &Ask,
    ) -> Result<Answer<T>, Fault> {
        let answer = std::pin::pin!(self.call(organization, ask));
        let patience = std::pin::pin!(Delay::from(PATIENCE));
        let text = match select(answer, patience).await {
            Either::Left((text, _)) => text?,
            Either::Right(((), _)) => return Err(Fault::store("an object did not answer in time")),
        };
        serde_json::from_str(&text)
            .map_err(|error| Fault::store(format!("an object's answer is invalid: {error}")))
    }

    async fn call(&self, organization: OrganizationId, ask: &Ask) -> Result<String, Fault> {
        let name = organization.to_string();
        let question = serde_json::to_string(ask).map_err(Fault::store)?;
        let id = self.namespace.id_from_name(&name).map_err(Fault::store)?;
        let stub: Stub = id.get_stub().map_err(Fault::store)?.into_rpc();
        let answer = stub.ask(&name, &question).await.map_err(|error| failed(&error))?;
        answer.as_string().ok_or_else(|| Fault::store("an object's answer is not text"))
    }
}

/// The fault of a failed call. An overloaded object did not process the call, and repeating it
/// would add load:
/// <https://developers.cloudflare.com/durable-objects/best-practices/error-handling/>.
fn failed(error: &JsValue) -> Fault {
    let cause = thrown(error);
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
            self.ask::<()>(organization, &Ask::Append(chain)).await?;
        }
        Ok(())
    }

    async fn entries(
        &self,
        organization: OrganizationId,
        after: u64,
        limit: usize,
    ) -> Result<Vec<AuditEntry>, Fault> {
        self.ask(organization, &Ask::Entries(after, limit)).await
    }

    async fn head(&self, organization: OrganizationId) -> Result<AuditHead, Fault> {
        self.ask(organization, &Ask::Head).await
    }

    async fn checkpoint(&self, organization: OrganizationId) -> Result<AuditHead, Fault> {
        self.ask(organization, &Ask::Checkpoint).await
    }

    async fn prune(
        &self,
        organization: OrganizationId,
        before: Timestamp,
        now: Timestamp,
    ) -> Result<u64, Fault> {
        self.ask(organization, &Ask::Prune(before, now)).await
    }
}
