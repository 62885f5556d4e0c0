//! A connection to a backend, plain or with TLS. The pool can examine the socket while the HTTP
//! library owns the connection.

use std::cell::RefCell;
use std::io::{self, Read};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::client::TlsStream;

use crate::host::socket::Socket;

/// Unexpected bytes are examined up to this number.
const LOOKED_AT_BYTES: usize = 16;

/// The connection.
pub(crate) enum Transport {
    Plain(Shared),
    Tls(Box<TlsStream<Shared>>),
}

/// A socket with two owners: the HTTP library, which reads and writes, and the pool, which examines
/// it.
#[derive(Clone)]
pub(crate) struct Shared(Rc<RefCell<Socket>>);

/// Unread bytes of a socket.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unread {
    Nothing,
    /// The other side has closed the connection, or reset it.
    End,
    Bytes,
}

impl Transport {
    /// The socket below.
    pub(super) fn socket(&self) -> Shared {
        match self {
            Self::Plain(socket) => socket.clone(),
            Self::Tls(stream) => stream.get_ref().0.clone(),
        }
    }

    /// Whether the socket's bytes are the backend's plaintext.
    pub(super) const fn is_plain(&self) -> bool {
        matches!(self, Self::Plain(_))
    }
}

impl Shared {
    pub(super) fn new(socket: Socket) -> Self {
        Self(Rc::new(RefCell::new(socket)))
    }

    /// Asks the kernel, because the runtime notices new bytes only between two polls of its tasks.
    pub(super) fn unread(&self) -> Unread {
        let socket = self.0.borrow();
        match SockRef::from(socket.stream()).peek(&mut [MaybeUninit::uninit()]) {
            Ok(0) => Unread::End,
            Ok(_) => Unread::Bytes,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Unread::Nothing,
            Err(_) => Unread::End,
        }
    }

    /// Takes the first unread bytes. The connection cannot be used afterwards.
    pub(super) fn take_unread(&self) -> Vec<u8> {
        let socket = self.0.borrow();
        let mut bytes = [0; LOOKED_AT_BYTES];
        let count = (&*SockRef::from(socket.stream())).read(&mut bytes).unwrap_or(0);
        bytes[..count].to_vec()
    }

    /// Acknowledges received bytes at once. If a backend's second write waits for the
    /// acknowledgement of its first (Nagle's algorithm), it is sent now and not after the next
    /// request.
    pub(super) fn acknowledge(&self) {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        {
            // Errors are ignored: this only makes stray bytes arrive earlier.
            let _ = SockRef::from(self.0.borrow().stream()).set_tcp_quickack(true);
        }
    }
}

impl AsyncRead for Shared {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_read(context, buffer)
    }
}

impl AsyncWrite for Shared {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.borrow().is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_shutdown(context)
    }
}

impl AsyncRead for Transport {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Transport {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(context, parts),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(context, parts),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
