//! Bodies read into memory, up to a bound.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use driftlock_domain::denial::Denial;
use driftlock_gateway::ports::Collected;
use http_body::Body;
use http_body_util::BodyExt;
use tokio::time::{Instant, timeout_at};

use super::request_body::RequestBody;
use super::response_body::ResponseBody;

/// Reads a client's body of at most `max` bytes.
pub(super) async fn request(body: RequestBody, max: u64) -> Result<Bytes, Denial> {
    let mut body = body.limited(max);
    if let Some(denial) = body.refused() {
        return Err(denial);
    }
    let note = body.note();
    let mut read = Pieces::default();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| note.take().unwrap_or(Denial::ClientAborted))?;
        if let Ok(data) = frame.into_data() {
            read.push(data);
        }
    }
    Ok(read.join())
}

/// Reads an answer's body of at most `max` bytes, for so long at most.
pub(super) async fn response(
    mut body: ResponseBody,
    max: usize,
    within: Duration,
) -> Collected<ResponseBody> {
    if body.size_hint().lower() > max as u64 {
        return Collected::Unfinished(body);
    }
    let until = Instant::now() + within;
    let mut read = Pieces::default();
    while let Some(frame) = match timeout_at(until, body.frame()).await {
        Ok(frame) => frame,
        Err(_) => return Collected::Unfinished(ResponseBody::prefixed(read.join(), body)),
    } {
        let frame = match frame {
            Ok(frame) => frame,
            Err(broken) => return Collected::Broken(broken.to_string()),
        };
        if let Ok(data) = frame.into_data() {
            read.push(data);
        }
        if read.len() > max {
            return Collected::Unfinished(ResponseBody::prefixed(read.join(), body));
        }
    }
    Collected::Whole(read.join())
}

/// What was read so far. One piece, the common case, is not copied; more are, since a piece keeps
/// the whole buffer alive that it was read into.
#[derive(Default)]
struct Pieces {
    first: Bytes,
    joined: BytesMut,
}

impl Pieces {
    fn push(&mut self, piece: Bytes) {
        if self.len() == 0 {
            self.first = piece;
            return;
        }
        self.joined.extend_from_slice(&std::mem::take(&mut self.first));
        self.joined.extend_from_slice(&piece);
    }

    fn len(&self) -> usize {
        self.first.len() + self.joined.len()
    }

    fn join(self) -> Bytes {
        if self.joined.is_empty() { self.first } else { self.joined.freeze() }
    }
}
