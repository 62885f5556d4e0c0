//! One connection to the backend, driven by the request that uses it.
//!
//! The connection has no task: the request that sends or reads polls it, so that a request costs no
//! wake-ups between tasks. It belongs to one exchange at a time. Invariant: an exchange that does
//! not come to its end drops the connection, which closes it.

use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use driftlock_domain::response::{Reuse, is_stray};
use futures_util::FutureExt;
use futures_util::future::{LocalBoxFuture, pending};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{Builder, Connection, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, Sleep};

use super::gate::Gate;
use super::pool::Permit;
use super::request_body::RequestBody;
use super::transport::{Shared, Transport, Unread};

/// How often a connection is driven in a row before others get their turn.
const ROUNDS_MAX: usize = 4;
/// The greatest piece of a response that is read at once, in bytes.
const BUFFER_MAX: usize = 128 << 10;

/// See the module.
pub(super) struct Lane {
    connection: Pin<Box<Connection<TokioIo<Transport>, RequestBody>>>,
    sender: SendRequest<RequestBody>,
    gate: Arc<Gate>,
    waker: Waker,
    timer: Pin<Box<Sleep>>,
    ended: bool,
    /// It ended because bytes came that no request had asked for.
    ended_by_stray: bool,
    socket: Shared,
    is_plain: bool,
    /// What the head of the last answer allows.
    pub(super) reuse: Reuse,
    /// When it was put into the pool.
    pub(super) idle_since: Instant,
    /// The right to be in use; none while it lies in the pool.
    pub(super) permit: Option<Permit>,
}

/// A connection that changed its protocol, which is in use until this is dropped.
pub(crate) struct Switched {
    pub(crate) transport: Transport,
    /// What the backend sent after its consent.
    pub(crate) early: Bytes,
    /// Ready when it has to end.
    pub(crate) over: LocalBoxFuture<'static, ()>,
    _permit: Permit,
}

/// What a look at a connection finds that carries no request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// Nothing came: it can carry another request.
    Silent,
    /// It is closed, or its last exchange did not come to its end.
    Closed,
    /// Bytes came that belong to no answer.
    Stray,
}

/// Why a request has no response head.
pub(super) enum NoHead {
    /// Not a byte of it was written: here it is again.
    Unsent(Box<Request<RequestBody>>),
    /// The connection failed.
    Failed(hyper::Error),
    /// It took too long.
    TimedOut,
}

impl Lane {
    /// A lane over a connected socket.
    pub(super) async fn new(stream: Transport, permit: Permit) -> Result<Self, hyper::Error> {
        let mut builder = Builder::new();
        builder.max_buf_size(BUFFER_MAX);
        let (socket, is_plain) = (stream.socket(), stream.is_plain());
        let (sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
        let gate = Arc::new(Gate::default());
        let waker = Waker::from(Arc::clone(&gate));
        let now = Instant::now();
        let mut lane = Self {
            connection: Box::pin(connection),
            sender,
            gate,
            waker,
            timer: Box::pin(tokio::time::sleep_until(now)),
            ended: false,
            ended_by_stray: false,
            socket,
            is_plain,
            reuse: Reuse::Never,
            idle_since: now,
            permit: Some(permit),
        };
        lane.gate.shut();
        lane.step();
        Ok(lane)
    }

    /// Sends a request and waits for the response's head: so long after the last piece of the
    /// request, since a client that takes its time is no fault of the backend's.
    pub(super) async fn exchange(
        &mut self,
        request: Request<RequestBody>,
        timeout: Duration,
    ) -> Result<Response<Incoming>, NoHead> {
        self.arm(timeout);
        let note = request.body().note();
        let mut sent = std::pin::pin!(self.sender.try_send_request(request));
        let answered = std::future::poll_fn(|context| {
            self.drive(context);
            // Whatever answers it happens while the connection is driven: it needs no waker.
            match sent.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(answered) => Poll::Ready(Some(answered)),
                Poll::Pending => loop {
                    ready!(self.poll_timer());
                    let now = Instant::now();
                    match note.backend_has_until(now, timeout) {
                        Some(end) => self.arm(end - now),
                        None => return Poll::Ready(None),
                    }
                },
            }
        });
        match answered.await {
            Some(Ok(response)) => Ok(response),
            Some(Err(error)) => Err(no_head(error)),
            None => Err(NoHead::TimedOut),
        }
    }

    /// The connection's bytes, once an exchange has changed its protocol, and what of them was
    /// read.
    pub(super) fn into_switched(mut self) -> Option<Switched> {
        self.step();
        let permit = self.permit.filter(|_| self.ended)?;
        let parts = Pin::into_inner(self.connection).into_parts();
        let (transport, early) = (parts.io.into_inner(), parts.read_buf);
        Some(Switched { transport, early, over: pending().boxed_local(), _permit: permit })
    }

    /// Lets the connection read and write what it can; wakes go to the context's task afterwards.
    pub(super) fn drive(&mut self, context: &mut Context<'_>) {
        self.gate.lead_to(context.waker());
        self.gate.shut();
        for _ in 0..ROUNDS_MAX {
            self.step();
            if self.ended || !self.gate.knocked() {
                break;
            }
        }
        self.gate.open();
    }

    /// Starts the timer anew.
    pub(super) fn arm(&mut self, timeout: Duration) {
        self.timer.as_mut().reset(Instant::now() + timeout);
    }

    /// Ready once the timer ran out. Called after [`Self::drive`], in the same poll.
    pub(super) fn poll_timer(&mut self) -> Poll<()> {
        self.timer.as_mut().poll(&mut Context::from_waker(&self.waker))
    }

    /// Leaves the task that drove it, and looks at what follows its answer.
    pub(super) fn park(&mut self) -> Found {
        self.gate.shut();
        self.step();
        self.look()
    }

    /// Looks whether anything came since its last answer ended: in the HTTP library if that was
    /// woken, and in any case in the socket, since the library learns of new bytes only later.
    pub(super) fn look(&mut self) -> Found {
        let mut unread = self.socket.unread();
        // Only of a plain connection do the bytes in the socket say what they are.
        if unread == Unread::Bytes && self.is_plain && !self.ended {
            self.ended = true;
            let is_stray = is_stray(&self.socket.take_unread());
            return if is_stray { Found::Stray } else { Found::Closed };
        }
        if self.gate.knocked() {
            self.step();
            unread = self.socket.unread();
        }
        if self.ended_by_stray {
            return Found::Stray;
        }
        let is_ready = !self.ended && self.sender.is_ready();
        if is_ready && unread == Unread::Nothing { Found::Silent } else { Found::Closed }
    }

    /// Acknowledges what came, so that the backend sends at once what waits for that.
    pub(super) fn rest(&self) {
        self.socket.acknowledge();
    }

    fn step(&mut self) {
        if self.ended {
            return;
        }
        let mut context = Context::from_waker(&self.waker);
        if let Poll::Ready(ended) = self.connection.as_mut().poll(&mut context) {
            self.ended = true;
            // The error of a request in flight goes to that request.
            self.ended_by_stray = ended.is_err_and(|error| is_unexpected_message(&error));
        }
    }
}

/// The library has no question for this kind: of those without a source it is the only other one.
fn is_unexpected_message(error: &hyper::Error) -> bool {
    let is_another = error.is_parse()
        || error.is_user()
        || error.is_canceled()
        || error.is_closed()
        || error.is_incomplete_message()
        || error.is_body_write_aborted()
        || error.is_timeout();
    error.source().is_none() && !is_another
}

fn no_head(mut error: TrySendError<Request<RequestBody>>) -> NoHead {
    match error.take_message() {
        Some(request) => NoHead::Unsent(Box::new(request)),
        None => NoHead::Failed(error.into_error()),
    }
}
