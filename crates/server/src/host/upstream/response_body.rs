//! An answer's body on its way to the client.
//!
//! A backend's body owns its connection: it goes back to the pool with the body's last byte, and
//! is closed if the body is dropped before. Invariant: the size hint stays exact where the backend
//! stated a length, so that the client gets the same `Content-Length`.

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

/// See the module.
pub(crate) enum ResponseBody {
    /// Bytes that are there already.
    Full(Option<Bytes>),
    /// The backend's.
    Backend(Box<BackendBody>),
    /// Made by the gateway as it is read.
    Made(LocalBoxStream<'static, Result<Bytes, Fault>>),
    /// What was read of a body already, and then the rest of it.
    Prefixed(Box<Prefixed>),
    /// Tells how it ended.
    Watched(Box<Watched>),
    /// Ends when it has to.
    Bounded(Box<Bounded>),
    /// None: the connection to the backend speaks another protocol now.
    Switched(Box<Switched>),
}

/// A body that broke off.
#[derive(Debug)]
pub(crate) struct Broken(pub(super) &'static str);

/// A backend's body, and the connection it comes from.
pub(crate) struct BackendBody {
    incoming: Incoming,
    lane: Option<Box<Lane>>,
    pool: Rc<Pool>,
    /// How long it may be silent; no bound for event streams.
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
    /// None once it has ended: the connection that it came from is closed then.
    body: Option<ResponseBody>,
    over: LocalBoxFuture<'static, ()>,
}

type Polled = Poll<Option<Result<Frame<Bytes>, Broken>>>;

impl ResponseBody {
    /// A backend's body. What came along with the head is taken off the connection right away, so
    /// that a short answer does not keep it busy until the client has read it.
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

    /// What was read, and then the rest.
    pub(super) fn prefixed(read: Bytes, rest: Self) -> Self {
        let read = (!read.is_empty()).then_some(read);
        Self::Prefixed(Box::new(Prefixed { read, rest }))
    }

    /// Whether it may go on for ever: a stream of events, or an export.
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

    /// A body that may go on for ever ends when what `over` makes is ready.
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

    /// A body that tells how it ended, once.
    pub(super) fn watched(self, ended: Box<dyn FnOnce(BodyEnd)>) -> Self {
        if let Self::Switched(_) = self {
            return self;
        }
        Self::Watched(Box::new(Watched { body: self, ended: Some(ended) }))
    }
}

impl BackendBody {
    /// A failure is told one poll late: a server that hears of it throws away what it has not
    /// flushed yet, and the client is to see the head, and that the body broke off.
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
        // Asking has told the connection that a piece is wanted; now it may fetch one.
        let Some(lane) = &mut self.lane else { return Poll::Ready(None) };
        lane.drive(context);
        if let Poll::Ready(frame) = self.poll_ready() {
            return Poll::Ready(frame);
        }
        ready!(self.poll_silence());
        self.lane = None;
        Poll::Ready(Some(Err(Broken("the backend fell silent"))))
    }

    /// What the connection has read already.
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
                Some(Err(Broken("the backend's answer broke off")))
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
    /// It ends properly, as its client has to know that nothing follows.
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
    /// A server does not ask again for what a body of known length has already given.
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
                let fault = |_| Broken("the gateway could not go on with its answer");
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
            // A length that is stated might not be reached.
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
