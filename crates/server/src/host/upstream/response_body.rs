//! An answer's body on its way to the client.
//!
//! A backend's body owns its connection. The connection returns to the pool with the body's last
//! byte, and is closed if the body is dropped before. Invariant: if the backend stated a length,
//! the size hint stays exact, so that the client gets the same `Content-Length`.

use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use driftlock_domain::denial::Fault;
use driftlock_gateway::ports::BodyEnd;
use futures_util::future::LocalBoxFuture;
use futures_util::stream::LocalBoxStream;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::lane::{Lane, Switched};
use super::pool::Pool;

/// The body of an answer.
pub(crate) enum ResponseBody {
    /// Bytes in memory.
    Full(Option<Bytes>),
    /// A body from the backend.
    Backend(Box<BackendBody>),
    /// A stream that the gateway produces.
    Made(LocalBoxStream<'static, Result<Bytes, Fault>>),
    /// The part of a body that was already read, then the rest.
    Prefixed(Box<Prefixed>),
    /// A body that reports how it ended.
    Watched(Box<Watched>),
    /// A body that ends when a future is ready.
    Bounded(Box<Bounded>),
    /// No body: the connection to the backend was switched to another protocol.
    Switched(Box<Switched>),
}

/// A body that ended before it was complete.
#[derive(Debug)]
pub(crate) struct Broken(pub(super) &'static str);

/// A backend's body, and the connection it comes from.
pub(crate) struct BackendBody {
    incoming: Incoming,
    lane: Option<Box<Lane>>,
    pool: Rc<Pool>,
    /// How long the backend may be silent; `None` for event streams.
    idle: Option<Duration>,
    waiting: bool,
    broken: Option<Broken>,
}

/// See [`ResponseBody::Prefixed`].
pub(crate) struct Prefixed {
    read: Option<Bytes>,
    rest: ResponseBody,
}

/// See [`ResponseBody::Watched`].
pub(crate) struct Watched {
    body: ResponseBody,
    ended: Option<Box<dyn FnOnce(BodyEnd)>>,
}

/// See [`ResponseBody::Bounded`].
pub(crate) struct Bounded {
    /// `None` after the end; this closes the connection to the backend.
    body: Option<ResponseBody>,
    over: LocalBoxFuture<'static, ()>,
}

type Polled = Poll<Option<Result<Frame<Bytes>, Broken>>>;

impl ResponseBody {
    /// A backend's body. Bytes that arrived together with the head are read at once, so that a
    /// short answer does not occupy the connection until the client has read it.
    pub(super) fn backend(
        incoming: Incoming,
        lane: Box<Lane>,
        pool: Rc<Pool>,
        idle: Option<Duration>,
    ) -> Self {
        let mut body =
            BackendBody { incoming, lane: Some(lane), pool, idle, waiting: false, broken: None };
        if body.incoming.is_end_stream() {
            body.release();
            return Self::Full(None);
        }
        if body.incoming.size_hint().exact().is_none() {
            return Self::Backend(Box::new(body));
        }
        match body.poll_ready() {
            Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                Ok(data) if body.lane.is_none() => Self::Full(Some(data)),
                Ok(data) => Self::prefixed(data, Self::Backend(Box::new(body))),
                Err(_trailers) => Self::Backend(Box::new(body)),
            },
            Poll::Ready(Some(Err(broken))) => {
                body.broken = Some(broken);
                Self::Backend(Box::new(body))
            }
            Poll::Ready(None) | Poll::Pending => Self::Backend(Box::new(body)),
        }
    }

    /// The bytes that were read, then the rest.
    pub(super) fn prefixed(read: Bytes, rest: Self) -> Self {
        let read = (!read.is_empty()).then_some(read);
        Self::Prefixed(Box::new(Prefixed { read, rest }))
    }

    /// Whether it may have no end: a stream of events, or an export.
    pub(crate) fn is_endless(&self) -> bool {
        match self {
            Self::Full(_) => false,
            Self::Made(_) | Self::Switched(_) => true,
            Self::Backend(body) => body.idle.is_none(),
            Self::Prefixed(body) => body.rest.is_endless(),
            Self::Watched(body) => body.body.is_endless(),
            Self::Bounded(_) => true,
        }
    }

    /// Ends a body without an end when the future that `over` makes is ready.
    pub(super) fn ended_by<F: Future<Output = ()> + 'static>(
        self,
        over: impl FnOnce() -> F,
    ) -> Self {
        match self {
            Self::Switched(mut switched) => {
                switched.over = Box::pin(over());
                Self::Switched(switched)
            }
            body if body.is_endless() => {
                Self::Bounded(Box::new(Bounded { body: Some(body), over: Box::pin(over()) }))
            }
            body => body,
        }
    }

    /// A body that calls `ended` once, with how it ended.
    pub(super) fn watched(self, ended: Box<dyn FnOnce(BodyEnd)>) -> Self {
        if let Self::Switched(_) = self {
            return self;
        }
        Self::Watched(Box::new(Watched { body: self, ended: Some(ended) }))
    }
}

impl BackendBody {
    /// Reports a failure one poll late. The HTTP server discards unflushed bytes when it gets an
    /// error, but the client must get the head and see that the body was cut off.
    fn poll(&mut self, context: &mut Context<'_>) -> Polled {
        if let Some(broken) = self.broken.take() {
            return Poll::Ready(Some(Err(broken)));
        }
        match ready!(self.poll_piece(context)) {
            Some(Err(broken)) => {
                self.broken = Some(broken);
                context.waker().wake_by_ref();
                Poll::Pending
            }
            piece => Poll::Ready(piece),
        }
    }

    fn poll_piece(&mut self, context: &mut Context<'_>) -> Polled {
        if let Poll::Ready(frame) = self.poll_ready() {
            return Poll::Ready(frame);
        }
        // The poll has requested a piece; now drive the connection, so that it can read one.
        let Some(lane) = &mut self.lane else { return Poll::Ready(None) };
        lane.drive(context);
        if let Poll::Ready(frame) = self.poll_ready() {
            return Poll::Ready(frame);
        }
        ready!(self.poll_silence());
        self.lane = None;
        Poll::Ready(Some(Err(Broken("the backend stopped sending its answer"))))
    }

    /// Bytes that the connection has already read.
    fn poll_ready(&mut self) -> Polled {
        let mut context = Context::from_waker(Waker::noop());
        let frame = ready!(Pin::new(&mut self.incoming).poll_frame(&mut context));
        self.waiting = false;
        Poll::Ready(match frame {
            Some(Ok(frame)) => {
                if self.incoming.is_end_stream() {
                    self.release();
                }
                Some(Ok(frame))
            }
            Some(Err(_)) => {
                self.lane = None;
                Some(Err(Broken("the backend's answer was cut off")))
            }
            None => {
                self.release();
                None
            }
        })
    }

    fn poll_silence(&mut self) -> Poll<()> {
        let (Some(idle), Some(lane)) = (self.idle, &mut self.lane) else { return Poll::Pending };
        if !self.waiting {
            lane.arm(idle);
            self.waiting = true;
        }
        lane.poll_timer()
    }

    fn release(&mut self) {
        if let Some(lane) = self.lane.take() {
            self.pool.give_back(lane);
        }
    }
}

impl Prefixed {
    fn poll(&mut self, context: &mut Context<'_>) -> Polled {
        if let Some(bytes) = self.read.take() {
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
        Pin::new(&mut self.rest).poll_frame(context)
    }

    fn size_hint(&self) -> SizeHint {
        let read = self.read.as_ref().map_or(0, |bytes| bytes.len() as u64);
        let (mut hint, rest) = (SizeHint::new(), self.rest.size_hint());
        hint.set_lower(read + rest.lower());
        if let Some(upper) = rest.upper() {
            hint.set_upper(read + upper);
        }
        hint
    }
}

impl Bounded {
    /// The body ends without an error, so that the client knows that nothing follows.
    fn poll(&mut self, context: &mut Context<'_>) -> Polled {
        if self.body.is_some() && self.over.as_mut().poll(context).is_ready() {
            self.body = None;
        }
        match &mut self.body {
            Some(body) => Pin::new(body).poll_frame(context),
            None => Poll::Ready(None),
        }
    }
}

impl Watched {
    fn poll(&mut self, context: &mut Context<'_>) -> Polled {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        match &frame {
            Some(Ok(_)) if self.body.is_end_stream() => self.end(BodyEnd::Complete),
            Some(Ok(_)) => {}
            Some(Err(_)) => self.end(BodyEnd::Truncated),
            None => self.end(BodyEnd::Complete),
        }
        Poll::Ready(frame)
    }

    fn end(&mut self, end: BodyEnd) {
        if let Some(ended) = self.ended.take() {
            ended(end);
        }
    }
}

impl Drop for Watched {
    /// The server does not poll a body of known length again after its last byte.
    fn drop(&mut self) {
        let complete = self.body.is_end_stream();
        self.end(if complete { BodyEnd::Complete } else { BodyEnd::Truncated });
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Polled {
        match &mut *self {
            Self::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Backend(body) => body.poll(context),
            Self::Made(parts) => {
                let part = ready!(parts.as_mut().poll_next(context));
                let fault = |_| Broken("the gateway could not continue its answer");
                Poll::Ready(part.map(|part| part.map(Frame::data).map_err(fault)))
            }
            Self::Prefixed(body) => body.poll(context),
            Self::Watched(body) => body.poll(context),
            Self::Bounded(body) => body.poll(context),
            Self::Switched(_) => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Full(bytes) => bytes.is_none(),
            Self::Backend(body) => body.broken.is_none() && body.incoming.is_end_stream(),
            Self::Made(_) => false,
            Self::Switched(_) => true,
            Self::Prefixed(body) => body.read.is_none() && body.rest.is_end_stream(),
            Self::Watched(body) => body.body.is_end_stream(),
            Self::Bounded(body) => body.body.as_ref().is_none_or(Self::is_end_stream),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Full(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Self::Backend(body) => body.incoming.size_hint(),
            Self::Made(_) => SizeHint::new(),
            Self::Switched(_) => SizeHint::with_exact(0),
            Self::Prefixed(body) => body.size_hint(),
            Self::Watched(body) => body.body.size_hint(),
            // The body may end before a stated length.
            Self::Bounded(_) => SizeHint::new(),
        }
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Broken {}
