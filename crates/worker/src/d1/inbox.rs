//! Stripe's events in D1. A commit is one batch. If another commit of the same revision came first,
//! the first statement fails and the whole batch with it.

use driftlock_domain::denial::Fault;
use driftlock_domain::id::OrganizationId;
use driftlock_domain::stripe::delivery::{Delivery, DeliveryState, InboxEntry};
use driftlock_domain::stripe::file::{
    BillingCommit, CustomerFile, Forgetting, Postponed, UnassignedEvent,
};
use driftlock_domain::stripe::invoices::InvoiceState;
use driftlock_domain::time::Timestamp;
use driftlock_gateway::ports::{EventInbox, Page};
use driftlock_sqlite_core::conflict::came_second;
use driftlock_sqlite_core::{Row, Statement, inbox};
use worker::D1PreparedStatement;

use super::{D1Directory, outbox, prepare};

impl EventInbox for D1Directory {
    async fn receive(&self, delivery: Delivery) -> Result<bool, Fault> {
        let Statement { sql, values } = inbox::receive(&delivery);
        self.change(sql, &values).await
    }

    async fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<String>, Fault> {
        let values = [now.micros().into(), (limit as u64).into()];
        self.query(inbox::DUE, &values, |row| Ok(row.text(0)?.into_owned())).await
    }

    async fn unassigned_events(
        &self,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<UnassignedEvent>, Fault> {
        let values = [now.micros().into(), (limit as u64).into()];
        self.query(inbox::UNASSIGNED, &values, inbox::unassigned_event).await
    }

    async fn assign(&self, event: &str, customer: &str) -> Result<(), Fault> {
        self.change(inbox::ASSIGN, &[event.into(), customer.into()]).await.map(drop)
    }

    async fn finish(&self, event: &str, now: Timestamp) -> Result<(), Fault> {
        self.change(inbox::FINISH, &[event.into(), now.micros().into()]).await.map(drop)
    }

    async fn postpone_unassigned(&self, event: &str, postponed: Postponed) -> Result<(), Fault> {
        let Statement { sql, values } = inbox::postpone_unassigned(event, &postponed);
        self.change(sql, &values).await.map(drop)
    }

    async fn customer(&self, customer: &str) -> Result<CustomerFile, Fault> {
        let name = [customer.into()];
        // Read the billing state first: an event that arrives in between is then either in this
        // file or makes the customer due again.
        let known = self.first(inbox::CUSTOMER, &name, inbox::customer).await?;
        let events = self.query(inbox::EVENTS_OF_CUSTOMER, &name, inbox::filed_event).await?;
        let id = |row: Row<'_>| row.bytes(0).map(OrganizationId::from_bytes);
        let linked = self.first(inbox::ORGANIZATION_OF_CUSTOMER, &name, id).await?;
        Ok(CustomerFile::of(known, linked, events))
    }

    async fn commit(&self, commit: BillingCommit) -> Result<bool, Fault> {
        let statements = inbox::commit(&commit)?;
        let mut batch: Vec<D1PreparedStatement> = Vec::with_capacity(statements.len());
        for Statement { sql, values } in &statements {
            batch.push(prepare(&self.database, sql, values)?);
        }
        for record in &commit.audit {
            batch.push(outbox::entry(&self.database, commit.organization, record)?);
        }
        match self.database.batch(batch).await {
            Ok(_) => {
                self.ship(commit.organization).await;
                Ok(true)
            }
            Err(error) if came_second(&error.to_string()) => Ok(false),
            Err(error) => Err(Fault::store(error)),
        }
    }

    async fn postpone(&self, customer: &str, postponed: Postponed) -> Result<(), Fault> {
        let Statement { sql, values } = inbox::postpone(customer, &postponed);
        self.change(sql, &values).await.map(drop)
    }

    async fn events(
        &self,
        state: Option<DeliveryState>,
        page: Page<String>,
    ) -> Result<Vec<InboxEntry>, Fault> {
        let after = page.after.unwrap_or_default();
        let state = state.map(DeliveryState::as_str);
        let values = [after.into(), state.into(), (page.limit as u64).into()];
        self.query(inbox::EVENTS, &values, inbox::inbox_entry).await
    }

    async fn event(&self, event: &str) -> Result<Option<InboxEntry>, Fault> {
        self.first(inbox::EVENT, &[event.into()], inbox::inbox_entry).await
    }

    async fn replay(&self, event: &str, now: Timestamp) -> Result<Option<InboxEntry>, Fault> {
        self.change(inbox::REPLAY, &[event.into(), now.micros().into()]).await?;
        self.event(event).await
    }

    async fn aged(&self, before: Timestamp, limit: usize) -> Result<Vec<String>, Fault> {
        let values = [before.micros().into(), (limit as u64).into()];
        self.query(inbox::AGED, &values, |row| Ok(row.text(0)?.into_owned())).await
    }

    async fn forget(&self, forgetting: Forgetting) -> Result<u64, Fault> {
        let [forget, looked_at] = inbox::forget(&forgetting)?;
        let forgotten = self.changes(forget.sql, &forget.values).await?;
        // Not one transaction with the deletion: if this statement is lost, the customer is only
        // examined again.
        self.change(looked_at.sql, &looked_at.values).await?;
        Ok(forgotten)
    }

    async fn forget_others(&self, before: Timestamp, limit: usize) -> Result<u64, Fault> {
        let values = [before.micros().into(), (limit as u64).into()];
        self.changes(inbox::FORGET_OTHERS, &values).await
    }

    async fn invoices(
        &self,
        organization: OrganizationId,
        page: Page<String>,
    ) -> Result<Vec<InvoiceState>, Fault> {
        let (after, limit) = (page.after.as_deref().into(), (page.limit as u64).into());
        let values = [organization.as_bytes().into(), after, limit];
        self.query(inbox::INVOICES, &values, inbox::invoice).await
    }
}
