//! `GET /admin/v1/stripe/reports?state=dead` lists meter reports in order of identifier;
//! `POST /admin/v1/stripe/reports/{id}/retry` sends a dead report again.

use driftlock_domain::stripe::meter::{Report, ReportState, organization_of};
use http::StatusCode;
use serde_json::{Value, json};

use super::super::call::{AdminCall, Failure, Reply};
use super::super::input::Query;
use crate::ports::{Page, Platform, UsageReports};
use crate::reply;
use crate::stripe::report::REPORTS_MAX;

pub(in super::super) async fn reports<P: Platform>(call: AdminCall<'_, P>) -> Reply<P> {
    let query = Query::of(&call.head.uri, &["limit", "cursor", "state"])?;
    let state: Option<ReportState> = query.get("state")?;
    let page: Page<String> = query.page()?;
    let found = call.gateway.reports.reports_in(state, page).await?;
    let data: Vec<Value> = found.rows.iter().map(view).collect();
    Ok(reply::json::<P>(StatusCode::OK, &json!({ "data": data, "next_cursor": found.next }))?)
}

/// Makes a dead report pending again and, with a secret key, sends the organization's due reports
/// at once. The answer shows the report's state afterwards. The operator has removed the cause
/// before.
pub(in super::super) async fn retry<P: Platform>(call: AdminCall<'_, P>, id: &str) -> Reply<P> {
    let unknown = || Failure::not_found("usage report");
    let organization = organization_of(id).ok_or_else(unknown)?;
    let gateway = call.gateway;
    let reports = &gateway.reports;
    let found = reports.report(organization, id).await?.ok_or_else(unknown)?;
    let details = json!({ "units": found.sealed.value, "error": found.error });
    let audit = call.audit("stripe.report_retried", id.to_owned(), &details);
    if !reports.revive_report(organization, id, audit, call.at).await? {
        return Err(Failure::conflict(
            "Only a dead report can be retried; this one is done, or will still be sent.",
        ));
    }
    if gateway.has_stripe() {
        gateway.report_organization(organization, REPORTS_MAX).await;
    }
    let now = reports.report(organization, id).await?;
    Ok(reply::json::<P>(StatusCode::OK, &view(&now.unwrap_or(found)))?)
}

fn view(report: &Report) -> Value {
    json!({
        "id": report.sealed.identifier,
        "organization_id": report.organization,
        "at": report.sealed.timestamp,
        "units": report.units,
        "value": report.sealed.value,
        "state": report.state,
        "attempts": report.attempts.count,
        "first_attempt_at": report.attempts.first_at,
        "error": report.error,
    })
}
