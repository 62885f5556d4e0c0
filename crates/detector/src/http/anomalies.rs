//! `GET /api/v1/anomalies`, `GET /api/v1/anomalies/{id}`, `PUT /api/v1/anomalies/{id}/resolve`.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use serde::Deserialize;
use serde_json::{Value, json};

use super::error::Failure;
use super::{Context, now, organization};
use crate::severity::Severity;
use crate::store::Filter;

const LIMIT_MAX: u64 = 100;
const NOTES_BYTES_MAX: usize = 10_000;

#[derive(Deserialize)]
pub(super) struct ListQuery {
    page: Option<u64>,
    limit: Option<u64>,
    severity: Option<String>,
    status: Option<String>,
    source: Option<String>,
    from_date: Option<String>,
    to_date: Option<String>,
}

pub(super) async fn list(
    State(context): State<Context>,
    headers: HeaderMap,
    query: Result<Query<ListQuery>, axum::extract::rejection::QueryRejection>,
) -> Result<Json<Value>, Failure> {
    let Query(query) = query.map_err(|error| Failure::Malformed(error.body_text()))?;
    let (page, limit) = (query.page.unwrap_or(1), query.limit.unwrap_or(20));
    if page == 0 || !(1..=LIMIT_MAX).contains(&limit) {
        let message = format!("page is at least 1, limit 1 to {LIMIT_MAX}");
        return Err(Failure::Malformed(message));
    }
    let filter = Filter {
        severity: query.severity.filter(|text| !text.is_empty()).map(severity).transpose()?,
        resolved: match query.status.as_deref() {
            None | Some("" | "all") => None,
            Some("active") => Some(false),
            Some("resolved") => Some(true),
            Some(_) => return Err(malformed("status is active, resolved or all")),
        },
        source: query.source.filter(|source| !source.is_empty()),
        from: date(query.from_date, "T00:00:00.000Z")?,
        to: date(query.to_date, "T23:59:59.999Z")?,
    };
    let organization = organization(&headers);
    let (rows, total) =
        blocking(move || context.store.list(&organization, &filter, page, limit)).await?;
    let pagination = json!({ "page": page, "limit": limit, "total": total });
    Ok(Json(json!({ "anomalies": rows, "pagination": pagination })))
}

pub(super) async fn show(
    State(context): State<Context>,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Result<Json<Value>, Failure> {
    let organization = organization(&headers);
    let found = blocking(move || context.store.get(&organization, &id)).await?;
    found.map(Json).ok_or(Failure::NotFound("anomaly"))
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Resolution {
    resolution_notes: Option<String>,
}

pub(super) async fn resolve(
    State(context): State<Context>,
    headers: HeaderMap,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Json<Value>, Failure> {
    let notes = if body.trim_ascii().is_empty() {
        None
    } else {
        let resolution: Resolution = serde_json::from_slice(&body)
            .map_err(|error| Failure::Malformed(format!("the body: {error}")))?;
        resolution.resolution_notes
    };
    if notes.as_ref().is_some_and(|notes| notes.len() > NOTES_BYTES_MAX) {
        return Err(malformed("resolution_notes has 10000 bytes at most"));
    }
    let organization = organization(&headers);
    let resolved =
        blocking(move || context.store.resolve(&organization, &id, notes.as_deref(), &now()))
            .await?;
    resolved.map(Json).ok_or(Failure::NotFound("anomaly"))
}

/// Runs a query on a thread that may block.
pub(super) async fn blocking<T: Send + 'static>(
    query: impl FnOnce() -> rusqlite::Result<T> + Send + 'static,
) -> Result<T, Failure> {
    let done = tokio::task::spawn_blocking(query).await;
    Ok(done.map_err(|error| Failure::Internal(error.to_string()))??)
}

fn severity(name: String) -> Result<String, Failure> {
    match Severity::named(&name) {
        Some(_) => Ok(name),
        None => Err(malformed("severity is critical, high, medium or low")),
    }
}

/// Parses a date or a time in UTC. A date without a time means `time_of_day` on that date.
fn date(text: Option<String>, time_of_day: &str) -> Result<Option<String>, Failure> {
    use time::format_description::well_known::Rfc3339;
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(None) };
    let full = if text.len() == 10 { format!("{text}{time_of_day}") } else { text };
    let wrong = |_| malformed("from_date and to_date are dates (2026-01-31) or RFC 3339 times");
    let instant = time::OffsetDateTime::parse(&full, &Rfc3339).map_err(wrong)?;
    let utc = instant.to_offset(time::UtcOffset::UTC);
    utc.format(super::MILLISECONDS).map(Some).map_err(|e| Failure::Internal(e.to_string()))
}

fn malformed(message: &str) -> Failure {
    Failure::Malformed(message.to_owned())
}
