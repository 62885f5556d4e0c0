//! The bytes of requests and answers that wait in memory until they are whole, within one budget:
//! heads that come in pieces, bodies of Stripe's deliveries, of requests with an Idempotency-Key and
//! of the admin API, answers that are kept, and what one side of a WebSocket has not taken yet.
//!
//! Room is taken as bytes arrive, not as a length is declared, and nothing waits for room: what finds
//! none is refused with 503. Invariant: a [`Share`] gives back what it took when it is dropped, so
//! that the use is exact.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use driftlock_domain::denial::{Fault, FaultKind};

/// Bodies are gathered in blocks of this size: they grow with what arrives, and nothing is moved or
/// left behind in other sizes as they grow.
const BLOCK_BYTES: usize = 16 << 10;
/// What a request takes besides while its body is coming: the host's buffers of its connection, and
/// the request's own state. Measured, and rounded up.
const CONNECTION_BYTES: u64 = 128 << 10;

/// The budget of a process (at the edge: of an isolate), and what is used of it.
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
    "the budget for bytes in memory is used up: limits.buffered_bytes_max, or at the edge limits.isolate_buffered_bytes_max"
)]
pub struct NoRoom;

impl From<NoRoom> for Fault {
    fn from(no_room: NoRoom) -> Self {
        Self::new(FaultKind::Overloaded, no_room.to_string())
    }
}

impl Buffers {
    /// A budget of so many bytes, none of which is used.
    #[must_use]
    pub fn new(bytes_max: u64) -> Arc<Self> {
        let (used, refused) = Default::default();
        Arc::new(Self { bytes_max, used, refused })
    }

    /// A share of nothing yet.
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

    /// How often something found no room.
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
    /// Makes it a share of so many bytes in all.
    ///
    /// # Errors
    /// [`NoRoom`], if it would grow and there is no room: then it stays as it is.
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

    /// The same bytes, which hold this share for as long as any copy of them lives.
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

/// How often a body lies in memory once it is whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Copies {
    /// As it was gathered.
    One,
    /// And once more in what is settled.
    Two,
}

/// A body in memory, as far as it has come.
#[derive(Debug)]
pub struct Gathered {
    /// The only piece so far, as it came: most bodies are one piece, which is not copied.
    first: Bytes,
    blocks: Vec<Vec<u8>>,
    length: usize,
    copies: Copies,
    share: Share,
}

impl Gathered {
    /// Nothing of a body yet.
    #[must_use]
    pub fn new(buffers: &Arc<Buffers>, copies: Copies) -> Self {
        let (first, blocks) = Default::default();
        Self { first, blocks, length: 0, copies, share: buffers.share() }
    }

    /// Bytes so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether nothing came yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Adds the next piece.
    ///
    /// # Errors
    /// [`NoRoom`]; the piece is not added then, and comes back.
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
        // A piece keeps the whole buffer alive that it was read into, so that several are copied.
        let first = std::mem::take(&mut self.first);
        self.append(&first);
        self.append(&piece);
        self.length += piece.len();
        Ok(())
    }

    /// All of it as one piece, which holds its share of the budget for as long as it lives.
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
        // It never grows here.
        let _ = self.share.resize(kept);
        self.share.held_by(bytes)
    }

    /// Takes the room of whole blocks for so many bytes more.
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
    fn a_share_takes_what_there_is_and_gives_it_back() {
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
    fn a_piece_without_room_comes_back_and_the_rest_stays() {
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
