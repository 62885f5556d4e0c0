//! The event inbox: Stripe's events, and the billing states and invoices that follow from them.

use driftlock_domain::denial::Fault;
use driftlock_domain::id::OrganizationId;
use driftlock_domain::stripe::account::BillingState;
use driftlock_domain::stripe::delivery::{Delivery, DeliveryState, InboxEntry};
use driftlock_domain::stripe::file::{
    BillingCommit, FiledEvent, Forgetting, Postponed, UnassignedEvent,
};
use driftlock_domain::stripe::invoices::InvoiceState;
use driftlock_domain::time::Timestamp;

use crate::alerts;
use crate::rows::json;
use crate::sql::{Row, Statement, Value};

/// Customers with pending events that are due, the longest waiting first.
pub const DUE: &str = "SELECT customer FROM stripe_events \
     WHERE state = 'pending' AND due_at <= ?1 AND customer IS NOT NULL \
     GROUP BY customer ORDER BY min(due_at) LIMIT ?2";
/// Pending events that are due and have no customer yet.
pub const UNASSIGNED: &str = "SELECT id, waiting_since, body FROM stripe_events \
     WHERE state = 'pending' AND due_at <= ?1 AND customer IS NULL ORDER BY due_at, id LIMIT ?2";
/// Gives an unassigned event its customer.
pub const ASSIGN: &str =
    "UPDATE stripe_events SET customer = ?2, error = NULL WHERE id = ?1 AND customer IS NULL";
/// A customer's organization, billing state and revision.
pub const CUSTOMER: &str =
    "SELECT revision, organization, standing FROM billing_customers WHERE customer = ?1";
/// The organization of a customer, as set by an operator or an earlier checkout.
pub const ORGANIZATION_OF_CUSTOMER: &str =
    "SELECT id FROM organizations WHERE stripe_customer_id = ?1 LIMIT 1";
/// A customer's events that may have an effect.
pub const EVENTS_OF_CUSTOMER: &str = "SELECT state, waiting_since, body FROM stripe_events \
     WHERE customer = ?1 AND state <> 'ignored' ORDER BY created, id";
/// Events after an id, of one state or of any.
pub const EVENTS: &str = "SELECT id, type, created, livemode, customer, received_at, state, \
     attempts, processed_at, error FROM stripe_events \
     WHERE id > ?1 AND (?2 IS NULL OR state = ?2) ORDER BY id LIMIT ?3";
/// One event.
pub const EVENT: &str = "SELECT id, type, created, livemode, customer, received_at, state, \
     attempts, processed_at, error FROM stripe_events WHERE id = ?1";
/// Makes an event pending again.
pub const REPLAY: &str = "UPDATE stripe_events SET state = 'pending', due_at = ?2, \
     waiting_since = ?2, attempts = 0, error = NULL \
     WHERE id = ?1 AND (customer IS NOT NULL OR type IN ('charge.dispute.created', \
     'charge.dispute.closed', 'v1.billing.meter.error_report_triggered'))";
/// Marks an event that concerns no single customer as processed.
pub const FINISH: &str = "UPDATE stripe_events SET state = 'done', processed_at = ?2, error = NULL \
     WHERE id = ?1 AND state = 'pending'";
/// Customers with processed events that were not checked for removal for long. `state IN (…)`
/// repeats the condition of the partial index, which `INDEXED BY` requires.
pub const AGED: &str = "SELECT DISTINCT customer FROM stripe_events \
     INDEXED BY stripe_events_settled WHERE state IN ('done', 'ignored') AND state = 'done' \
     AND due_at < ?1 AND customer IS NOT NULL LIMIT ?2";
/// Removes old events that are ignored or concern no single customer.
pub const FORGET_OTHERS: &str = "DELETE FROM stripe_events WHERE id IN (SELECT id FROM stripe_events \
     WHERE state IN ('done', 'ignored') AND due_at < ?1 AND received_at < ?1 \
     AND (state = 'ignored' OR customer IS NULL) LIMIT ?2)";
/// The customer that an organization has.
pub const CUSTOMER_OF_ORGANIZATION: &str =
    "SELECT stripe_customer_id FROM organizations WHERE id = ?1";
/// An organization's invoices, the newest first.
pub const INVOICES: &str = "SELECT invoice FROM invoices_mirror WHERE organization = ?1 \
     AND (?2 IS NULL OR (created, id) < \
     (SELECT n.created, n.id FROM invoices_mirror n WHERE n.id = ?2 AND n.organization = ?1)) \
     ORDER BY created DESC, id DESC LIMIT ?3";

const FORGET: &str = "DELETE FROM stripe_events WHERE id IN (SELECT value FROM json_each(?2)) \
     AND customer = ?1 AND state = 'done' AND received_at < ?3";
const CHECKED: &str = "UPDATE stripe_events SET due_at = ?3 \
     WHERE customer = ?1 AND state = 'done' AND due_at < ?2";
// Only the event's id makes a delivery a duplicate. Any other constraint is an error, so that
// Stripe delivers again.
const RECEIVE: &str = "INSERT INTO stripe_events (id, type, created, livemode, customer, \
     received_at, waiting_since, due_at, state, error, body) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6, ?6, ?7, ?8, ?9) \
     ON CONFLICT (id) DO NOTHING";
const POSTPONE: &str = "UPDATE stripe_events SET attempts = attempts + 1, error = ?2, due_at = ?3, \
     state = CASE WHEN waiting_since <= ?4 THEN 'dead' ELSE 'pending' END \
     WHERE customer = ?1 AND state = 'pending'";
const POSTPONE_UNASSIGNED: &str = "UPDATE stripe_events SET attempts = attempts + 1, error = ?2, \
     due_at = ?3, state = CASE WHEN waiting_since <= ?4 THEN 'dead' ELSE 'pending' END \
     WHERE id = ?1 AND state = 'pending'";
/// Fails if the revision exists already, and with it the whole transaction.
const NEXT_REVISION: &str = "INSERT INTO billing_revisions (customer, revision) VALUES (?1, ?2)";
/// Inserts the same revision again, and so fails, if the organization's customer changed since it
/// was read.
const LINKED: &str = "INSERT INTO billing_revisions (customer, revision) SELECT ?1, ?2 \
     FROM organizations WHERE id = ?3 AND stripe_customer_id IS NOT ?4";
const FORMER_REVISIONS: &str =
    "DELETE FROM billing_revisions WHERE customer = ?1 AND revision < ?2";
const BILLING_STATE: &str = "INSERT INTO billing_customers \
     (customer, organization, standing, revision) VALUES (?1, ?2, ?3, ?4) \
     ON CONFLICT (customer) DO UPDATE SET organization = excluded.organization, \
     standing = excluded.standing, revision = excluded.revision";
const PURCHASES: &str = "UPDATE organizations SET purchases = ?2, stripe_customer_id = ?3, \
     revision = revision + 1 WHERE id = ?1";
const INVOICE: &str = "INSERT INTO invoices_mirror (id, organization, created, invoice) \
     VALUES (?1, ?2, ?3, ?4) ON CONFLICT (id) DO UPDATE SET organization = excluded.organization, \
     created = excluded.created, invoice = excluded.invoice";
const DONE: &str = "UPDATE stripe_events SET state = 'done', processed_at = ?2, error = NULL \
     WHERE id = ?1 AND state <> 'done'";
const DEAD: &str = "UPDATE stripe_events SET state = 'dead', error = ?2 WHERE id = ?1";

/// Stores a delivery, if its event is new.
#[must_use]
pub fn receive(delivery: &Delivery) -> Statement {
    let received = delivery.received_at.micros();
    let values = vec![
        delivery.event.clone().into(),
        delivery.kind.clone().into(),
        delivery.created.micros().into(),
        delivery.livemode.map(i64::from).into(),
        delivery.customer.clone().into(),
        received.into(),
        delivery.state.as_str().to_owned().into(),
        delivery.note.clone().into(),
        Value::from(&delivery.body[..]).into_owned(),
    ];
    Statement { sql: RECEIVE, values }
}

/// Removes a customer's events that no longer affect its billing state, then records that its other
/// events were checked.
///
/// # Errors
/// When the ids cannot be written as JSON.
pub fn forget(forgetting: &Forgetting) -> Result<[Statement; 2], Fault> {
    let Forgetting { customer, events, before, at } = forgetting;
    let customer = || Value::from(customer.clone());
    let before = || Value::from(before.micros());
    Ok([
        Statement { sql: FORGET, values: vec![customer(), json(events)?.into(), before()] },
        Statement { sql: CHECKED, values: vec![customer(), before(), at.micros().into()] },
    ])
}

/// Records that a customer's pending events could not be processed.
#[must_use]
pub fn postpone(customer: &str, postponed: &Postponed) -> Statement {
    let values = vec![
        customer.to_owned().into(),
        postponed.error.clone().into(),
        postponed.until.micros().into(),
        postponed.give_up_since.micros().into(),
    ];
    Statement { sql: POSTPONE, values }
}

/// Records that the customer of an unassigned event could not be found.
#[must_use]
pub fn postpone_unassigned(event: &str, postponed: &Postponed) -> Statement {
    Statement { sql: POSTPONE_UNASSIGNED, ..postpone(event, postponed) }
}

/// Everything that a commit writes, except its audit entries. One of the first two statements fails
/// if another process committed since the customer was read, or changed the organization's
/// customer.
///
/// # Errors
/// When something cannot be written as JSON.
pub fn commit(commit: &BillingCommit) -> Result<Vec<Statement>, Fault> {
    let customer = || Value::from(commit.customer.clone());
    let organization = || Value::from(commit.organization.as_bytes()).into_owned();
    let revision = commit.revision + 1;
    let mut statements = vec![
        Statement { sql: NEXT_REVISION, values: vec![customer(), revision.into()] },
        Statement {
            sql: LINKED,
            values: vec![customer(), revision.into(), organization(), commit.linked.clone().into()],
        },
        Statement { sql: FORMER_REVISIONS, values: vec![customer(), revision.into()] },
        Statement {
            sql: BILLING_STATE,
            values: vec![
                customer(),
                organization(),
                json(&commit.billing_state)?.into(),
                revision.into(),
            ],
        },
        Statement {
            sql: PURCHASES,
            values: vec![organization(), json(&commit.purchases)?.into(), customer()],
        },
    ];
    for invoice in &commit.invoices {
        let created = invoice.created.unwrap_or(invoice.as_of).micros();
        let id = invoice.id.clone().into();
        let values = vec![id, organization(), created.into(), json(invoice)?.into()];
        statements.push(Statement { sql: INVOICE, values });
    }
    for event in &commit.done {
        let values = vec![event.clone().into(), commit.at.micros().into()];
        statements.push(Statement { sql: DONE, values });
    }
    for (event, error) in &commit.dead {
        let values = vec![event.clone().into(), error.clone().into()];
        statements.push(Statement { sql: DEAD, values });
    }
    statements.extend(commit.alerts.iter().map(alerts::raise));
    Ok(statements)
}

/// A row of [`EVENTS_OF_CUSTOMER`].
///
/// # Errors
/// When it holds something else.
pub fn filed_event(row: Row<'_>) -> Result<FiledEvent, Fault> {
    Ok(FiledEvent {
        state: state(&row.text(0)?)?,
        waiting_since: Timestamp::from_micros(row.int(1)?),
        body: row.maybe_blob(2)?.unwrap_or_default().into_owned(),
    })
}

/// A row of [`UNASSIGNED`].
///
/// # Errors
/// When it holds something else.
pub fn unassigned_event(row: Row<'_>) -> Result<UnassignedEvent, Fault> {
    Ok(UnassignedEvent {
        event: row.text(0)?.into(),
        waiting_since: Timestamp::from_micros(row.int(1)?),
        body: row.maybe_blob(2)?.unwrap_or_default().into_owned(),
    })
}

/// A row of [`EVENTS`] or [`EVENT`].
///
/// # Errors
/// When it holds something else.
pub fn inbox_entry(row: Row<'_>) -> Result<InboxEntry, Fault> {
    Ok(InboxEntry {
        id: row.text(0)?.into(),
        kind: row.text(1)?.into(),
        created: Timestamp::from_micros(row.int(2)?),
        livemode: row.maybe_int(3)?.map(|flag| flag != 0),
        customer: row.maybe_text(4)?.map(Into::into),
        received_at: Timestamp::from_micros(row.int(5)?),
        state: state(&row.text(6)?)?,
        attempts: row.number(7)?,
        processed_at: row.maybe_int(8)?.map(Timestamp::from_micros),
        error: row.maybe_text(9)?.map(Into::into),
    })
}

/// A row of [`INVOICES`].
///
/// # Errors
/// When it holds something else.
pub fn invoice(row: Row<'_>) -> Result<InvoiceState, Fault> {
    row.json(0)
}

/// A row of [`CUSTOMER`].
///
/// # Errors
/// When it holds something else.
pub fn customer(row: Row<'_>) -> Result<(u64, OrganizationId, BillingState), Fault> {
    Ok((row.number(0)?, OrganizationId::from_bytes(row.bytes(1)?), row.json(2)?))
}

fn state(text: &str) -> Result<DeliveryState, Fault> {
    text.parse().map_err(Fault::store)
}
