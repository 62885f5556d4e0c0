//! The event inbox. A commit fails if it was not decided from all current events of its customer.

use std::borrow::Cow;

use driftlock_domain::denial::Fault;
use driftlock_domain::id::OrganizationId;
use driftlock_domain::stripe::delivery::{Delivery, DeliveryState, InboxEntry};
use driftlock_domain::stripe::file::{
    BillingCommit, CustomerFile, Forgetting, Postponed, UnassignedEvent,
};
use driftlock_domain::stripe::invoices::InvoiceState;
use driftlock_domain::time::Timestamp;
use driftlock_gateway::ports::{EventInbox, Page};
use driftlock_sqlite_core::{Sql, Statement, inbox};

use crate::sql::Native;
use crate::store::SqliteStore;

impl EventInbox for SqliteStore {
    async fn receive(&self, delivery: Delivery) -> Result<bool, Fault> {
        self.writer().write(move |_, sql| Ok(run(sql, &inbox::receive(&delivery))? > 0)).await
    }

    async fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<String>, Fault> {
        self.readers()
            .read(move |sql| {
                let values = [now.micros().into(), (limit as u64).into()];
                sql.query(inbox::DUE, &values, |row| Ok(row.text(0)?.into_owned()))
            })
            .await
    }

    async fn unassigned_events(
        &self,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<UnassignedEvent>, Fault> {
        self.readers()
            .read(move |sql| {
                let values = [now.micros().into(), (limit as u64).into()];
                sql.query(inbox::UNASSIGNED, &values, inbox::unassigned_event)
            })
            .await
    }

    async fn assign(&self, event: &str, customer: &str) -> Result<(), Fault> {
        let (event, customer) = (event.to_owned(), customer.to_owned());
        self.writer()
            .write(move |_, sql| {
                sql.execute(inbox::ASSIGN, &[(&*event).into(), (&*customer).into()]).map(drop)
            })
            .await
    }

    async fn finish(&self, event: &str, now: Timestamp) -> Result<(), Fault> {
        let event = event.to_owned();
        self.writer()
            .write(move |_, sql| {
                sql.execute(inbox::FINISH, &[(&*event).into(), now.micros().into()]).map(drop)
            })
            .await
    }

    async fn postpone_unassigned(&self, event: &str, postponed: Postponed) -> Result<(), Fault> {
        let statement = inbox::postpone_unassigned(event, &postponed);
        self.writer().write(move |_, sql| run(sql, &statement).map(drop)).await
    }

    async fn customer(&self, customer: &str) -> Result<CustomerFile, Fault> {
        let customer = customer.to_owned();
        self.readers().read(move |sql| file(sql, &customer)).await
    }

    async fn commit(&self, commit: BillingCommit) -> Result<bool, Fault> {
        self.writer()
            .write(move |cache, sql| {
                let known = sql.first(inbox::CUSTOMER, &[(&*commit.customer).into()], |row| {
                    row.number::<u64>(0)
                })?;
                let id = [commit.organization.as_bytes()[..].into()];
                let has = sql.first(inbox::CUSTOMER_OF_ORGANIZATION, &id, |row| {
                    Ok(row.maybe_text(0)?.map(Cow::into_owned))
                })?;
                let owner = sql.first(
                    inbox::ORGANIZATION_OF_CUSTOMER,
                    &[(&*commit.customer).into()],
                    |row| row.bytes(0).map(OrganizationId::from_bytes),
                )?;
                if known.unwrap_or(0) != commit.revision
                    || owner.is_some_and(|owner| owner != commit.organization)
                    || has.flatten().as_deref() != commit.linked.as_deref()
                {
                    return Ok(false);
                }
                for statement in inbox::commit(&commit)? {
                    run(sql, &statement)?;
                }
                for record in commit.audit {
                    cache.append(sql, commit.organization, record)?;
                }
                Ok(true)
            })
            .await
    }

    async fn postpone(&self, customer: &str, postponed: Postponed) -> Result<(), Fault> {
        let statement = inbox::postpone(customer, &postponed);
        self.writer().write(move |_, sql| run(sql, &statement).map(drop)).await
    }

    async fn events(
        &self,
        state: Option<DeliveryState>,
        page: Page<String>,
    ) -> Result<Vec<InboxEntry>, Fault> {
        self.readers()
            .read(move |sql| {
                let after = page.after.unwrap_or_default();
                let state = state.map(DeliveryState::as_str);
                let values = [after.into(), state.into(), (page.limit as u64).into()];
                sql.query(inbox::EVENTS, &values, inbox::inbox_entry)
            })
            .await
    }

    async fn event(&self, event: &str) -> Result<Option<InboxEntry>, Fault> {
        let event = event.to_owned();
        self.readers()
            .read(move |sql| sql.first(inbox::EVENT, &[(&*event).into()], inbox::inbox_entry))
            .await
    }

    async fn replay(&self, event: &str, now: Timestamp) -> Result<Option<InboxEntry>, Fault> {
        let event = event.to_owned();
        self.writer()
            .write(move |_, sql| {
                sql.execute(inbox::REPLAY, &[(&*event).into(), now.micros().into()])?;
                sql.first(inbox::EVENT, &[(&*event).into()], inbox::inbox_entry)
            })
            .await
    }

    async fn aged(&self, before: Timestamp, limit: usize) -> Result<Vec<String>, Fault> {
        self.readers()
            .read(move |sql| {
                let values = [before.micros().into(), (limit as u64).into()];
                sql.query(inbox::AGED, &values, |row| Ok(row.text(0)?.into_owned()))
            })
            .await
    }

    async fn forget(&self, forgetting: Forgetting) -> Result<u64, Fault> {
        self.writer()
            .write(move |_, sql| {
                let [forget, looked_at] = inbox::forget(&forgetting)?;
                let forgotten = run(sql, &forget)?;
                run(sql, &looked_at)?;
                Ok(forgotten)
            })
            .await
    }

    async fn forget_others(&self, before: Timestamp, limit: usize) -> Result<u64, Fault> {
        self.writer()
            .write(move |_, sql| {
                let values = [before.micros().into(), (limit as u64).into()];
                sql.execute(inbox::FORGET_OTHERS, &values)
            })
            .await
    }

    async fn invoices(
        &self,
        organization: OrganizationId,
        page: Page<String>,
    ) -> Result<Vec<InvoiceState>, Fault> {
        self.readers()
            .read(move |sql| {
                let (after, limit) = (page.after.as_deref().into(), (page.limit as u64).into());
                let values = [organization.as_bytes().into(), after, limit];
                sql.query(inbox::INVOICES, &values, inbox::invoice)
            })
            .await
    }
}

fn file(sql: &Native<'_>, customer: &str) -> Result<CustomerFile, Fault> {
    let known = sql.first(inbox::CUSTOMER, &[customer.into()], inbox::customer)?;
    let events = sql.query(inbox::EVENTS_OF_CUSTOMER, &[customer.into()], inbox::filed_event)?;
    let linked = sql.first(inbox::ORGANIZATION_OF_CUSTOMER, &[customer.into()], |row| {
        row.bytes(0).map(OrganizationId::from_bytes)
    })?;
    Ok(CustomerFile::of(known, linked, events))
}

fn run(sql: &Native<'_>, statement: &Statement) -> Result<u64, Fault> {
    sql.execute(statement.sql, &statement.values)
}
