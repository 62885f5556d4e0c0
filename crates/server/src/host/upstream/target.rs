//! One backend from the view of one core: its address, its connections and its health.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use driftlock_domain::config::Config;
use driftlock_domain::denial::{Fault, FaultKind};
use driftlock_domain::response::reuse;
use driftlock_domain::websocket;
use http::header::HOST;
use http::{Method, Request, Response, StatusCode, Uri, Version};
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::address::BackendUrl;
use super::health::Health;
use super::lane::{Lane, NoHead};
use super::pool::{Permit, Pool};
use super::transport::{Shared, Transport};
use super::{Failed, RequestBody, ResponseBody};
use crate::host::listen::keepalive;
use crate::host::socket::Socket;

/// One backend.
pub(super) struct Target {
    url: BackendUrl,
    tls: Option<TlsConnector>,
    pub(super) pool: Rc<Pool>,
    pub(super) health: Arc<Health>,
    connect_timeout: Duration,
}

/// A failed attempt: the reason, and the request if not a byte of it was written.
pub(super) struct Attempt {
    pub(super) failed: Failed,
    pub(super) unsent: Option<Box<Request<RequestBody>>>,
}

impl Target {
    pub(super) fn new(
        url: BackendUrl,
        tls: Option<TlsConnector>,
        health: Arc<Health>,
        config: &Config,
    ) -> Self {
        let timeouts = &config.timeouts;
        let idle_timeout = Duration::from_millis(timeouts.backend_idle_ms);
        Self {
            pool: Rc::new(Pool::new(&config.backend, idle_timeout, &url, Arc::clone(&health))),
            url,
            tls,
            health,
            connect_timeout: Duration::from_millis(timeouts.backend_connect_ms),
        }
    }

    /// The backend's address, for the log.
    pub(super) fn url(&self) -> &BackendUrl {
        &self.url
    }

    /// Addresses a request to this backend; `asked` is the URI for the backend, without its prefix.
    pub(super) fn address(
        &self,
        request: &mut Request<RequestBody>,
        asked: Uri,
    ) -> Result<(), Fault> {
        let unusable =
            || Fault::new(FaultKind::Internal, "the request's target is not a valid URI");
        *request.uri_mut() = self.url.target(asked).ok_or_else(unusable)?;
        *request.version_mut() = Version::HTTP_11;
        request.headers_mut().insert(HOST, self.url.authority());
        Ok(())
    }

    /// Sends an addressed request and waits for the response's head.
    pub(super) async fn send(
        &self,
        mut request: Request<RequestBody>,
        head_timeout: Duration,
        idle: Option<Duration>,
    ) -> Result<Response<ResponseBody>, Attempt> {
        let permit = self.pool.permit(self.connect_timeout).await;
        let Some(permit) = permit else {
            return Err(Attempt { failed: Failed::NoPermit, unsent: Some(Box::new(request)) });
        };
        let method = request.method().clone();
        if websocket::is_forwarded(request.headers()) {
            return Box::pin(self.switch(request, permit, head_timeout, idle)).await;
        }
        let permit = match self.pool.take(permit) {
            Err(permit) => permit,
            Ok(mut lane) => match lane.exchange(request, head_timeout).await {
                Ok(response) => return self.answer(&method, response, lane, idle),
                Err(NoHead::Unsent(unsent)) => {
                    request = *unsent;
                    lane.permit.take().ok_or(Failed::NoPermit)?
                }
                Err(failed) => return Err(failed.into()),
            },
        };
        let mut lane = match Box::pin(self.connect(permit)).await {
            Ok(lane) => lane,
            Err(failed) => return Err(Attempt { failed, unsent: Some(Box::new(request)) }),
        };
        let response = lane.exchange(request, head_timeout).await?;
        self.answer(&method, response, lane, idle)
    }

    /// Sends a WebSocket handshake over a new connection, which no other request uses.
    async fn switch(
        &self,
        request: Request<RequestBody>,
        permit: Permit,
        head_timeout: Duration,
        idle: Option<Duration>,
    ) -> Result<Response<ResponseBody>, Attempt> {
        let method = request.method().clone();
        self.pool.make_room();
        let mut lane = match self.connect(permit).await {
            Ok(lane) => lane,
            Err(failed) => return Err(Attempt { failed, unsent: Some(Box::new(request)) }),
        };
        let response = lane.exchange(request, head_timeout).await?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return self.answer(&method, response, lane, idle);
        }
        let switched = lane.into_switched().ok_or(Failed::Switched)?;
        Ok(response.map(|_nothing| ResponseBody::Switched(Box::new(switched))))
    }

    async fn connect(&self, permit: Permit) -> Result<Box<Lane>, Failed> {
        let connecting = tokio::time::timeout(self.connect_timeout, self.transport());
        let transport = connecting.await.map_err(|_| Failed::ConnectTimeout)??;
        Lane::new(transport, permit).await.map(Box::new).map_err(Failed::Connection)
    }

    async fn transport(&self) -> Result<Transport, Failed> {
        let stream = TcpStream::connect(self.url.endpoint()).await.map_err(Failed::Connect)?;
        // Otherwise a body that follows its head may wait for an acknowledgement (Nagle's
        // algorithm).
        stream.set_nodelay(true).map_err(Failed::Connect)?;
        let socket = SockRef::from(&stream);
        socket.set_tcp_keepalive(&keepalive()).map_err(Failed::Connect)?;
        let socket = Shared::new(Socket::new(stream));
        let (Some(tls), Some(name)) = (&self.tls, self.url.server_name()) else {
            return Ok(Transport::Plain(socket));
        };
        let secured = tls.connect(name, socket).await.map_err(Failed::Tls)?;
        Ok(Transport::Tls(Box::new(secured)))
    }

    fn answer(
        &self,
        method: &Method,
        response: Response<hyper::body::Incoming>,
        mut lane: Box<Lane>,
        idle: Option<Duration>,
    ) -> Result<Response<ResponseBody>, Attempt> {
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Err(Failed::Switched.into());
        }
        let (mut head, incoming) = response.into_parts();
        lane.reuse = reuse(method, head.version, head.status, &head.headers);
        head.version = Version::HTTP_11;
        let body = ResponseBody::backend(incoming, lane, Rc::clone(&self.pool), idle);
        Ok(Response::from_parts(head, body))
    }
}

impl From<Failed> for Attempt {
    fn from(failed: Failed) -> Self {
        Self { failed, unsent: None }
    }
}

impl From<NoHead> for Attempt {
    fn from(no_head: NoHead) -> Self {
        match no_head {
            NoHead::Unsent(unsent) => Self { failed: Failed::Unsent, unsent: Some(unsent) },
            NoHead::Failed(error) => Failed::Connection(error).into(),
            NoHead::TimedOut => Failed::HeadTimeout.into(),
        }
    }
}
