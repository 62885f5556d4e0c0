//! What a client still sends of a request that was answered already: it is read and dropped, so that
//! the client gets to read the answer. Closing a connection on which unread bytes lie resets it, and a
//! reset may take the answer along (RFC 9112, section 9.6).
//!
//! There are two ways. A body that can end within the bound is read to its end, and the connection goes
//! on. Otherwise the answer says `Connection: close`: after it the connection's writing half is closed,
//! what comes is dropped within the same bound, and then the connection is closed.

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

/// How long it is read.
const WITHIN: Duration = Duration::from_secs(1);
/// The greatest piece that is dropped at once, in bytes.
const PIECE_MAX: usize = 16 << 10;

thread_local! {
    static DROPPED: RefCell<Vec<u8>> = RefCell::new(vec![0; PIECE_MAX]);
}

/// The unread body of one connection's last request.
#[derive(Default)]
pub(super) struct Unwanted {
    body: RefCell<Option<Rest>>,
    /// The connection ends with the answer, before the request is complete.
    closes: Cell<bool>,
    connection: RefCell<Option<Waker>>,
}

struct Rest {
    incoming: Incoming,
    left: u64,
    /// From the first look on: a body may be dropped where there is no clock any more.
    timer: Option<Pin<Box<Sleep>>>,
}

/// What polling has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Drained {
    /// The HTTP library has to be polled again.
    Some,
    /// There is nothing to do for now.
    Nothing,
}

impl Unwanted {
    pub(super) fn new() -> Rc<Self> {
        Rc::default()
    }

    /// Nobody wants the rest of this body any more.
    pub(super) fn leave(&self, incoming: Incoming) {
        self.body.replace(Some(Rest { incoming, left: UNWANTED_BYTES_MAX, timer: None }));
        if let Some(connection) = self.connection.take() {
            connection.wake();
        }
    }

    /// The client waits for `100 Continue` before it sends a body that nobody wants.
    pub(super) fn leave_unasked(&self) {
        self.closes.set(true);
    }

    /// An answer is about to be written: says so in its head if it is the connection's last one.
    pub(super) fn answered(&self, headers: &mut HeaderMap) {
        let closes = headers.get(CONNECTION).is_some_and(|value| value == "close");
        let declared = self.body.borrow().as_ref().map(|rest| rest.incoming.size_hint().lower());
        let after = declared.map_or(AfterAnswer::GoesOn, after_answer);
        if self.closes.get() || after == AfterAnswer::Closes {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        } else if !closes {
            return;
        }
        if self.body.take().is_some() {
            self.closes.set(true);
        }
    }

    /// Whether the connection ended although more of a request was to come.
    pub(super) fn is_cut_off(&self) -> bool {
        self.closes.get()
    }

    /// Reads and drops what has come. Called after the HTTP library was polled, in the same task.
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

/// Ends a connection whose client may still be sending.
pub(super) async fn close(stream: TcpStream) {
    // A client that is gone needs none of this.
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
    // Then it is closed as it is.
    let _ = timeout(WITHIN, dropping).await;
}
