//! A backend that answers 200 without a body. Bodies are bytes.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use driftlock_domain::denial::{Denial, Fault};
use driftlock_domain::route::Route;
use driftlock_gateway::Buffers;
use driftlock_gateway::ports::{BodyEnd, Collected, Refusal, SendError, Upstream};
use futures_util::Stream;
use http::{Request, Response};

/// See the module.
pub struct Echo;

impl Upstream for Echo {
    type RequestBody = Bytes;
    type ResponseBody = Bytes;

    async fn send(&self, _: Request<Bytes>, _: &Route) -> Result<Response<Bytes>, SendError> {
        Ok(Response::new(Bytes::new()))
    }

    async fn collect(&self, body: Bytes, max: u64, _: &Arc<Buffers>) -> Result<Bytes, Refusal> {
        if body.len() as u64 > max { Err(Denial::BodyTooLarge(max).into()) } else { Ok(body) }
    }

    fn request_body(bytes: Bytes) -> Bytes {
        bytes
    }

    fn limited(body: Bytes, _: u64) -> Bytes {
        body
    }

    fn response_body(bytes: Bytes) -> Bytes {
        bytes
    }

    fn stream_body(parts: impl Stream<Item = Result<Bytes, Fault>> + 'static) -> Bytes {
        let parts = futures_executor::block_on_stream(Box::pin(parts));
        parts.map_while(Result::ok).flatten().collect()
    }

    async fn collect_answer(
        &self,
        body: Bytes,
        max: usize,
        _: Duration,
        _: &Arc<Buffers>,
    ) -> Collected<Bytes> {
        if body.len() > max { Collected::Unfinished(body) } else { Collected::Whole(body) }
    }

    fn ended_by<F: Future<Output = ()> + 'static>(body: Bytes, _: impl FnOnce() -> F) -> Bytes {
        body
    }

    fn watch(body: Bytes, ended: Box<dyn FnOnce(BodyEnd)>) -> Bytes {
        ended(BodyEnd::Complete);
        body
    }
}
