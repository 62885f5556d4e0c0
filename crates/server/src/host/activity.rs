//! The state of a client's connection and the time of its last change, from which its timeouts
//! follow.
//!
//! A request costs two clock readings and no timer operation: a connection has one timer, which is
//! reset only when it fires and there was activity in the meantime.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use driftlock_domain::config::Timeouts;
use driftlock_domain::framing::{Framing, RefusedHead};
use driftlock_gateway::{Buffers, Share};
use tokio::time::Instant;

/// The time limits of a client.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    pub(super) head: Duration,
    pub(super) idle: Duration,
    pub(super) body: Duration,
    /// A whole request, event streams excepted.
    pub(super) request: Duration,
}

/// Memory that a connection uses while a head arrives in pieces, in addition to the head.
const HEAD_BYTES: u64 = 32 << 10;

/// The state of one connection.
#[derive(Debug)]
pub(super) struct Activity {
    phase: Cell<(Phase, Instant)>,
    /// Since when the client has not accepted the bytes that wait to be written.
    stalled: Cell<Option<Instant>>,
    framing: RefCell<Framing>,
    /// An answer was passed to the HTTP library and is not completely written yet.
    unwritten: Cell<bool>,
    /// The client has closed its sending side.
    ended: Cell<bool>,
    /// The share of the memory budget that an incomplete head uses, and the head's bytes.
    room: RefCell<Option<(Share, u64)>>,
    buffers: Arc<Buffers>,
    lacks_room: Cell<bool>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Between requests.
    Idle,
    /// A head has begun.
    Head,
    /// A request is in progress and its answer has not begun. The timeouts for its body and for the
    /// backend bound this phase.
    Busy,
    /// An answer is being sent and must end within the time for requests.
    Answer,
    /// An event stream is being sent, which may last without a limit.
    Stream,
}

/// Whether an answer has an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Length {
    /// It has an end.
    Finite,
    /// It is a stream of events.
    Endless,
}

/// What to do when the connection's timer fires.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Nothing; check again at this time.
    Later(Instant),
    /// The head was not complete in time: 408.
    SlowHead,
    /// The memory budget has no room for the head: 503.
    NoRoom,
    /// Close the connection.
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

    /// How long after its start a connection's timer first fires.
    pub(super) fn shortest(self) -> Duration {
        self.head.min(self.idle).min(self.body).min(self.request)
    }
}

impl Activity {
    pub(super) fn new(now: Instant, buffers: &Arc<Buffers>) -> Rc<Self> {
        Rc::new(Self {
            phase: Cell::new((Phase::Idle, now)),
            stalled: Cell::new(None),
            framing: RefCell::default(),
            unwritten: Cell::new(false),
            ended: Cell::new(false),
            room: RefCell::default(),
            buffers: Arc::clone(buffers),
            lacks_room: Cell::new(false),
        })
    }

    /// A head is complete.
    ///
    /// # Errors
    /// [`RefusedHead`], if its bytes break a rule of framing.
    pub(super) fn request_began(&self) -> Result<(), RefusedHead> {
        self.phase.set((Phase::Busy, self.phase.get().1));
        self.framing.borrow_mut().head_read()
    }

    /// An answer begins.
    pub(super) fn answer_began(&self, length: Length) {
        let phase = match length {
            Length::Finite => Phase::Answer,
            Length::Endless => Phase::Stream,
        };
        self.phase.set((phase, self.phase.get().1));
    }

    /// The HTTP library has taken the whole answer, or dropped it.
    pub(super) fn request_ended(&self, now: Instant) {
        self.unwritten.set(true);
        self.phase.set((self.between(), now));
    }

    /// Whether bytes written now answer no request: none is in progress or partly answered.
    pub(super) fn is_unasked(&self) -> bool {
        let idle = matches!(self.phase.get().0, Phase::Idle | Phase::Head);
        idle && !self.unwritten.get()
    }

    /// Bytes arrived. The rest of an unwanted body does not count as a head.
    pub(super) fn received(&self, bytes: &[u8]) {
        self.framing.borrow_mut().feed(bytes);
        self.make_room(bytes.len() as u64);
        if self.phase.get().0 == Phase::Idle && self.between() == Phase::Head {
            self.phase.set((Phase::Head, Instant::now()));
        }
    }

    /// The client has closed its writing half.
    pub(super) fn input_ended(&self) {
        self.ended.set(true);
    }

    /// Whether the client may still be sending a request: it has begun one and can send more.
    pub(super) fn is_being_sent(&self) -> bool {
        !self.ended.get() && !self.framing.borrow().is_between_requests()
    }

    /// Whether a head found no room in memory.
    pub(super) fn lacks_room(&self) -> bool {
        self.lacks_room.get()
    }

    /// Reserves memory for an incomplete head. The HTTP library's buffer for it doubles as it
    /// grows.
    fn make_room(&self, bytes: u64) {
        let mut room = self.room.borrow_mut();
        if !self.framing.borrow().is_within_head() {
            *room = None;
            return;
        }
        let (share, head) = room.get_or_insert_with(|| (self.buffers.share(), 0));
        *head += bytes;
        if share.resize(HEAD_BYTES + 2 * *head).is_err() {
            self.lacks_room.set(true);
        }
    }

    fn between(&self) -> Phase {
        if self.framing.borrow().is_head_under_way() { Phase::Head } else { Phase::Idle }
    }

    /// Everything has been written.
    pub(super) fn flushed(&self) {
        self.unwritten.set(false);
    }

    /// A write was tried; `ready` says whether the client accepted bytes.
    pub(super) fn wrote(&self, ready: bool) {
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
                // A head that begins in the meantime has a separate, shorter limit.
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

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience = Patience {
        head: Duration::from_secs(10),
        idle: Duration::from_secs(75),
        body: Duration::from_secs(30),
        request: Duration::from_secs(300),
    };

    fn activity(start: Instant) -> Rc<Activity> {
        Activity::new(start, &Buffers::new(1 << 20))
    }

    #[test]
    fn a_head_in_pieces_takes_room_until_it_is_complete() {
        let buffers = Buffers::new(HEAD_BYTES + 200);
        let activity = Activity::new(Instant::now(), &buffers);
        activity.received(b"GET / HTTP/1.1\r\n");
        assert_eq!(buffers.used(), HEAD_BYTES + 32);
        activity.received(b"\r\n");
        assert_eq!((buffers.used(), activity.lacks_room()), (0, false), "it is complete");
        activity.request_began().expect("one framing");
        activity.received(&[b'x'; 101]);
        assert!(activity.lacks_room() && activity.is_being_sent());
        drop(activity);
        assert_eq!((buffers.used(), buffers.refused()), (0, 1));
    }

    #[test]
    fn idle_connections_are_closed_and_slow_heads_are_refused() {
        let start = Instant::now();
        let after = |secs| start + Duration::from_secs(secs);
        let activity = activity(start);
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
        let activity = activity(start);
        activity.request_began().expect_err("no head was read");
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
        let activity = activity(start);
        activity.request_began().expect_err("no head was read");
        activity.answer_began(Length::Finite);
        assert_eq!(activity.due(after(10), PATIENCE), Due::Later(after(300)));
        assert_eq!(activity.due(after(300), PATIENCE), Due::Close);
        activity.answer_began(Length::Endless);
        assert_eq!(activity.due(after(500), PATIENCE), Due::Later(after(510)));
    }

    #[test]
    fn the_rest_of_a_refused_body_is_no_slow_head() {
        let activity = activity(Instant::now());
        activity.received(b"POST / HTTP/1.1\r\nContent-Length: 12\r\n\r\nhalf");
        activity.request_began().expect("one framing");
        let ended = Instant::now();
        activity.request_ended(ended);
        activity.received(b"\r\nthe ");
        assert_eq!(
            activity.due(ended + PATIENCE.head * 2, PATIENCE),
            Due::Later(ended + PATIENCE.head * 3)
        );
        activity.received(b"rest");
        let began = Instant::now();
        assert_eq!(activity.phase.get().0, Phase::Head, "what follows the body is one");
        assert_eq!(activity.due(began + PATIENCE.head, PATIENCE), Due::SlowHead);
    }

    #[test]
    fn a_head_that_began_during_an_answer_is_slow_when_it_is_not_complete_after_it() {
        let activity = activity(Instant::now());
        activity.received(b"GET / HTTP/1.1\r\n\r\nGET ");
        activity.request_began().expect("one framing");
        assert!(!activity.is_unasked());
        let ended = Instant::now();
        activity.request_ended(ended);
        assert_eq!(activity.due(ended + PATIENCE.head, PATIENCE), Due::SlowHead);
        assert!(!activity.is_unasked(), "an answer is not written to its end");
        activity.flushed();
        assert!(activity.is_unasked());
    }
}
