//! `POST /api/v1/anomalies/detect` and `POST /api/v1/analyze`.

use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use serde_json::{Value, json};
use uuid::Uuid;

use super::error::Failure;
use super::{Context, Found, now, organization};
use crate::detect::{Finding, Report};
use crate::event::Event;
use crate::input::{Input, parse_json, parse_text};
use crate::settings::Settings;
use crate::store::NewAnomaly;

/// How many events of an anomaly an answer shows.
const SHOWN_MAX: usize = 5;

pub(super) async fn detect(
    State(context): State<Context>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Value>, Failure> {
    let body = body.map_err(|error| Failure::TooLarge(error.body_text()))?;
    let input = parse(&headers, &body)?;
    let organization = organization(&headers);
    let source = input.stream_id.unwrap_or_else(|| "api".to_owned());
    let outcome = run(&context, organization, source, input.events, input.settings).await?;
    Ok(Json(outcome))
}

/// Parses a body of lines or of JSON, depending on its content type.
pub(super) fn parse(headers: &HeaderMap, body: &[u8]) -> Result<Input, Failure> {
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if kind.starts_with("text/plain") {
        let text = std::str::from_utf8(body)
            .map_err(|_| Failure::Malformed("the body is not UTF-8 text".to_owned()))?;
        return Ok(parse_text(text)?);
    }
    Ok(parse_json(body)?)
}

/// Runs a detection on a separate thread; stores and publishes the anomalies found.
pub(super) async fn run(
    context: &Context,
    organization: String,
    source: String,
    events: Vec<Event>,
    settings: Settings,
) -> Result<Value, Failure> {
    let _waiting = context.waiting.try_acquire().map_err(|_| Failure::Busy)?;
    let thread = Arc::clone(&context.threads).acquire_owned().await;
    let thread = thread.map_err(|error| Failure::Internal(error.to_string()))?;
    let (store, found) = (context.store.clone(), context.found.clone());
    let work = move || {
        let _thread = thread;
        let began = Instant::now();
        let report = crate::detect::detect(&events, &settings)
            .map_err(|error| Failure::Internal(error.to_string()))?;
        let (stored, shown) = anomalies(&report, &events, &source);
        store.add(&organization, &stored)?;
        for json in shown.iter().map(Value::to_string) {
            // An error only means that the stream has no readers.
            let _ = found.send(Arc::new(Found { organization: organization.clone(), json }));
        }
        Ok(answer(&report, events.len(), shown, began))
    };
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Failure::Internal(error.to_string()))?
}

fn answer(report: &Report, total: usize, anomalies: Vec<Value>, began: Instant) -> Value {
    let millis = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    json!({
        "success": true,
        "status": if report.calibrating { "calibrating" } else { "detected" },
        "total_events": total,
        "anomaly_count": anomalies.len(),
        "processing_time_ms": millis,
        "compression_algorithm": "zstd",
        "windows_examined": report.windows_examined,
        "windows_capped": report.windows_capped,
        "anomalies": anomalies,
    })
}

fn anomalies(report: &Report, events: &[Event], source: &str) -> (Vec<NewAnomaly>, Vec<Value>) {
    let detected_at = now();
    let pair = |finding: &Finding| {
        let id = format!("an_{}", Uuid::now_v7().simple());
        let texts: Vec<&str> = events[finding.events.clone()]
            .iter()
            .take(SHOWN_MAX)
            .map(|event| event.text.as_str())
            .collect();
        let metrics = serde_json::to_value(finding.metrics).unwrap_or_default();
        let severity = finding.severity.name();
        let shown = json!({
            "id": id,
            "index": finding.events.start,
            "end_index": finding.events.end,
            "detected": true,
            "metrics": metrics,
            "severity": severity,
            "why": finding.why,
            "event": texts.join("\n"),
        });
        let stored = NewAnomaly {
            id,
            severity,
            source: source.to_owned(),
            why: finding.why.clone(),
            event: texts.join("\n"),
            metrics,
            detected_at: detected_at.clone(),
        };
        (stored, shown)
    };
    report.findings.iter().map(pair).unzip()
}
