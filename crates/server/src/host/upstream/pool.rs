//! The connections of one core to the backend: a bounded number, the one used last first.
//!
//! Last in, first out keeps few connections busy and lets the others run into their idle timeout.
//! Invariant: connections in use and idle together never exceed `connections_max`, since one is
//! made only when none is idle, and every one in use has a permit.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use driftlock_domain::config;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::lane::Lane;

/// See the module.
pub(super) struct Pool {
    idle: RefCell<VecDeque<Box<Lane>>>,
    idle_max: usize,
    idle_timeout: Duration,
    in_use: Rc<Semaphore>,
}

/// The right to use a connection.
pub(super) struct Permit(Rc<Semaphore>);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.add_permits(1);
    }
}

impl Pool {
    /// An empty pool.
    pub(super) fn new(backend: &config::Backend, idle_timeout: Duration) -> Self {
        let in_use_max = backend.connections_max.min(Semaphore::MAX_PERMITS);
        Self {
            idle: RefCell::default(),
            idle_max: backend.idle_connections_max,
            idle_timeout,
            in_use: Rc::new(Semaphore::new(in_use_max)),
        }
    }

    /// The right to use one more connection; `None` when none became free within `wait`.
    pub(super) async fn permit(&self, wait: Duration) -> Option<Permit> {
        let acquired = match self.in_use.try_acquire() {
            Ok(acquired) => acquired,
            Err(_) => {
                Box::pin(tokio::time::timeout(wait, self.in_use.acquire())).await.ok()?.ok()?
            }
        };
        acquired.forget();
        Some(Permit(Rc::clone(&self.in_use)))
    }

    /// An idle connection that is still good. The permit is given back when there is none.
    pub(super) fn take(&self, permit: Permit) -> Result<Box<Lane>, Permit> {
        loop {
            let Some(mut lane) = self.idle.borrow_mut().pop_back() else { return Err(permit) };
            if lane.is_alive() {
                lane.permit = Some(permit);
                return Ok(lane);
            }
        }
    }

    /// Puts a connection back after its exchange, or closes it.
    pub(super) fn give_back(&self, mut lane: Box<Lane>) {
        if !lane.park() {
            return;
        }
        lane.idle_since = Instant::now();
        let permit = lane.permit.take();
        let mut idle = self.idle.borrow_mut();
        if idle.len() < self.idle_max {
            idle.push_back(lane);
        }
        drop(idle);
        // Only now may another request make a connection.
        drop(permit);
    }

    /// Closes connections that were idle for too long, or that the backend closed.
    pub(super) fn sweep(&self) {
        let now = Instant::now();
        self.idle.borrow_mut().retain_mut(|lane| {
            now.saturating_duration_since(lane.idle_since) < self.idle_timeout && lane.is_alive()
        });
    }

    /// How many connections are idle.
    #[cfg(test)]
    pub(super) fn idle(&self) -> usize {
        self.idle.borrow().len()
    }
}
