//! The waker of a backend connection. The request that uses a connection polls it; there is no task
//! for it.
//!
//! Parts of one connection (its dispatcher, the response's channel, a timer) wake each other while
//! they are polled one after the other. If each such wake were passed on, the whole request would
//! run once more for nothing. So the gate is shut while the connection is driven, and it notes a
//! wake that arrives meanwhile. Invariant: a wake is passed on to the task that drove the
//! connection last, or it is noted and handled by the driver; none is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Wake, Waker};

use futures_util::task::AtomicWaker;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Gate {
    task: AtomicWaker,
    shut: AtomicBool,
    knocked: AtomicBool,
}

impl Gate {
    /// Wakes go to `task` once the gate is open.
    pub(super) fn lead_to(&self, task: &Waker) {
        self.task.register(task);
    }

    /// From here on wakes are only noted.
    pub(super) fn shut(&self) {
        self.shut.store(true, Ordering::SeqCst);
    }

    /// From here on wakes are passed on again; so is one that was noted meanwhile.
    pub(super) fn open(&self) {
        self.shut.store(false, Ordering::SeqCst);
        if self.knocked() {
            self.task.wake();
        }
    }

    /// Whether a wake was noted since this was last asked.
    pub(super) fn knocked(&self) -> bool {
        self.knocked.swap(false, Ordering::SeqCst)
    }
}

impl Wake for Gate {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.shut.load(Ordering::SeqCst) {
            self.knocked.store(true, Ordering::SeqCst);
            // The gate may have opened in between, and its opener not have seen the note.
            if self.shut.load(Ordering::SeqCst) || !self.knocked() {
                return;
            }
        }
        self.task.wake();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn wakes_are_noted_while_shut_and_passed_on_once() {
        let (gate, count) = (Arc::new(Gate::default()), Arc::new(Count::default()));
        let waker = Waker::from(Arc::clone(&gate));
        gate.lead_to(&Waker::from(Arc::clone(&count)));
        gate.shut();
        waker.wake_by_ref();
        waker.wake_by_ref();
        assert_eq!(count.0.load(Ordering::SeqCst), 0);
        gate.open();
        assert_eq!(count.0.load(Ordering::SeqCst), 1);
        gate.open();
        assert_eq!(count.0.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn wakes_go_through_while_open() {
        let (gate, count) = (Arc::new(Gate::default()), Arc::new(Count::default()));
        gate.lead_to(&Waker::from(Arc::clone(&count)));
        Waker::from(Arc::clone(&gate)).wake();
        assert_eq!(count.0.load(Ordering::SeqCst), 1);
    }
}
