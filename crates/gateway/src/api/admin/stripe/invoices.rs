//! `GET /admin/v1/organizations/{id}/invoices` lists an organization's Stripe invoices, newest
//! first.

use driftlock_domain::stripe::invoices::InvoiceState;
use http::StatusCode;
use serde_json::{Value, json};

use super::super::call::{AdminCall, Reply};
use super::super::input::{List, Query};
use crate::ports::{EventInbox, Page, Platform};
use crate::reply;

pub(in super::super) async fn invoices<P: Platform>(call: AdminCall<'_, P>, id: &str) -> Reply<P> {
    let query = Query::of(&call.head.uri, &["limit", "cursor"])?;
    let Page { after, limit } = query.page::<String>()?;
    let organization = call.organization(id).await?;
    let page = Page { after, limit: limit + 1 };
    let rows = call.gateway.inbox.invoices(organization.id, page).await?;
    let list = List::cut(rows, limit, |invoice| invoice.id.clone());
    Ok(reply::json::<P>(StatusCode::OK, &list.map(|invoice| view(&invoice)))?)
}

/// Amounts are in the currency's smallest unit (cents).
fn view(invoice: &InvoiceState) -> Value {
    json!({
        "id": invoice.id,
        "number": invoice.number,
        "subscription": invoice.subscription,
        "status": invoice.status,
        "currency": invoice.currency,
        "amount_due": invoice.amount_due,
        "amount_paid": invoice.amount_paid,
        "amount_remaining": invoice.amount_remaining,
        "total": invoice.total,
        "attempt_count": invoice.attempt_count,
        "period_start": invoice.period_start,
        "period_end": invoice.period_end,
        "created": invoice.created,
        "hosted_invoice_url": invoice.hosted_invoice_url,
    })
}
