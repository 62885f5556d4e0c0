//! Lookups of uncached keys for sources that have used up their failures.
//!
//! The problem: only the store knows whether an uncached key is valid. If such a source got no
//! lookups, valid keys behind a shared address would be locked out (after a restart no key is
//! cached). If it got any number of lookups, a flood of invented keys would load the store.
//!
//! So the number of concurrent lookups is limited, not their rate: at most [`RUNNING_MAX`] run at a
//! time in the process, the others wait in order. A fast store keeps up with any flood that the
//! gateway itself can take, and a slow store never gets more lookups than this at once. A waiting
//! request that gets no permit in time is answered with 429 and `Retry-After`. One source may have
//! at most [`WAITING_PER_SOURCE_MAX`] places in the queue, so that a flood from one address leaves
//! room for others.
//!
//! Keys with a wrong checksum are never looked up, cached keys (valid or unknown) need no lookup,
//! and sources that have failures left are not limited by this.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use driftlock_domain::address::Source;
use futures_channel::oneshot;

/// The most lookups that run at a time.
pub(crate) const RUNNING_MAX: usize = 8;
/// The most lookups that wait.
const WAITING_MAX: usize = 512;
/// The most lookups of one source that wait.
const WAITING_PER_SOURCE_MAX: usize = 128;

/// The queue of lookups. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct Lookups(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    running: usize,
    queue: VecDeque<(Source, oneshot::Sender<LookupPermit>)>,
    waiting: HashMap<Source, usize>,
}

/// The right to look up one key, until it is dropped.
pub(crate) struct LookupPermit(Option<Lookups>);

/// The queue is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Full;

impl Lookups {
    /// Takes a place in the queue. The future is ready when this lookup may run.
    ///
    /// # Errors
    /// [`Full`] when too many lookups wait already.
    pub(crate) fn enter(
        &self,
        source: Source,
    ) -> Result<impl Future<Output = Option<LookupPermit>> + use<>, Full> {
        let (sender, receiver) = oneshot::channel();
        let mut state = self.state();
        if state.running < RUNNING_MAX {
            state.running += 1;
            drop(state);
            // The receiver is here: the value is kept in the channel.
            let _ = sender.send(LookupPermit(Some(self.clone())));
        } else {
            let queued = state.waiting.get(&source).copied().unwrap_or(0);
            if state.queue.len() >= WAITING_MAX || queued >= WAITING_PER_SOURCE_MAX {
                return Err(Full);
            }
            *state.waiting.entry(source).or_default() += 1;
            state.queue.push_back((source, sender));
        }
        Ok(async move { receiver.await.ok() })
    }

    /// Gives a permit that was dropped to the first request that still waits.
    fn next(&self) {
        loop {
            let mut state = self.state();
            let Some((source, sender)) = state.queue.pop_front() else {
                state.running -= 1;
                return;
            };
            state.left(source);
            drop(state);
            match sender.send(LookupPermit(Some(self.clone()))) {
                Ok(()) => return,
                // The request was cancelled. Clear its permit, so that dropping it does nothing:
                // this loop gives the permit to the next request.
                Err(mut permit) => permit.0 = None,
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn left(&mut self, source: Source) {
        if let Some(waiting) = self.waiting.get_mut(&source) {
            *waiting -= 1;
            if *waiting == 0 {
                self.waiting.remove(&source);
            }
        }
    }
}

impl Drop for LookupPermit {
    fn drop(&mut self) {
        if let Some(lookups) = self.0.take() {
            lookups.next();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn source(last: u8) -> Source {
        Source::Address(std::net::Ipv4Addr::new(192, 0, 2, last).into())
    }

    #[test]
    fn a_flood_waits_in_order_and_runs_no_more_lookups_than_the_limit() {
        let lookups = Lookups::default();
        let enter = |last| lookups.enter(source(last)).expect("room");
        let mut running: Vec<_> = (0..RUNNING_MAX).map(|_| enter(1).now_or_never()).collect();
        assert!(running.iter().all(Option::is_some));
        let mut waiting: Vec<_> = (0..3).map(|_| Box::pin(enter(1))).collect();
        assert!(waiting.iter_mut().all(|permit| permit.now_or_never().is_none()));
        running.pop();
        assert!(waiting[0].as_mut().now_or_never().flatten().is_some(), "the first, which ends");
        assert!(waiting[1].as_mut().now_or_never().flatten().is_some(), "then the second");
        assert_eq!(lookups.state().running, RUNNING_MAX, "the third has a permit, too");
        drop((running, waiting));
        let state = lookups.state();
        assert_eq!((state.running, state.queue.len(), state.waiting.len()), (0, 0, 0));
    }

    #[test]
    fn a_cancelled_request_passes_its_permit_on() {
        let lookups = Lookups::default();
        let enter = |last| Box::pin(lookups.enter(source(last)).expect("room"));
        let running: Vec<_> = (0..RUNNING_MAX).map(|_| enter(1)).collect();
        let (gone, mut last) = (enter(1), enter(2));
        drop(gone);
        drop(running);
        assert!(last.as_mut().now_or_never().flatten().is_some());
        drop(last);
        assert_eq!(lookups.state().running, 0);
    }

    #[test]
    fn one_source_leaves_room_in_the_queue_for_others() {
        let lookups = Lookups::default();
        let mut kept = Vec::new();
        while let Ok(permit) = lookups.enter(source(1)) {
            kept.push(permit);
        }
        assert_eq!(kept.len(), RUNNING_MAX + WAITING_PER_SOURCE_MAX);
        assert!(lookups.enter(source(2)).is_ok());
    }
}
