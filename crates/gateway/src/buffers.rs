//! One budget for all bytes of requests and answers that are buffered in memory: heads that arrive
//! in pieces; bodies of Stripe's deliveries, of requests with an Idempotency-Key and of the admin
//! API; answers to be stored; and WebSocket data that one side has not taken yet.
//!
//! Bytes count against the budget when they arrive, not when a length is declared. Nothing waits
//! for room: a request that finds none is refused with 503. Invariant: a [`Share`] gives its bytes
//! back when it is dropped, so the use is exact.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use driftlock_domain::denial::{Fault, FaultKind};

/// Bodies are gathered in blocks of this size. So a body grows without being moved, and without
/// leaving free memory of many different sizes behind.
const BLOCK_BYTES: usize = 16 << 10;
/// The memory that a request takes besides its body while the body arrives: the host's buffers of
/// the connection, and the state of the request. Measured, and rounded up.
const CONNECTION_BYTES: u64 = 128 << 10;

/// The budget of a process (at the edge: of an isolate), and how much of it is used.
#[derive(Debug)]
pub struct Buffers {
    bytes_max: u64,
    used: AtomicU64,
    refused: AtomicU64,
}

/// A part of the budget.
#[derive(Debug)]
pub struct Share {
    of: Arc<Buffers>,
    bytes: u64,
}

/// The budget is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the budget for buffered bytes is used up (limits.buffered_bytes_max, or at the edge \
     limits.isolate_buffered_bytes_max)"
)]
pub struct NoRoom;

impl From<NoRoom> for Fault {
    fn from(no_room: NoRoom) -> Self {
        Self::new(FaultKind::Overloaded, no_room.to_string())
    }
}

impl Buffers {
    /// An unused budget of this many bytes.
    #[must_use]
    pub fn new(bytes_max: u64) -> Arc<Self> {
        let (used, refused) = Default::default();
        Arc::new(Self { bytes_max, used, refused })
    }

    /// An empty share.
    #[must_use]
    pub fn share(self: &Arc<Self>) -> Share {
        Share { of: Arc::clone(self), bytes: 0 }
    }

    /// Bytes in use.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Bytes that may be in use.
    #[must_use]
    pub fn bytes_max(&self) -> u64 {
        self.bytes_max
    }

    /// How often there was no room.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    fn take(&self, bytes: u64) -> Result<(), NoRoom> {
        let more = |used: u64| used.checked_add(bytes).filter(|used| *used <= self.bytes_max);
        match self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more) {
            Ok(_) => Ok(()),
            Err(_) => {
                self.refused.fetch_add(1, Ordering::Relaxed);
                Err(NoRoom)
            }
        }
    }
}

impl Share {
    /// Changes the size of the share to this many bytes.
    ///
    /// # Errors
    /// [`NoRoom`] if the share would grow and there is no room; then it stays unchanged.
    pub fn resize(&mut self, bytes: u64) -> Result<(), NoRoom> {
        if bytes > self.bytes {
            self.of.take(bytes - self.bytes)?;
        } else if bytes < self.bytes {
            self.of.used.fetch_sub(self.bytes - bytes, Ordering::Relaxed);
        }
        self.bytes = bytes;
        Ok(())
    }

    fn grow(&mut self, bytes: u64) -> Result<(), NoRoom> {
        self.resize(self.bytes.saturating_add(bytes))
    }

    /// The same bytes, which keep this share for as long as any copy of them lives.
    fn held_by(self, bytes: Bytes) -> Bytes {
        Bytes::from_owner(Held { bytes, _share: self })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.of.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

struct Held {
    bytes: Bytes,
    _share: Share,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// How many copies of a body are in memory once it is complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Copies {
    /// Only the gathered body.
    One,
    /// The gathered body and a copy in the settlement.
    Two,
}

/// A body in memory, as far as it has arrived.
#[derive(Debug)]
pub struct Gathered {
    /// The first piece, while it is the only one: most bodies are one piece, which is not copied.
    first: Bytes,
    blocks: Vec<Vec<u8>>,
    length: usize,
    copies: Copies,
    share: Share,
}

impl Gathered {
    /// An empty body.
    #[must_use]
    pub fn new(buffers: &Arc<Buffers>, copies: Copies) -> Self {
        let (first, blocks) = Default::default();
        Self { first, blocks, length: 0, copies, share: buffers.share() }
    }

    /// How many bytes have arrived.
    #[must_use]
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether no bytes have arrived.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Adds the next piece.
    ///
    /// # Errors
    /// [`NoRoom`] with the piece, which is not added then.
    pub fn push(&mut self, piece: Bytes) -> Result<(), (NoRoom, Bytes)> {
        if piece.is_empty() {
            return Ok(());
        }
        if let Err(no_room) = self.make_room(piece.len()) {
            return Err((no_room, piece));
        }
        if self.length == 0 {
            (self.length, self.first) = (piece.len(), piece);
            return Ok(());
        }
        // A piece keeps the whole buffer alive that it was read into, so several are copied.
        let first = std::mem::take(&mut self.first);
        self.append(&first);
        self.append(&piece);
        self.length += piece.len();
        Ok(())
    }

    /// The whole body as one piece, which keeps its share of the budget for as long as it lives.
    #[must_use]
    pub fn join(mut self) -> Bytes {
        let bytes = if self.blocks.is_empty() {
            std::mem::take(&mut self.first)
        } else {
            let mut whole = Vec::with_capacity(self.length);
            self.blocks.iter().for_each(|block| whole.extend_from_slice(block));
            self.blocks.clear();
            Bytes::from(whole)
        };
        if bytes.is_empty() {
            return bytes;
        }
        let least = (bytes.len() as u64).saturating_mul(self.copies.count());
        let kept = least.min(self.share.bytes);
        // This never grows the share, so it cannot fail.
        let _ = self.share.resize(kept);
        self.share.held_by(bytes)
    }

    /// Takes room for this many more bytes, in whole blocks.
    fn make_room(&mut self, more: usize) -> Result<(), NoRoom> {
        let blocks = (self.length + more).div_ceil(BLOCK_BYTES);
        let bytes = (blocks * BLOCK_BYTES) as u64;
        let wanted = CONNECTION_BYTES.saturating_add(bytes.saturating_mul(self.copies.count()));
        if wanted > self.share.bytes { self.share.grow(wanted - self.share.bytes) } else { Ok(()) }
    }

    fn append(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let full = self.blocks.last().is_none_or(|block| block.len() == BLOCK_BYTES);
            if full {
                self.blocks.push(Vec::with_capacity(BLOCK_BYTES));
            }
            let Some(block) = self.blocks.last_mut() else { return };
            let (now, later) = bytes.split_at(bytes.len().min(BLOCK_BYTES - block.len()));
            block.extend_from_slice(now);
            bytes = later;
        }
    }
}

impl Copies {
    const fn count(self) -> u64 {
        match self {
            Self::One => 1,
            Self::Two => 2,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: u64 = BLOCK_BYTES as u64;

    #[test]
    fn a_share_takes_bytes_of_the_budget_and_gives_them_back() {
        let buffers = Buffers::new(100);
        let (mut one, mut other) = (buffers.share(), buffers.share());
        assert_eq!(one.resize(60), Ok(()));
        assert_eq!(other.resize(50), Err(NoRoom));
        assert_eq!((buffers.used(), buffers.refused()), (60, 1), "a refusal takes nothing");
        assert_eq!(one.resize(10), Ok(()));
        assert_eq!(other.resize(90), Ok(()));
        drop((one, other));
        assert_eq!(buffers.used(), 0);
    }

    #[test]
    fn a_body_takes_room_as_it_arrives_and_keeps_its_length() {
        let buffers = Buffers::new(1 << 20);
        let mut body = Gathered::new(&buffers, Copies::One);
        assert_eq!(buffers.used(), 0, "nothing arrived");
        for number in 0..40_u8 {
            body.push(vec![number; 1_000].into()).expect("room");
        }
        assert_eq!(buffers.used(), 3 * BLOCK + CONNECTION_BYTES, "40,000 bytes are three blocks");
        let whole = body.join();
        assert!(
            whole
                .chunks(1_000)
                .enumerate()
                .all(|(n, piece)| piece.iter().all(|b| usize::from(*b) == n))
        );
        let (copy, length) = (whole.clone(), whole.len() as u64);
        drop(whole);
        assert_eq!((buffers.used(), length), (40_000, 40_000), "a copy holds it, too");
        drop(copy);
        assert_eq!(buffers.used(), 0);
    }

    #[test]
    fn a_piece_without_room_is_returned_and_the_rest_stays() {
        let buffers = Buffers::new(CONNECTION_BYTES + BLOCK);
        let mut body = Gathered::new(&buffers, Copies::One);
        body.push(Bytes::from_static(b"abc")).expect("room");
        let (_, piece) = body.push(vec![b'd'; BLOCK_BYTES].into()).expect_err("no room");
        assert_eq!((piece.len(), body.len()), (BLOCK_BYTES, 3));
        assert_eq!(body.join(), "abc");
        assert_eq!((buffers.used(), buffers.refused()), (0, 1));
    }

    #[test]
    fn one_piece_is_not_copied_and_an_empty_body_takes_nothing() {
        let buffers = Buffers::new(1 << 20);
        let piece = Bytes::from(vec![b'x'; 100]);
        let place = piece.as_ptr();
        let mut body = Gathered::new(&buffers, Copies::Two);
        body.push(piece).expect("room");
        let whole = body.join();
        assert_eq!((whole.as_ptr(), buffers.used()), (place, 200));
        let nothing = Gathered::new(&buffers, Copies::One);
        assert!(nothing.is_empty() && nothing.join().is_empty());
    }

    #[test]
    fn a_refusal_names_the_setting() {
        let fault = Fault::from(NoRoom);
        assert_eq!(fault.kind, FaultKind::Overloaded);
        assert!(fault.cause.contains("limits.buffered_bytes_max"), "{}", fault.cause);
    }
}
