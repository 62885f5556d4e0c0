//! Serves one client connection: HTTP/1.1 requests, the gateway's answers, and timeouts.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::poll_fn;
use std::net::{IpAddr, Shutdown};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use driftlock_domain::config::Config;
use driftlock_domain::denial::{Denial, Fault, LimitScope};
use driftlock_gateway::ports::{Platform, Refusal};
use driftlock_gateway::{Gateway, Listener, NoRoom};
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::http1::{Builder, Connection};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::activity::{Activity, Due, Length, Patience};
use super::client_stream::{ClientStream, Unread, wire};
use super::clients::Client;
use super::socket::Socket;
use super::tunnel;
use super::unwanted::{self, Drained, Unwanted};
use super::upstream::{Backend, Pace, RequestBody, ResponseBody, Switched};

/// The parts that all connections of a core share.
pub(super) struct Protocol<P: Platform> {
    gateway: Gateway<P>,
    http: Builder,
    patience: Patience,
    pace: Pace,
    websocket_idle: Duration,
    /// Refused connections that still read what their clients send.
    leaving: Cell<usize>,
}

/// `Retry-After` for a client with too many connections.
const TURNED_AWAY_FOR: Duration = Duration::from_secs(1);
/// At most so many refused connections are kept for a second. They do not count for the limit of
/// their address.
const LEAVING_MAX: usize = 64;
/// Bytes for a request line's method and version, and for the end of the head.
const HEAD_SLACK: usize = 1 << 10;
/// Bytes of a request that are read at once at most.
const BUFFER_MAX: usize = 128 << 10;
/// So many header lines are parsed without an allocation.
const HEADERS_ON_STACK: usize = 100;

impl<P: Platform<Upstream = Backend>> Protocol<P> {
    pub(super) fn new(gateway: Gateway<P>, config: &Config) -> Rc<Self> {
        let filter = &config.filter;
        let head_max = filter.header_bytes_max + filter.target_bytes_max + HEAD_SLACK;
        let mut http = Builder::new();
        http.half_close(false)
            .keep_alive(true)
            .header_read_timeout(None)
            .max_header_size(head_max)
            .max_buf_size(head_max.max(BUFFER_MAX));
        if filter.headers_max > HEADERS_ON_STACK {
            http.max_headers(filter.headers_max);
        }
        let patience = Patience::of(&config.timeouts);
        let bytes_per_sec_min = config.timeouts.body_bytes_per_sec_min;
        let pace = Pace { idle: patience.body, bytes_per_sec_min, total: patience.request };
        let websocket_idle = Duration::from_millis(config.timeouts.websocket_idle_ms);
        let leaving = Cell::new(0);
        Rc::new(Self { gateway, http, patience, pace, websocket_idle, leaving })
    }

    /// Serves one connection to its end.
    pub(super) async fn serve(
        self: Rc<Self>,
        stream: TcpStream,
        peer: IpAddr,
        listener: Listener,
        client: Client,
    ) {
        let state = Rc::new(State {
            activity: Activity::new(Instant::now(), self.gateway.buffers()),
            unwanted: Unwanted::new(),
            switched: Cell::new(None),
        });
        let unread: Rc<dyn Unread> = Rc::<Self>::clone(&self);
        let activity = Rc::clone(&state.activity);
        let stream = ClientStream::new(Socket::new(stream), activity, peer, unread);
        let (gateway, pace, noted) = (self.gateway.clone(), self.pace, Rc::clone(&state));
        let service = service_fn(move |mut request: Request<Incoming>| {
            if let Err(refused) = noted.activity.request_began() {
                request.extensions_mut().insert(refused);
            }
            let request = RequestBody::of(request, pace, &noted.unwanted);
            let (gateway, state) = (gateway.clone(), Rc::clone(&noted));
            // Boxed, so that an idle connection does not use the memory that a request needs.
            Box::pin(async move {
                let response = gateway.handle(request, peer, listener).await;
                Ok::<_, Infallible>(state.answer(response))
            })
        });
        let mut connection = self.http.serve_connection(TokioIo::new(stream), service);
        let drain = |connection: &mut _| Connection::graceful_shutdown(Pin::new(connection));
        let over = self.until_over(&mut connection, drain, &client, &state).await;
        if let Some(backend) = state.switched.take() {
            let parts = connection.into_parts();
            // A client that sent data before the handshake ended does not speak WebSocket.
            if parts.read_buf.is_empty() {
                let idle = self.websocket_idle;
                let (stream, buffers) =
                    (parts.io.into_inner().into_socket(), self.gateway.buffers());
                tunnel::run(stream, *backend, idle, &client, buffers).await;
            }
            return;
        }
        let refusal = match over {
            Due::SlowHead => Some(Denial::ClientTimeout.into()),
            Due::NoRoom => Some(Fault::from(NoRoom).into()),
            Due::Close | Due::Later(_) => None,
        };
        if refusal.is_some() || state.unwanted.is_cut_off() || state.activity.is_being_sent() {
            let stream = connection.into_parts().io.into_inner();
            if let Some(refusal) = refusal {
                stream.refuse(refusal);
            }
            // The bytes of the head are freed: give back their share of the memory budget.
            drop(state);
            // Boxed, so that an idle connection does not use its memory.
            Box::pin(unwanted::close(stream.into_socket().into_inner())).await;
        }
    }

    /// Runs a connection until it ends, a timeout expires, or the memory budget has no room for a
    /// head.
    async fn until_over<C: Future + Unpin>(
        &self,
        connection: &mut C,
        drain: impl Fn(&mut C),
        client: &Client,
        state: &State,
    ) -> Due {
        let mut timer = Box::pin(tokio::time::sleep(self.patience.shortest()));
        let (mut is_draining, mut timed) = (false, false);
        poll_fn(|context| {
            if !is_draining {
                client.runs_in(context.waker());
                if client.is_draining() {
                    drain(connection);
                    is_draining = true;
                }
            }
            loop {
                if Pin::new(&mut *connection).poll(context).is_ready() {
                    return Poll::Ready(Due::Close);
                }
                if state.unwanted.poll(context) == Drained::Nothing {
                    break;
                }
            }
            if state.activity.lacks_room() {
                return Poll::Ready(Due::NoRoom);
            }
            // Polled first to register the task, then only after it fired.
            while (!timed || timer.is_elapsed()) && timer.as_mut().poll(context).is_ready() {
                match state.activity.due(Instant::now(), self.patience) {
                    Due::Later(at) => {
                        timer.as_mut().reset(at);
                        timed = false;
                    }
                    over => return Poll::Ready(over),
                }
            }
            timed = true;
            Poll::Pending
        })
        .await
    }
}

/// State that a connection and its requests share.
struct State {
    activity: Rc<Activity>,
    unwanted: Rc<Unwanted>,
    /// The connection to the backend, after a switch of protocols.
    switched: Cell<Option<Box<Switched>>>,
}

impl State {
    /// Records that an answer begins, and whether the connection must close after it.
    fn answer(&self, mut response: Response<ResponseBody>) -> Response<Answer> {
        self.unwanted.answered(response.headers_mut());
        let endless = response.body().is_endless();
        self.activity.answer_began(if endless { Length::Endless } else { Length::Finite });
        let activity = Rc::clone(&self.activity);
        response.map(|body| match body {
            ResponseBody::Switched(switched) => {
                self.switched.set(Some(switched));
                Answer { body: ResponseBody::Full(None), activity }
            }
            body => Answer { body, activity },
        })
    }
}

impl<P: Platform<Upstream = Backend>> Protocol<P> {
    /// Sends a refusal to a client with too many connections, without waiting for it. It calls the
    /// system directly, because the runtime does not know yet that a new connection is writable. Up
    /// to [`LEAVING_MAX`] of these connections read what the client sends, so that a reset does not
    /// discard the answer.
    pub(super) fn turn_away(self: &Rc<Self>, stream: TcpStream, peer: IpAddr) {
        let denial = Denial::RateLimited { scope: LimitScope::Address, wait: TURNED_AWAY_FOR };
        // A client that is gone, or does not read, gets no answer.
        let _ = SockRef::from(&stream).send(&wire(&self.gateway.unread(denial, peer)));
        if self.leaving.get() >= LEAVING_MAX {
            let _ = SockRef::from(&stream).shutdown(Shutdown::Write);
            return;
        }
        self.leaving.set(self.leaving.get() + 1);
        let protocol = Rc::clone(self);
        tokio::task::spawn_local(async move {
            unwanted::close(stream).await;
            protocol.leaving.set(protocol.leaving.get() - 1);
        });
    }
}

impl<P: Platform<Upstream = Backend>> Unread for Protocol<P> {
    fn answer(&self, refusal: Refusal, peer: IpAddr) -> Response<Bytes> {
        self.gateway.unread(refusal, peer)
    }
}

/// An answer's body. Its drop tells the connection that the answer ended.
struct Answer {
    body: ResponseBody,
    activity: Rc<Activity>,
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.activity.request_ended(Instant::now());
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = <ResponseBody as Body>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
