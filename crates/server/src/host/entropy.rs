//! Random bytes from the operating system, fetched in pages, so that an id costs no system call.
//!
//! Each thread has a buffer. Bytes are used once and erased.

use std::cell::RefCell;

use driftlock_gateway::ports::Entropy;

const BUFFERED: usize = 4_096;

/// The operating system's generator.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct NativeEntropy;

struct Buffer {
    bytes: [u8; BUFFERED],
    left: usize,
}

thread_local! {
    static BUFFER: RefCell<Buffer> =
        const { RefCell::new(Buffer { bytes: [0; BUFFERED], left: 0 }) };
}

impl Entropy for NativeEntropy {
    fn fill(&self, buffer: &mut [u8]) {
        BUFFER.with_borrow_mut(|buffered| {
            for chunk in buffer.chunks_mut(BUFFERED) {
                buffered.take(chunk);
            }
        });
    }
}

impl Buffer {
    fn take(&mut self, wanted: &mut [u8]) {
        if self.left < wanted.len() {
            getrandom::fill(&mut self.bytes)
                .expect("a process that got this far can read the system's random numbers");
            self.left = BUFFERED;
        }
        let from = self.left - wanted.len();
        let taken = &mut self.bytes[from..self.left];
        wanted.copy_from_slice(taken);
        taken.fill(0);
        self.left = from;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_bytes_come_twice() {
        let drawn: HashSet<[u8; 10]> = (0..2_000)
            .map(|_| {
                let mut bytes = [0; 10];
                NativeEntropy.fill(&mut bytes);
                bytes
            })
            .collect();
        assert_eq!(drawn.len(), 2_000);
    }

    #[test]
    fn fills_more_than_a_buffer() {
        let mut bytes = vec![0; 3 * BUFFERED + 5];
        NativeEntropy.fill(&mut bytes);
        assert!(bytes.rchunks(64).next().is_some_and(|tail| tail.iter().any(|&byte| byte != 0)));
    }
}
