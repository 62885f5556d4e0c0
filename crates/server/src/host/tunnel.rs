//! A WebSocket between a client and a backend: bytes both ways, until one side ends it, nothing comes
//! for too long, its caller may call no more, or the process stops.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use futures_util::future::join;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};
use tokio::time::{Instant, sleep_until};

use super::clients::Client;
use super::upstream::Switched;

/// The greatest piece that is read at once, in bytes.
const PIECE_MAX: usize = 16 << 10;

/// Passes bytes both ways.
pub(super) async fn run(
    client_stream: impl AsyncRead + AsyncWrite,
    backend: Switched,
    idle: Duration,
    client: &Client,
) {
    let Switched { transport, early, mut over, .. } = backend;
    let last = Cell::new(Instant::now());
    let (from_client, mut to_client) = split(client_stream);
    let (from_backend, to_backend) = split(transport);
    let down = async {
        to_client.write_all(&early).await?;
        pass(from_backend, to_client, &last).await
    };
    let mut both = pin!(join(pass(from_client, to_backend, &last), down));
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

/// Passes bytes one way; that the one side has ended, or is gone, is told to the other.
async fn pass(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    last: &Cell<Instant>,
) -> io::Result<()> {
    let mut piece = vec![0; PIECE_MAX];
    loop {
        let read = from.read(&mut piece).await.unwrap_or(0);
        if read == 0 {
            return to.shutdown().await;
        }
        to.write_all(&piece[..read]).await?;
        to.flush().await?;
        last.set(Instant::now());
    }
}
