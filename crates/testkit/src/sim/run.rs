//! Runs futures by hand: to their end, or for a number of waits.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use driftlock_gateway::ports::Background;
use futures_util::future::LocalBoxFuture;
use futures_util::task::noop_waker_ref;

/// Work that was left for later. The test decides whether it runs.
#[derive(Clone, Default)]
pub struct Later(Rc<RefCell<Vec<LocalBoxFuture<'static, ()>>>>);

impl Background for Later {
    fn spawn(&self, work: impl Future<Output = ()> + 'static) {
        self.0.borrow_mut().push(Box::pin(work));
    }

    /// No time passes: the test moves the clock.
    async fn wait(&self, _time: Duration) {
        turn().await;
    }
}

impl Later {
    /// Does all the work, including work that it leaves in turn.
    pub fn finish(&self) {
        loop {
            let work = self.0.borrow_mut().pop();
            match work {
                Some(work) => run(work),
                None => return,
            }
        }
    }

    /// Drops all the work.
    pub(super) fn forget(&self) {
        drop(self.0.take());
    }

    /// Runs each piece of work for a number of waits: the process stops within it.
    pub fn stop_after(&self, turns: usize) {
        for work in self.0.take() {
            let _ = run_for(turns, work);
        }
    }
}

/// Runs a future to its end.
pub fn run<T>(future: impl Future<Output = T>) -> T {
    run_for(usize::MAX, future).expect("it has all the turns there are")
}

/// Runs a future for a number of waits; `None` if it has not ended by then.
pub fn run_for<T>(turns: usize, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    let mut context = Context::from_waker(noop_waker_ref());
    for _ in 0..turns {
        if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return Some(value);
        }
        // The future may wait for a store's thread.
        std::thread::yield_now();
    }
    None
}

/// Waits once.
pub(super) async fn turn() {
    let mut waited = false;
    poll_fn(|context| {
        if std::mem::replace(&mut waited, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
