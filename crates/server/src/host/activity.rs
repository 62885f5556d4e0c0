//! What a client's connection is doing, and since when: the base of its timeouts.
//!
//! A request costs two clock readings and no timer: the connection's one timer is set anew only
//! when it runs out and there was activity meanwhile.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use driftlock_domain::config::Timeouts;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::head_scan::HeadScan;
use super::socket::Socket;

/// How long a client may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    pub(super) head: Duration,
    pub(super) idle: Duration,
    pub(super) body: Duration,
    /// A whole request, event streams excepted.
    pub(super) request: Duration,
}

/// The state of one connection.
#[derive(Debug)]
pub(super) struct Activity {
    phase: Cell<(Phase, Instant)>,
    /// Since when the client takes nothing of what is to be written.
    stalled: Cell<Option<Instant>>,
    head: RefCell<HeadScan>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Between requests.
    Idle,
    /// A head has begun.
    Head,
    /// A request is under way, and its answer has not begun: how long that takes is bounded by
    /// those who wait for its body and for the backend.
    Busy,
    /// An answer is under way that has to end in time.
    Answer,
    /// An answer is under way that may go on for ever.
    Stream,
}

/// How long an answer goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Length {
    /// It ends.
    Finite,
    /// It is a stream of events.
    Endless,
}

/// What is due when the connection's timer runs out.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Nothing; to be asked again then.
    Later(Instant),
    /// The head did not come in time: 408.
    SlowHead,
    /// The connection is of no use any more.
    Close,
}

impl Patience {
    pub(super) fn of(timeouts: &Timeouts) -> Self {
        Self {
            head: Duration::from_millis(timeouts.client_head_ms),
            idle: Duration::from_millis(timeouts.client_idle_ms),
            body: Duration::from_millis(timeouts.body_idle_ms),
            request: Duration::from_millis(timeouts.request_ms),
        }
    }

    /// How long after its start a connection's timer runs out first.
    pub(super) fn shortest(self) -> Duration {
        self.head.min(self.idle).min(self.body).min(self.request)
    }
}

impl Activity {
    pub(super) fn new(now: Instant) -> Rc<Self> {
        Rc::new(Self {
            phase: Cell::new((Phase::Idle, now)),
            stalled: Cell::new(None),
            head: RefCell::default(),
        })
    }

    /// A head is complete.
    pub(super) fn request_began(&self) {
        self.phase.set((Phase::Busy, self.phase.get().1));
    }

    /// An answer begins.
    pub(super) fn answer_began(&self, length: Length) {
        let phase = match length {
            Length::Finite => Phase::Answer,
            Length::Endless => Phase::Stream,
        };
        self.phase.set((phase, self.phase.get().1));
    }

    /// An answer has been handed over to its last byte, or was given up.
    pub(super) fn request_ended(&self, now: Instant) {
        self.phase.set((Phase::Idle, now));
    }

    /// Whether the head that was read last frames its body more than once.
    pub(super) fn is_ambiguous(&self) -> bool {
        self.head.borrow().is_ambiguous()
    }

    fn received(&self, bytes: &[u8]) {
        match self.phase.get().0 {
            Phase::Idle => {
                self.phase.set((Phase::Head, Instant::now()));
                self.head.replace(HeadScan::default());
            }
            Phase::Head => {}
            Phase::Busy | Phase::Answer | Phase::Stream => return,
        }
        self.head.borrow_mut().feed(bytes);
    }

    fn wrote(&self, ready: bool) {
        if ready {
            self.stalled.set(None);
        } else if self.stalled.get().is_none() {
            self.stalled.set(Some(Instant::now()));
        }
    }

    pub(super) fn due(&self, now: Instant, patience: Patience) -> Due {
        if let Some(since) = self.stalled.get() {
            return Self::unless(since + patience.body, now, Due::Close);
        }
        match self.phase.get() {
            (Phase::Idle, since) => {
                let close = since + patience.idle;
                // A head that begins meanwhile has its own, shorter time.
                if close <= now { Due::Close } else { Due::Later(close.min(now + patience.head)) }
            }
            (Phase::Head, since) => Self::unless(since + patience.head, now, Due::SlowHead),
            (Phase::Answer, since) => Self::unless(since + patience.request, now, Due::Close),
            (Phase::Busy | Phase::Stream, _) => Due::Later(now + patience.shortest()),
        }
    }

    fn unless(end: Instant, now: Instant, due: Due) -> Due {
        if end <= now { due } else { Due::Later(end) }
    }
}

/// A client's socket that notes what happens on it.
pub(super) struct ClientStream {
    pub(super) stream: Socket,
    pub(super) activity: Rc<Activity>,
}

impl AsyncRead for ClientStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.activity.received(&buffer.filled()[before..]);
        }
        polled
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.activity.wrote(polled.is_ready());
        polled
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.activity.wrote(polled.is_ready());
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience = Patience {
        head: Duration::from_secs(10),
        idle: Duration::from_secs(75),
        body: Duration::from_secs(30),
        request: Duration::from_secs(300),
    };

    #[test]
    fn idle_connections_are_closed_and_heads_hurried() {
        let start = Instant::now();
        let after = |secs| start + Duration::from_secs(secs);
        let activity = Activity::new(start);
        assert_eq!(activity.due(start, PATIENCE), Due::Later(after(10)));
        assert_eq!(activity.due(after(70), PATIENCE), Due::Later(after(75)));
        assert_eq!(activity.due(after(75), PATIENCE), Due::Close);
        activity.phase.set((Phase::Head, after(60)));
        assert_eq!(activity.due(after(69), PATIENCE), Due::Later(after(70)));
        assert_eq!(activity.due(after(70), PATIENCE), Due::SlowHead);
    }

    #[test]
    fn a_request_may_take_its_time_unless_its_client_stalls() {
        let start = Instant::now();
        let after = |secs| start + Duration::from_secs(secs);
        let activity = Activity::new(start);
        activity.request_began();
        assert_eq!(activity.due(after(500), PATIENCE), Due::Later(after(510)));
        activity.stalled.set(Some(after(500)));
        assert_eq!(activity.due(after(530), PATIENCE), Due::Close);
        activity.wrote(true);
        activity.request_ended(after(540));
        assert_eq!(activity.due(after(541), PATIENCE), Due::Later(after(551)));
    }

    #[test]
    fn an_answer_ends_in_time_unless_it_is_a_stream() {
        let start = Instant::now();
        let after = |secs| start + Duration::from_secs(secs);
        let activity = Activity::new(start);
        activity.request_began();
        activity.answer_began(Length::Finite);
        assert_eq!(activity.due(after(10), PATIENCE), Due::Later(after(300)));
        assert_eq!(activity.due(after(300), PATIENCE), Due::Close);
        activity.answer_began(Length::Endless);
        assert_eq!(activity.due(after(500), PATIENCE), Due::Later(after(510)));
    }
}
