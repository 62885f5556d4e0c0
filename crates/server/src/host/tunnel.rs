//! A WebSocket between a client and a backend. Bytes are passed in both directions until one side
//! ends the connection, no bytes arrive for too long, the caller loses access, or the process
//! stops.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use driftlock_gateway::{Buffers, Share};
use futures_util::future::try_join;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf, split};
use tokio::time::{Instant, sleep_until};

use super::clients::Client;
use super::upstream::Switched;

/// Bytes that are read at once at most.
const PIECE_MAX: usize = 16 << 10;

thread_local! {
    /// The buffer for reading. All tunnels of a core share it, because only one reads at a time.
    static PIECE: RefCell<Vec<u8>> = RefCell::new(vec![0; PIECE_MAX]);
}

/// Passes bytes both ways.
pub(super) async fn run(
    client_stream: impl AsyncRead + AsyncWrite,
    backend: Switched,
    idle: Duration,
    client: &Client,
    buffers: &Arc<Buffers>,
) {
    let Switched { transport, early, mut over, .. } = backend;
    let last = Cell::new(Instant::now());
    let (from_client, mut to_client) = split(client_stream);
    let (from_backend, to_backend) = split(transport);
    let down = async {
        to_client.write_all(&early).await?;
        pass(from_backend, to_client, &last, buffers.share()).await
    };
    let up = pass(from_client, to_backend, &last, buffers.share());
    let mut both = pin!(try_join(up, down));
    let mut timer = pin!(sleep_until(last.get() + idle));
    poll_fn(|context| {
        client.runs_in(context.waker());
        let must_end = client.is_draining() || over.as_mut().poll(context).is_ready();
        if must_end || both.as_mut().poll(context).is_ready() {
            return Poll::Ready(());
        }
        while timer.as_mut().poll(context).is_ready() {
            let end = last.get() + idle;
            if end <= Instant::now() {
                return Poll::Ready(());
            }
            timer.as_mut().reset(end);
        }
        Poll::Pending
    })
    .await;
}

/// Passes bytes in one direction. When the sender ends or fails, the receiver's connection is shut
/// down. Bytes that the receiver does not take at once are kept, at most one piece; nothing more is
/// read until it has taken them. Otherwise no buffer is held.
async fn pass(
    from: impl AsyncRead + Unpin,
    to: impl AsyncWrite + Unpin,
    last: &Cell<Instant>,
    share: Share,
) -> io::Result<()> {
    let kept = Kept { bytes: Vec::new(), written: 0, share };
    let mut way = Way { from, to, last, kept, ended: false };
    poll_fn(|context| way.poll(context)).await
}

struct Way<'a, R, W> {
    from: R,
    to: W,
    last: &'a Cell<Instant>,
    kept: Kept,
    /// The sender has ended.
    ended: bool,
}

/// Bytes that one side has sent and the other has not received yet.
struct Kept {
    bytes: Vec<u8>,
    written: usize,
    share: Share,
}

impl<R: AsyncRead + Unpin, W: AsyncWrite + Unpin> Way<'_, R, W> {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.write_kept(context))?;
            if self.ended {
                return Pin::new(&mut self.to).poll_shutdown(context);
            }
            let moved = PIECE.with_borrow_mut(|piece| self.move_piece(piece, context));
            let Poll::Ready(moved) = moved else {
                // Written bytes may still be in a TLS connection's buffer.
                if let Poll::Ready(Err(error)) = Pin::new(&mut self.to).poll_flush(context) {
                    return Poll::Ready(Err(error));
                }
                return Poll::Pending;
            };
            moved?;
            self.last.set(Instant::now());
        }
    }

    fn write_kept(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest) = self.kept.bytes.get(self.kept.written..).filter(|it| !it.is_empty())
        {
            match ready!(Pin::new(&mut self.to).poll_write(context, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.kept.written += count,
            }
            self.last.set(Instant::now());
        }
        self.kept.keep(&[])?;
        Poll::Ready(Ok(()))
    }

    /// Reads a piece and writes as much of it as the receiver takes at once.
    fn move_piece(&mut self, piece: &mut [u8], context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut piece = ReadBuf::new(piece);
        let read = ready!(Pin::new(&mut self.from).poll_read(context, &mut piece));
        if read.is_err() || piece.filled().is_empty() {
            self.ended = true;
            return Poll::Ready(Ok(()));
        }
        let written = match Pin::new(&mut self.to).poll_write(context, piece.filled()) {
            Poll::Ready(written) => written?,
            Poll::Pending => 0,
        };
        Poll::Ready(self.kept.keep(&piece.filled()[written..]))
    }
}

impl Kept {
    /// Keeps these bytes. The earlier ones have been written.
    fn keep(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.share.resize(bytes.len() as u64).map_err(io::Error::other)?;
        (self.bytes, self.written) = (bytes.to_vec(), 0);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::future::join;
    use tokio::io::{AsyncReadExt, duplex};

    fn on_core(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(test);
    }

    /// More than both pipes hold.
    const SENT: usize = 3 * PIECE_MAX;

    #[test]
    fn bytes_that_wait_for_the_receiver_use_memory_until_it_takes_them() {
        on_core(async {
            let buffers = Buffers::new(1 << 20);
            let (mut client, from) = duplex(SENT);
            let (to, mut backend) = duplex(1_000);
            client.write_all(&[b'x'; SENT]).await.expect("room");
            client.shutdown().await.expect("open");
            let last = Cell::new(Instant::now());
            let mut passing = pin!(pass(from, to, &last, buffers.share()));
            let pending = poll_fn(|it| Poll::Ready(passing.as_mut().poll(it).is_pending())).await;
            assert!(pending, "the backend takes no more");
            assert_eq!(buffers.used(), (PIECE_MAX - 1_000) as u64, "one piece, no more");
            let mut taken = Vec::new();
            let (passed, read) = join(passing, backend.read_to_end(&mut taken)).await;
            passed.expect("both are open");
            assert_eq!((read.expect("open"), buffers.used()), (SENT, 0));
        });
    }

    #[test]
    fn it_ends_if_there_is_no_room_for_bytes_that_wait() {
        on_core(async {
            let buffers = Buffers::new(10);
            let (mut client, from) = duplex(SENT);
            let (to, _backend) = duplex(1_000);
            client.write_all(&[b'x'; SENT]).await.expect("room");
            let last = Cell::new(Instant::now());
            pass(from, to, &last, buffers.share()).await.expect_err("no room");
            assert_eq!((buffers.used(), buffers.refused()), (0, 1));
        });
    }
}
