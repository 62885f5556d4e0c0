//! The way to the backend: HTTP/1.1 over a bounded pool of connections, one pool per core.
//!
//! A request is tried again, once and over a new connection, only if not a byte of it had been
//! written: a connection that died in the pool. Everything waits for a bounded time. TLS, retries
//! of another kind and load balancing are left to what stands between here and the backend.

mod address;
mod collect;
mod gate;
mod lane;
mod pool;
mod request_body;
mod response_body;
#[cfg(test)]
mod tests;

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use driftlock_domain::config::Config;
use driftlock_domain::denial::{Denial, Fault, FaultKind};
use driftlock_domain::route::Route;
use driftlock_gateway::ports::{BodyEnd, Collected, SendError, Upstream};
use futures_util::{Stream, StreamExt};
use http::header::HOST;
use http::{Request, Response, StatusCode, Version};
use tokio::net::TcpStream;

pub(crate) use address::BackendUrl;
pub(crate) use request_body::RequestBody;
pub(crate) use response_body::ResponseBody;

use lane::{Lane, NoHead};
use pool::{Permit, Pool};

/// The backend, as one core sees it.
#[derive(Clone)]
pub(crate) struct Backend(Rc<Inner>);

struct Inner {
    url: BackendUrl,
    pool: Rc<Pool>,
    connect_timeout: Duration,
    body_idle: Duration,
}

impl Backend {
    /// The backend at this base URL, with the bounds of the configuration.
    pub(crate) fn new(url: BackendUrl, config: &Config) -> Self {
        let timeouts = &config.timeouts;
        let idle_timeout = Duration::from_millis(timeouts.backend_idle_ms);
        Self(Rc::new(Inner {
            url,
            pool: Rc::new(Pool::new(&config.backend, idle_timeout)),
            connect_timeout: Duration::from_millis(timeouts.backend_connect_ms),
            body_idle: Duration::from_millis(timeouts.body_idle_ms),
        }))
    }

    /// Closes idle connections whose time has come; called about once a second.
    pub(crate) fn sweep(&self) {
        self.0.pool.sweep();
    }

    /// The request as the backend gets it.
    fn addressed(&self, request: Request<RequestBody>) -> Result<Request<RequestBody>, Fault> {
        let (mut head, body) = request.into_parts();
        let unusable = || Fault::new(FaultKind::Internal, "the request's target is no target");
        head.uri = self.0.url.target(head.uri).ok_or_else(unusable)?;
        head.version = Version::HTTP_11;
        head.headers.insert(HOST, self.0.url.authority());
        Ok(Request::from_parts(head, body))
    }

    async fn exchange(
        &self,
        mut request: Request<RequestBody>,
        route: &Route,
    ) -> Result<Response<ResponseBody>, Failed> {
        let (inner, head_timeout) = (&*self.0, Duration::from_millis(route.head_timeout_ms));
        let permit = inner.pool.permit(inner.connect_timeout).await.ok_or(Failed::NoPermit)?;
        let idle = (!route.stream).then_some(inner.body_idle);

        let permit = match inner.pool.take(permit) {
            Err(permit) => permit,
            Ok(mut lane) => match lane.exchange(request, head_timeout).await {
                Ok(response) => return self.answer(response, lane, idle),
                Err(NoHead::Unsent(unsent)) => {
                    request = *unsent;
                    lane.permit.take().ok_or(Failed::NoPermit)?
                }
                Err(failed) => return Err(failed.into()),
            },
        };
        let mut lane = Box::new(self.connect(permit).await?);
        let response = lane.exchange(request, head_timeout).await?;
        self.answer(response, lane, idle)
    }

    async fn connect(&self, permit: Permit) -> Result<Lane, Failed> {
        let connecting = TcpStream::connect(self.0.url.endpoint());
        let stream = tokio::time::timeout(self.0.connect_timeout, connecting)
            .await
            .map_err(|_| Failed::ConnectTimeout)?
            .map_err(Failed::Connect)?;
        // Without it a request whose body follows its head may wait for an acknowledgement.
        stream.set_nodelay(true).map_err(Failed::Connect)?;
        Lane::new(stream, permit).await.map_err(Failed::Connection)
    }

    fn answer(
        &self,
        response: Response<hyper::body::Incoming>,
        lane: Box<Lane>,
        idle: Option<Duration>,
    ) -> Result<Response<ResponseBody>, Failed> {
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Err(Failed::Switched);
        }
        let (mut head, incoming) = response.into_parts();
        head.version = Version::HTTP_11;
        let body = ResponseBody::backend(incoming, lane, Rc::clone(&self.0.pool), idle);
        Ok(Response::from_parts(head, body))
    }
}

/// Why there is no answer, if the client's body is not to blame.
enum Failed {
    NoPermit,
    ConnectTimeout,
    Connect(std::io::Error),
    Connection(hyper::Error),
    HeadTimeout,
    Unsent,
    Switched,
}

impl From<NoHead> for Failed {
    fn from(no_head: NoHead) -> Self {
        match no_head {
            NoHead::Unsent(_) => Self::Unsent,
            NoHead::Failed(error) => Self::Connection(error),
            NoHead::TimedOut => Self::HeadTimeout,
        }
    }
}

impl From<Failed> for Fault {
    fn from(failed: Failed) -> Self {
        let unreachable = |cause: String| Self::new(FaultKind::BackendUnreachable, cause);
        match failed {
            Failed::NoPermit => {
                Self::new(FaultKind::Overloaded, "all connections to the backend are in use")
            }
            Failed::ConnectTimeout => unreachable("connecting took too long".into()),
            Failed::Connect(error) => unreachable(format!("connecting failed: {error}")),
            Failed::Unsent => unreachable("a new connection died before it was used".into()),
            Failed::Connection(error) if error.is_parse() => {
                Self::new(FaultKind::BackendBroken, format!("no HTTP answer: {error}"))
            }
            Failed::Connection(error) => unreachable(format!("the connection broke: {error}")),
            Failed::HeadTimeout => Self::new(FaultKind::BackendTimeout, "no response head in time"),
            Failed::Switched => {
                Self::new(FaultKind::BackendBroken, "switched protocols without being asked")
            }
        }
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
        let request = self.addressed(request).map_err(SendError::Fault)?;
        // A client's broken body breaks the connection that was sending it: the note knows better.
        self.exchange(request, route).await.map_err(|failed| match note.take() {
            Some(denial) => SendError::Denied(denial),
            None => SendError::Fault(failed.into()),
        })
    }

    async fn collect(&self, body: RequestBody, max: u64) -> Result<Bytes, Denial> {
        collect::request(body, max).await
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

    async fn collect_answer(&self, body: ResponseBody, max: usize) -> Collected<ResponseBody> {
        collect::response(body, max).await
    }

    fn watch(body: ResponseBody, ended: Box<dyn FnOnce(BodyEnd)>) -> ResponseBody {
        body.watched(ended)
    }
}
