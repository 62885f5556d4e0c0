//! A TCP connection that joins small buffers before it writes them.
//!
//! For a short head and a short body, copying them into one buffer is cheaper than a vectored
//! write. Longer ones are written as vectors, without a copy.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Up to so many bytes are copied into one buffer.
const JOINED_MAX: usize = 4_096;

thread_local! {
    static JOINED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// The connection.
pub(super) struct Socket(TcpStream);

impl Socket {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self(stream)
    }

    /// The TCP stream, for socket options.
    pub(super) fn stream(&self) -> &TcpStream {
        &self.0
    }

    /// The TCP stream, taken out.
    pub(super) fn into_inner(self) -> TcpStream {
        self.0
    }

    /// Writes as many bytes as possible without waiting.
    pub(super) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let stream = Pin::new(&mut self.0);
        match slices {
            [one] => stream.poll_write(context, one),
            _ if slices.iter().map(|slice| slice.len()).sum::<usize>() <= JOINED_MAX => JOINED
                .with_borrow_mut(|joined| {
                    joined.clear();
                    slices.iter().for_each(|slice| joined.extend_from_slice(slice));
                    stream.poll_write(context, joined)
                }),
            _ => stream.poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[test]
    fn pieces_of_any_size_arrive_in_order() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
        runtime.expect("a runtime").block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let address = listener.local_addr().expect("bound");
            let connecting = TcpStream::connect(address).await.expect("listening");
            let mut socket = Socket::new(connecting);
            let (mut peer, _) = listener.accept().await.expect("connected");
            for (head, body) in [(1, 0), (3, 5), (100, JOINED_MAX - 100), (100, 3 * JOINED_MAX)] {
                let (head, body) = (vec![b'h'; head], vec![b'b'; body]);
                let wanted = [head.as_slice(), body.as_slice()].concat();
                let slices = [IoSlice::new(&head), IoSlice::new(&body)];
                let written = socket.write_vectored(&slices).await.expect("open");
                let mut read = vec![0; written];
                peer.read_exact(&mut read).await.expect("written");
                assert_eq!(read, wanted[..written]);
            }
        });
    }
}
