//! A client's body on its way to the backend, with bounds for its size and its silence.
//!
//! An error in the client's body surfaces as an error of the backend's connection, which was
//! writing it. So the body records the reason in a note, which the sender reads first.
//!
//! If a body is dropped before its end, the client's connection gets it back and reads the rest.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use driftlock_domain::denial::Denial;
use http::header::EXPECT;
use http::{Request, Version};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};

use crate::host::unwanted::Unwanted;

/// The body of a request.
pub(crate) enum RequestBody {
    /// Bytes in memory.
    Full(Option<Bytes>),
    /// Bytes that the client still sends.
    Client(Box<ClientBody>),
}

/// A body that a client sends.
pub(crate) struct ClientBody {
    /// `None` only after the end or during the drop.
    incoming: Option<Incoming>,
    /// Takes the rest if this is dropped before its end.
    unwanted: Rc<Unwanted>,
    /// Whether the client waits for `100 Continue` before it sends the body.
    awaits_consent: bool,
    /// The bound for the body's bytes, and how many of them are still allowed.
    max: u64,
    left: u64,
    began: Instant,
    pace: Pace,
    /// The total time of waiting for the client, without waiting for the backend.
    waited: Duration,
    waiting: Option<Waiting>,
    note: Note,
}

/// How slowly a client may send a body.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// The longest silence.
    pub(crate) idle: Duration,
    /// The least average rate, after one such silence; 0 is any.
    pub(crate) bytes_per_sec_min: u64,
    /// The longest time until the body's end.
    pub(crate) total: Duration,
}

/// The client is silent.
struct Waiting {
    since: Instant,
    timer: Pin<Box<Sleep>>,
}

/// The progress of a body, for its sender; `None` for a body in memory.
#[derive(Clone)]
pub(super) struct Note(Option<Rc<Progress>>);

struct Progress {
    failed: RefCell<Option<Denial>>,
    turn: Cell<Turn>,
}

/// Which side the transfer waits for.
#[derive(Clone, Copy)]
enum Turn {
    /// The client is silent.
    Client,
    /// The backend has had all arrived bytes since this time.
    Backend(Instant),
}

/// A request body that ended before it was complete. The reason is in its [`Note`].
#[derive(Debug)]
pub(crate) struct BrokenBody;

impl RequestBody {
    /// A request with its body, which must arrive at this pace at least. If the body is not read to
    /// its end, `unwanted` gets the rest.
    pub(crate) fn of(
        request: Request<Incoming>,
        pace: Pace,
        unwanted: &Rc<Unwanted>,
    ) -> Request<Self> {
        let awaits_consent =
            request.version() > Version::HTTP_10 && request.headers().contains_key(EXPECT);
        request.map(|incoming| Self::incoming(incoming, pace, unwanted, awaits_consent))
    }

    fn incoming(
        incoming: Incoming,
        pace: Pace,
        unwanted: &Rc<Unwanted>,
        awaits_consent: bool,
    ) -> Self {
        if incoming.is_end_stream() {
            return Self::Full(None);
        }
        let began = Instant::now();
        let turn = Cell::new(Turn::Backend(began));
        let note = Note(Some(Rc::new(Progress { failed: RefCell::default(), turn })));
        let (max, waited, waiting) = (u64::MAX, Duration::ZERO, None);
        let (incoming, unwanted) = (Some(incoming), Rc::clone(unwanted));
        Self::Client(Box::new(ClientBody {
            incoming,
            unwanted,
            awaits_consent,
            max,
            left: max,
            began,
            pace,
            waited,
            waiting,
            note,
        }))
    }

    /// The same body with a bound on its size.
    pub(super) fn limited(mut self, max: u64) -> Self {
        match &mut self {
            Self::Full(_) => {}
            Self::Client(body) => (body.max, body.left) = (max, max),
        }
        self
    }

    /// The denial for a body whose announced length is too great.
    pub(super) fn refused(&self) -> Option<Denial> {
        match self {
            Self::Full(_) => None,
            Self::Client(body) => {
                (body.size_hint().lower() > body.max).then_some(Denial::BodyTooLarge(body.max))
            }
        }
    }

    /// The note that will contain the reason of a failure.
    pub(super) fn note(&self) -> Note {
        match self {
            Self::Full(_) => Note(None),
            Self::Client(body) => body.note.clone(),
        }
    }
}

impl Note {
    /// Takes the recorded reason.
    pub(super) fn take(&self) -> Option<Denial> {
        self.0.as_ref()?.failed.borrow_mut().take()
    }

    /// Whether a reason was recorded.
    pub(super) fn is_written(&self) -> bool {
        self.0.as_ref().is_some_and(|progress| progress.failed.borrow().is_some())
    }

    fn write(&self, denial: Denial) -> BrokenBody {
        if let Some(progress) = &self.0 {
            progress.failed.replace(Some(denial));
        }
        BrokenBody
    }

    fn turn(&self, turn: Turn) {
        if let Some(progress) = &self.0 {
            progress.turn.set(turn);
        }
    }

    /// The earliest time at which the backend's time is over, if it is not over at `now`. `allowed`
    /// is the time between the last piece of the request and the answer.
    pub(super) fn backend_has_until(&self, now: Instant, allowed: Duration) -> Option<Instant> {
        let end = match self.0.as_ref()?.turn.get() {
            Turn::Client => now + allowed,
            Turn::Backend(since) => since + allowed,
        };
        (end > now).then_some(end)
    }
}

impl ClientBody {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Denial>>> {
        self.awaits_consent = false;
        let Some(incoming) = &mut self.incoming else { return Poll::Ready(None) };
        let Poll::Ready(frame) = Pin::new(incoming).poll_frame(context) else {
            self.note.turn(Turn::Client);
            ready!(self.poll_silence(context));
            return Poll::Ready(Some(Err(Denial::ClientTimeout)));
        };
        if !matches!(frame, Some(Ok(_))) {
            self.incoming = None;
        }
        let now = Instant::now();
        self.note.turn(Turn::Backend(now));
        if let Some(waiting) = self.waiting.take() {
            self.waited += now - waiting.since;
        }
        Poll::Ready(frame.map(|frame| {
            let frame = frame.map_err(|_| Denial::ClientAborted)?;
            let length = frame.data_ref().map_or(0, |data| data.len() as u64);
            self.left = self.left.checked_sub(length).ok_or(Denial::BodyTooLarge(self.max))?;
            Ok(frame)
        }))
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.as_ref().map_or(SizeHint::with_exact(0), Body::size_hint)
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(Body::is_end_stream)
    }

    /// Ready when the client was silent for too long, or is too slow on average.
    fn poll_silence(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let waiting = self.waiting.get_or_insert_with(|| {
            let since = Instant::now();
            let received = self.max - self.left;
            let patience = self.pace.patience(received, self.waited, since - self.began);
            Waiting { since, timer: Box::pin(tokio::time::sleep_until(since + patience)) }
        });
        waiting.timer.as_mut().poll(context)
    }
}

impl Drop for ClientBody {
    fn drop(&mut self) {
        match self.incoming.take() {
            Some(incoming) if self.awaits_consent => {
                drop(incoming);
                self.unwanted.leave_unasked();
            }
            Some(incoming) if !incoming.is_end_stream() => self.unwanted.leave(incoming),
            Some(_) | None => {}
        }
    }
}

impl Pace {
    /// How long the next bytes may take. `received` counts the bytes so far, `waited` is the time
    /// of waiting for them, and `age` the time since the body began.
    fn patience(self, received: u64, waited: Duration, age: Duration) -> Duration {
        let longest = self.idle.min(self.total.saturating_sub(age));
        let Some(earned) = received.checked_div(self.bytes_per_sec_min) else { return longest };
        let allowed = self.idle.saturating_add(Duration::from_secs(earned));
        longest.min(allowed.saturating_sub(waited))
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BrokenBody;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenBody>>> {
        match &mut *self {
            Self::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Client(body) => {
                let frame = ready!(body.poll(context));
                Poll::Ready(frame.map(|frame| frame.map_err(|denial| body.note.write(denial))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Full(bytes) => bytes.is_none(),
            Self::Client(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Full(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Self::Client(body) => body.size_hint(),
        }
    }
}

impl fmt::Display for BrokenBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the client's body was cut off")
    }
}

impl std::error::Error for BrokenBody {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_that_arrives_too_slowly_runs_out_of_time() {
        let secs = Duration::from_secs;
        let pace = Pace { idle: secs(30), bytes_per_sec_min: 50, total: secs(300) };
        let (none, some) = (secs(0), secs(100));
        assert_eq!(pace.patience(0, none, none), secs(30));
        assert_eq!(pace.patience(29, secs(29), some), secs(1), "a byte a second is too slow");
        assert_eq!(pace.patience(30, secs(30), some), none);
        assert_eq!(pace.patience(10_000, secs(100), some), secs(30), "100 bytes a second are fine");
        assert_eq!(pace.patience(10_000, secs(100), secs(290)), secs(10), "but not for ever");
        let any = Pace { bytes_per_sec_min: 0, ..pace };
        assert_eq!(any.patience(1, secs(1_000), none), secs(30));
        assert_eq!(any.patience(1, secs(1_000), secs(1_000)), none);
    }
}
