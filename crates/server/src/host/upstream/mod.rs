//! Requests to the backend: HTTP/1.1, plain or over TLS. Each core has a bounded pool of
//! connections for each backend.
//!
//! Several healthy backends (`health.rs`) get requests in turn. A request is tried again only if
//! not a byte of it was written: once if a pooled connection had died, and once with another
//! backend if connecting to the first fails or it has no free connection. Every wait is bounded.

mod address;
mod backends;
mod collect;
mod failed;
mod gate;
mod health;
mod lane;
mod pool;
mod probe;
mod request_body;
mod response_body;
mod target;
#[cfg(test)]
mod tests;
mod tls;
mod transport;

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use driftlock_domain::config::Config;
use driftlock_domain::denial::Fault;
use driftlock_domain::request_framing::frame_request;
use driftlock_domain::route::Route;
use driftlock_gateway::Buffers;
use driftlock_gateway::ports::{BodyEnd, Collected, Refusal, SendError, Upstream};
use futures_util::{Stream, StreamExt};
use http::{HeaderName, HeaderValue, Request, Response};
use http_body::Body;

pub(crate) use address::{BackendUrl, MalformedBackendUrl};
pub(crate) use backends::Backends;
pub(crate) use lane::Switched;
pub(crate) use request_body::{Pace, RequestBody};
pub(crate) use response_body::ResponseBody;

use failed::Failed;
use target::{Attempt, Target};

/// The backends, as one core sees them.
#[derive(Clone)]
pub(crate) struct Backend(Rc<Inner>);

struct Inner {
    targets: Vec<Target>,
    turn: Cell<usize>,
    /// `backend.headers` for health checks. Forwarded requests already have them.
    headers: Arc<[(HeaderName, HeaderValue)]>,
    body_idle: Duration,
}

impl Backend {
    /// A core's view of these backends, with the configuration's bounds.
    pub(crate) fn new(backends: &Backends, config: &Config) -> Self {
        Self(Rc::new(Inner {
            targets: backends.targets(config),
            turn: Cell::new(0),
            headers: backends.headers(),
            body_idle: Duration::from_millis(config.timeouts.body_idle_ms),
        }))
    }

    /// Closes connections that were idle for too long; called about once a second.
    pub(crate) fn sweep(&self) {
        self.0.targets.iter().for_each(|target| target.pool.sweep());
    }

    /// Sends a request to the backend whose turn it is. If connecting fails or all its connections
    /// are in use, the next backend is tried.
    async fn exchange(
        &self,
        mut request: Request<RequestBody>,
        route: &Route,
    ) -> Result<Response<ResponseBody>, Fault> {
        let length = request.body().size_hint().exact();
        let method = request.method().clone();
        frame_request(&method, request.headers_mut(), length);
        let head_timeout = Duration::from_millis(route.head_timeout_ms);
        let idle = (!route.stream).then_some(self.0.body_idle);
        let asked = request.uri().clone();
        let first = self.0.choose(None);
        self.0.targets[first].address(&mut request, asked.clone())?;
        let Attempt { failed, unsent } = match self.0.send(first, request, head_timeout, idle).await
        {
            Ok(response) => return Ok(response),
            Err(attempt) => attempt,
        };
        let (Some(mut request), true) = (unsent, self.0.targets.len() > 1) else {
            return Err(failed.into());
        };
        let second = self.0.choose(Some(first));
        self.0.targets[second].address(&mut request, asked)?;
        let answered = Box::pin(self.0.send(second, *request, head_timeout, idle)).await;
        answered.map_err(|attempt| attempt.failed.into())
    }
}

impl Inner {
    /// The next healthy backend other than `tried`; if none is healthy, the next one.
    fn choose(&self, tried: Option<usize>) -> usize {
        let count = self.targets.len();
        if count == 1 {
            return 0;
        }
        let turn = self.turn.get();
        self.turn.set(turn.wrapping_add(1));
        let others = (0..count).map(|step| turn.wrapping_add(step) % count);
        let mut others = others.filter(|place| Some(*place) != tried);
        let next = others.next().unwrap_or(0);
        let is_well = |place: &usize| self.targets[*place].health.is_well();
        std::iter::once(next).chain(others).find(is_well).unwrap_or(next)
    }

    async fn send(
        &self,
        place: usize,
        request: Request<RequestBody>,
        head_timeout: Duration,
        idle: Option<Duration>,
    ) -> Result<Response<ResponseBody>, Attempt> {
        let (target, note) = (&self.targets[place], request.body().note());
        let answered = target.send(request, head_timeout, idle).await;
        match &answered {
            Ok(_) => target.health.answered(),
            // An error in the client's body also breaks the connection to the backend: not counted.
            Err(attempt) if attempt.failed.is_the_backends() && !note.is_written() => {
                if target.health.failed() && self.targets.len() > 1 {
                    let backend = target.url();
                    tracing::warn!(%backend, "backend failed repeatedly: ejecting it");
                }
            }
            Err(_) => {}
        }
        answered
    }
}

impl Upstream for Backend {
    type RequestBody = RequestBody;
    type ResponseBody = ResponseBody;

    async fn send(
        &self,
        request: Request<RequestBody>,
        route: &Route,
    ) -> Result<Response<ResponseBody>, SendError> {
        if let Some(denial) = request.body().refused() {
            return Err(SendError::Denied(denial));
        }
        let note = request.body().note();
        // An error in the client's body also breaks the connection to the backend: use the body's
        // note.
        self.exchange(request, route).await.map_err(|failed| match note.take() {
            Some(denial) => SendError::Denied(denial),
            None => SendError::Fault(failed),
        })
    }

    async fn collect(
        &self,
        body: RequestBody,
        max: u64,
        buffers: &Arc<Buffers>,
    ) -> Result<Bytes, Refusal> {
        collect::request(body, max, buffers).await
    }

    fn request_body(bytes: Bytes) -> RequestBody {
        RequestBody::Full((!bytes.is_empty()).then_some(bytes))
    }

    fn limited(body: RequestBody, max: u64) -> RequestBody {
        body.limited(max)
    }

    fn response_body(bytes: Bytes) -> ResponseBody {
        ResponseBody::Full((!bytes.is_empty()).then_some(bytes))
    }

    fn stream_body(parts: impl Stream<Item = Result<Bytes, Fault>> + 'static) -> ResponseBody {
        ResponseBody::Made(parts.boxed_local())
    }

    async fn collect_answer(
        &self,
        body: ResponseBody,
        max: usize,
        within: Duration,
        buffers: &Arc<Buffers>,
    ) -> Collected<ResponseBody> {
        collect::response(body, max, within, buffers).await
    }

    fn ended_by<F: Future<Output = ()> + 'static>(
        body: ResponseBody,
        over: impl FnOnce() -> F,
    ) -> ResponseBody {
        body.ended_by(over)
    }

    fn watch(body: ResponseBody, ended: Box<dyn FnOnce(BodyEnd)>) -> ResponseBody {
        body.watched(ended)
    }
}
