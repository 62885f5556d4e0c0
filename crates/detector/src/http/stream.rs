//! `GET /api/v1/stream/anomalies`: server-sent events, one for each new anomaly.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::Response;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use super::{Context, Found, organization};
use std::sync::Arc;

/// After this long without an event a comment is sent, so that proxies do not close the stream.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

pub(super) async fn stream(State(context): State<Context>, headers: HeaderMap) -> Response {
    let reader = (context.found.subscribe(), organization(&headers));
    let first = futures_util::stream::iter([Ok(Bytes::from_static(b": connected\n\n"))]);
    let rest = futures_util::stream::unfold(reader, |(mut found, organization)| async move {
        let text = next(&mut found, &organization).await?;
        Some((Ok::<_, Infallible>(Bytes::from(text)), (found, organization)))
    });
    let body = Body::from_stream(futures_util::StreamExt::chain(first, rest));
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The next event, or a comment when there is none for a while; `None` once the backend stops.
async fn next(found: &mut Receiver<Arc<Found>>, organization: &str) -> Option<String> {
    loop {
        match tokio::time::timeout(KEEP_ALIVE, found.recv()).await {
            Err(_elapsed) => return Some(": keep-alive\n\n".to_owned()),
            Ok(Ok(anomaly)) if anomaly.organization == organization => {
                return Some(format!("event: anomaly\ndata: {}\n\n", anomaly.json));
            }
            Ok(Ok(_of_another)) => {}
            Ok(Err(RecvError::Lagged(missed))) => {
                return Some(format!("event: missed\ndata: {{\"count\":{missed}}}\n\n"));
            }
            Ok(Err(RecvError::Closed)) => return None,
        }
    }
}
