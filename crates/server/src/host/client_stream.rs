//! A client's socket that notes what happens on it, and bounds what is read at once.
//!
//! It also finishes what the HTTP library begins when it cannot read a head: that answers with a
//! bare status of its own, before any code of ours has seen a request. Such a head is recognized by
//! when it comes (no request is under way, and no answer is half written), and a whole answer, with
//! a body that says what is wrong, takes its place.

use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use driftlock_domain::denial::Denial;
use driftlock_domain::filter::Malformed;
use driftlock_gateway::ports::Refusal;
use http::Response;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf, Take};

use super::activity::Activity;
use super::socket::Socket;

/// The greatest piece that is read at once, in bytes. The library's buffer doubles when a read
/// fills it: so it stays below 16 KiB for each connection, however much its client sends.
const READ_MAX: u64 = (16 << 10) - 1;

/// Who answers what could not be read.
pub(super) trait Unread {
    /// The answer to a head that was refused so.
    fn answer(&self, refusal: Refusal, peer: IpAddr) -> Response<Bytes>;
}

/// See the module.
pub(super) struct ClientStream {
    stream: Take<Socket>,
    activity: Rc<Activity>,
    peer: IpAddr,
    unread: Rc<dyn Unread>,
    /// What is to be written in place of the library's own refusal.
    own: Bytes,
}

impl ClientStream {
    pub(super) fn new(
        stream: Socket,
        activity: Rc<Activity>,
        peer: IpAddr,
        unread: Rc<dyn Unread>,
    ) -> Self {
        Self { stream: stream.take(0), activity, peer, unread, own: Bytes::new() }
    }

    /// Answers a client whose head is not waited for any longer, as far as it takes that at once.
    pub(super) fn refuse(&self, refusal: Refusal) {
        let answer = wire(&self.unread.answer(refusal, self.peer));
        // A client that does not even take these few bytes need not have them.
        let _ = self.stream.get_ref().try_write(&answer);
    }

    /// The connection itself.
    pub(super) fn into_socket(self) -> Socket {
        self.stream.into_inner()
    }

    /// Whether these bytes are the library's own refusal, which then another answer replaces.
    fn replaces(&mut self, bytes: &[u8]) -> bool {
        let denial = self.activity.is_unasked().then(|| refusal(bytes)).flatten();
        if let Some(denial) = denial {
            self.own = wire(&self.unread.answer(denial.into(), self.peer));
        }
        !self.own.is_empty()
    }
}

/// Why the library refuses, if it does.
fn refusal(bytes: &[u8]) -> Option<Denial> {
    let status = bytes.strip_prefix(b"HTTP/1.1 ").or(bytes.strip_prefix(b"HTTP/1.0 "))?.get(..3)?;
    let malformed = match status {
        b"414" => Malformed::TargetTooLong,
        b"431" => Malformed::HeadersTooLarge,
        _ => Malformed::Syntax,
    };
    Some(malformed.into())
}

/// An answer as its bytes, after which the connection ends.
pub(super) fn wire(response: &Response<Bytes>) -> Bytes {
    let status = response.status();
    let reason = status.canonical_reason().unwrap_or_default();
    let mut bytes = format!("HTTP/1.1 {} {reason}\r\n", status.as_u16()).into_bytes();
    for (name, value) in response.headers() {
        bytes.extend_from_slice(name.as_str().as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    let length = response.body().len();
    bytes.extend_from_slice(format!("content-length: {length}\r\n\r\n").as_bytes());
    bytes.extend_from_slice(response.body());
    bytes.into()
}

impl AsyncRead for ClientStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        self.stream.set_limit(READ_MAX);
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.activity.received(&buffer.filled()[before..]);
        } else if polled.is_ready() {
            self.activity.input_ended();
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
        if self.replaces(bytes) {
            return Poll::Ready(Ok(bytes.len()));
        }
        let polled = Pin::new(self.stream.get_mut()).poll_write(context, bytes);
        self.activity.wrote(polled.is_ready());
        polled
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if slices.first().is_some_and(|first| self.replaces(first)) {
            return Poll::Ready(Ok(slices.iter().map(|slice| slice.len()).sum()));
        }
        let polled = Pin::new(self.stream.get_mut()).poll_write_vectored(context, slices);
        self.activity.wrote(polled.is_ready());
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.get_ref().is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.own.is_empty() {
            let this = &mut *self;
            let polled = Pin::new(this.stream.get_mut()).poll_write(context, &this.own);
            this.activity.wrote(polled.is_ready());
            this.own.advance(ready!(polled)?);
        }
        // The library flushes only once it has handed over everything that it has to write.
        self.activity.flushed();
        Pin::new(self.stream.get_mut()).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.stream.get_mut()).poll_shutdown(context)
    }
}
