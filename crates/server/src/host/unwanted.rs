//! Reads and drops the rest of a request that was already answered, so that the client can read the
//! answer. Closing a connection with unread bytes resets it, and a reset may discard the answer
//! (RFC 9112, section 9.6).
//!
//! There are two cases. A body that can end within the bound is read to its end, and the connection
//! stays open. Otherwise the answer says `Connection: close`: after the answer the gateway closes
//! its writing half, drops what arrives within the same bound, and then closes the connection.

use std::cell::{Cell, RefCell};
use std::io::ErrorKind;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use driftlock_domain::framing::{AfterAnswer, UNWANTED_BYTES_MAX, after_answer};
use http::header::CONNECTION;
use http::{HeaderMap, HeaderValue};
use http_body::Body;
use hyper::body::Incoming;
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep, timeout};

/// How long the rest is read.
const WITHIN: Duration = Duration::from_secs(1);
/// Bytes that are read and dropped at once at most.
const PIECE_MAX: usize = 16 << 10;

thread_local! {
    static DROPPED: RefCell<Vec<u8>> = RefCell::new(vec![0; PIECE_MAX]);
}

/// The unread body of one connection's last request.
#[derive(Default)]
pub(super) struct Unwanted {
    body: RefCell<Option<Rest>>,
    /// The connection ends with the answer, although the request is not complete.
    closes: Cell<bool>,
    connection: RefCell<Option<Waker>>,
}

struct Rest {
    incoming: Incoming,
    left: u64,
    /// Created at the first poll, because a body may be dropped after the runtime's timer has
    /// ended.
    timer: Option<Pin<Box<Sleep>>>,
}

/// The result of a poll.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Drained {
    /// The HTTP library has to be polled again.
    Some,
    /// Nothing was read.
    Nothing,
}

impl Unwanted {
    pub(super) fn new() -> Rc<Self> {
        Rc::default()
    }

    /// The rest of this body is unwanted: read and drop it.
    pub(super) fn leave(&self, incoming: Incoming) {
        self.body.replace(Some(Rest { incoming, left: UNWANTED_BYTES_MAX, timer: None }));
        if let Some(connection) = self.connection.take() {
            connection.wake();
        }
    }

    /// The client waits for `100 Continue` before it sends an unwanted body.
    pub(super) fn leave_unasked(&self) {
        self.closes.set(true);
    }

    /// An answer is about to be written. Adds `Connection: close` if it is the connection's last
    /// one.
    pub(super) fn answered(&self, headers: &mut HeaderMap) {
        let closes = headers.get(CONNECTION).is_some_and(|value| value == "close");
        let declared = self.body.borrow().as_ref().map(|rest| rest.incoming.size_hint().lower());
        let after = declared.map_or(AfterAnswer::Continues, after_answer);
        if self.closes.get() || after == AfterAnswer::Closes {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        } else if !closes {
            return;
        }
        if self.body.take().is_some() {
            self.closes.set(true);
        }
    }

    /// Whether the connection ended before the request was complete.
    pub(super) fn is_cut_off(&self) -> bool {
        self.closes.get()
    }

    /// Reads and drops arrived bytes. Called after the HTTP library was polled, in the same task.
    pub(super) fn poll(&self, context: &mut Context<'_>) -> Drained {
        let mut body = self.body.borrow_mut();
        let Some(rest) = &mut *body else {
            let mut connection = self.connection.borrow_mut();
            if connection.as_ref().is_none_or(|known| !known.will_wake(context.waker())) {
                *connection = Some(context.waker().clone());
            }
            return Drained::Nothing;
        };
        let timer = rest.timer.get_or_insert_with(|| Box::pin(sleep(WITHIN)));
        match Pin::new(&mut rest.incoming).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => {
                let length = frame.data_ref().map_or(0, |data| data.len() as u64);
                rest.left = rest.left.saturating_sub(length);
                if rest.left == 0 && !rest.incoming.is_end_stream() {
                    self.closes.set(true);
                    *body = None;
                }
            }
            Poll::Ready(Some(Err(_)) | None) => *body = None,
            Poll::Pending if timer.as_mut().poll(context).is_ready() => {
                self.closes.set(true);
                *body = None;
            }
            Poll::Pending => return Drained::Nothing,
        }
        Drained::Some
    }
}

/// Closes a connection whose client may still be sending.
pub(super) async fn close(stream: TcpStream) {
    // The client is already gone.
    if SockRef::from(&stream).shutdown(std::net::Shutdown::Write).is_err() {
        return;
    }
    let mut left = UNWANTED_BYTES_MAX;
    let dropping = async {
        while left > 0 && stream.readable().await.is_ok() {
            match DROPPED.with_borrow_mut(|piece| stream.try_read(piece)) {
                Ok(0) => return,
                Ok(count) => left = left.saturating_sub(count as u64),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    };
    // After the timeout the connection is closed anyway.
    let _ = timeout(WITHIN, dropping).await;
}
