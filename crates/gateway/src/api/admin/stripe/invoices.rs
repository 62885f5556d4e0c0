//! `GET /admin/v1/organizations/{id}/invoices`: Stripe's invoices, the newest first.

use driftlock_domain::stripe::invoices::InvoiceState;
use http::StatusCode;
use serde_json::{Value, json};

use super::super::call::{AdminCall, Reply};
use super::super::input::Query;
use crate::ports::{EventInbox, Page, Platform};
use crate::reply;

pub(in super::super) async fn invoices<P: Platform>(call: AdminCall<'_, P>, id: &str) -> Reply<P> {
    let page: Page<String> = Query::of(&call.head.uri, &["limit"])?.page()?;
    let organization = call.organization(id).await?;
    let rows = call.gateway.inbox.invoices(organization.id, page.limit).await?;
    let data: Vec<Value> = rows.iter().map(view).collect();
    Ok(reply::json::<P>(StatusCode::OK, &json!({ "data": data, "next_cursor": null }))?)
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
