//! Reads bodies into memory, up to a bound.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use driftlock_domain::denial::{Denial, Fault};
use driftlock_gateway::ports::{Collected, Refusal};
use driftlock_gateway::{Buffers, Copies, Gathered};
use http_body::Body;
use http_body_util::BodyExt;
use tokio::time::{Instant, timeout_at};

use super::request_body::RequestBody;
use super::response_body::ResponseBody;

/// Reads a client's body of at most `max` bytes.
pub(super) async fn request(
    body: RequestBody,
    max: u64,
    buffers: &Arc<Buffers>,
) -> Result<Bytes, Refusal> {
    let mut body = body.limited(max);
    if let Some(denial) = body.refused() {
        return Err(denial.into());
    }
    let note = body.note();
    let mut read = Gathered::new(buffers, Copies::One);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| note.take().unwrap_or(Denial::ClientAborted))?;
        if let Ok(data) = frame.into_data() {
            read.push(data).map_err(|(no_room, _)| Fault::from(no_room))?;
        }
    }
    Ok(read.join())
}

/// Reads an answer's body of at most `max` bytes, for at most the time `within`.
pub(super) async fn response(
    mut body: ResponseBody,
    max: usize,
    within: Duration,
    buffers: &Arc<Buffers>,
) -> Collected<ResponseBody> {
    if body.size_hint().lower() > max as u64 {
        return Collected::Unfinished(body);
    }
    let until = Instant::now() + within;
    let mut read = Gathered::new(buffers, Copies::Two);
    while let Some(frame) = match timeout_at(until, body.frame()).await {
        Ok(frame) => frame,
        Err(_) => return Collected::Unfinished(ResponseBody::prefixed(read.join(), body)),
    } {
        let frame = match frame {
            Ok(frame) => frame,
            Err(broken) => return Collected::Broken(broken.to_string()),
        };
        if let Ok(data) = frame.into_data()
            && let Err((_, data)) = read.push(data)
        {
            // Without room in memory, the answer is passed on like one that is too large.
            let rest = ResponseBody::prefixed(data, body);
            return Collected::Unfinished(ResponseBody::prefixed(read.join(), rest));
        }
        if read.len() > max {
            return Collected::Unfinished(ResponseBody::prefixed(read.join(), body));
        }
    }
    Collected::Whole(read.join())
}
