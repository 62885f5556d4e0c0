//! Tasks that outlive the request that started them. They are counted, so that a stop can wait for
//! them.
//!
//! Invariant: once [`NativeBackground::idle`] has returned and nothing else runs on the core, all
//! spawned tasks have ended.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use driftlock_gateway::ports::Background;

/// The background tasks of one core. Clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct NativeBackground(Rc<Tasks>);

#[derive(Debug, Default)]
struct Tasks {
    running: Cell<usize>,
    waiting: RefCell<Option<Waker>>,
    closed: Cell<bool>,
}

/// One running task.
struct Running(Rc<Tasks>);

impl NativeBackground {
    /// Waits until no task is left. Only one caller may wait at a time.
    pub(crate) async fn idle(&self) {
        poll_fn(|context| {
            if self.0.running.get() == 0 {
                return Poll::Ready(());
            }
            self.0.waiting.replace(Some(context.waker().clone()));
            Poll::Pending
        })
        .await;
    }

    /// Accepts no more tasks: the core's event loop is about to end and would not run them.
    pub(crate) fn close(&self) {
        self.0.closed.set(true);
    }
}

impl Background for NativeBackground {
    fn spawn(&self, work: impl Future<Output = ()> + 'static) {
        if self.0.closed.get() {
            return;
        }
        self.0.running.set(self.0.running.get() + 1);
        let running = Running(Rc::clone(&self.0));
        tokio::task::spawn_local(async move {
            let _running = running;
            work.await;
        });
    }

    async fn wait(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let left = self.0.running.get() - 1;
        self.0.running.set(left);
        if left == 0
            && let Some(waker) = self.0.waiting.take()
        {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_waits_for_spawned_tasks() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let done = Rc::new(Cell::new(0));
        tokio::task::LocalSet::new().block_on(&runtime, async {
            let background = NativeBackground::default();
            for _ in 0..3 {
                let done = Rc::clone(&done);
                background.spawn(async move {
                    tokio::task::yield_now().await;
                    done.set(done.get() + 1);
                });
            }
            background.idle().await;
            assert_eq!(done.get(), 3);
            background.close();
            background.spawn(async { unreachable!("a closed background takes no work") });
            background.idle().await;
        });
    }
}
