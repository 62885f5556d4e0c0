//! The pool of one core's connections to a backend: bounded, last in, first out.
//!
//! Last in, first out keeps few connections busy, so that the others reach their idle timeout. If
//! unexpected bytes may follow a connection's last answer, the connection rests before its next use
//! (`driftlock_domain::response::Reuse`). Invariants: connections in use, idle and resting together
//! never exceed `connections_max`; a connection is used again only if its socket has no unread
//! bytes.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use driftlock_domain::config;
use driftlock_domain::response::{REST, Reuse, UNTRUSTED_FOR};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::address::BackendUrl;
use super::health::Health;
use super::lane::{Found, Lane};

/// The pool.
pub(super) struct Pool {
    idle: RefCell<VecDeque<Box<Lane>>>,
    /// Resting connections; the first has rested longest.
    resting: RefCell<VecDeque<Box<Lane>>>,
    idle_max: usize,
    idle_timeout: Duration,
    in_use: Rc<Semaphore>,
    /// The backend of these connections.
    backend: BackendUrl,
    health: Arc<Health>,
}

/// The permit for one connection, returned on drop.
pub(super) struct Permit(Rc<Semaphore>);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.add_permits(1);
    }
}

impl Pool {
    /// An empty pool for this backend.
    pub(super) fn new(
        config: &config::Backend,
        idle_timeout: Duration,
        backend: &BackendUrl,
        health: Arc<Health>,
    ) -> Self {
        let in_use_max = config.connections_max.min(Semaphore::MAX_PERMITS);
        Self {
            idle: RefCell::default(),
            resting: RefCell::default(),
            idle_max: config.idle_connections_max,
            idle_timeout,
            in_use: Rc::new(Semaphore::new(in_use_max)),
            backend: backend.clone(),
            health,
        }
    }

    /// A permit for one more connection; `None` if none became free within `wait`.
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

    /// An idle connection that is still usable, or the permit if there is none.
    pub(super) fn take(&self, permit: Permit) -> Result<Box<Lane>, Permit> {
        self.end_rests();
        loop {
            let Some(mut lane) = self.idle.borrow_mut().pop_back() else { break };
            if self.is_silent(&mut lane) {
                lane.permit = Some(permit);
                return Ok(lane);
            }
        }
        self.make_room();
        Err(permit)
    }

    /// Closes unused connections until there is room for one more, for which the caller has a
    /// permit.
    pub(super) fn make_room(&self) {
        let (mut idle, mut resting) = (self.idle.borrow_mut(), self.resting.borrow_mut());
        while idle.len() + resting.len() > self.in_use.available_permits() {
            if resting.pop_front().is_none() {
                idle.pop_front();
            }
        }
    }

    /// Returns a connection to the pool after its exchange, or closes it.
    pub(super) fn give_back(&self, mut lane: Box<Lane>) {
        if lane.reuse == Reuse::Never {
            return;
        }
        match lane.park() {
            Found::Silent => {}
            Found::Closed => return,
            Found::Stray => return self.report_stray(),
        }
        let rests = lane.reuse == Reuse::AfterRest || !self.health.is_trusted();
        lane.idle_since = Instant::now();
        let permit = lane.permit.take();
        let (mut idle, mut resting) = (self.idle.borrow_mut(), self.resting.borrow_mut());
        if idle.len() + resting.len() < self.idle_max {
            if rests {
                lane.rest();
                resting.push_back(lane);
            } else {
                idle.push_back(lane);
            }
        }
        drop((idle, resting));
        // Dropped last: only now may another request open a connection.
        drop(permit);
    }

    /// Closes connections that were idle for too long, or that the backend closed.
    pub(super) fn sweep(&self) {
        self.end_rests();
        let now = Instant::now();
        self.idle.borrow_mut().retain_mut(|lane| {
            let is_recent = now.saturating_duration_since(lane.idle_since) < self.idle_timeout;
            is_recent && self.is_silent(lane)
        });
    }

    /// Moves connections that have rested long enough to the idle ones.
    fn end_rests(&self) {
        let mut resting = self.resting.borrow_mut();
        if resting.is_empty() {
            return;
        }
        let (now, mut idle) = (Instant::now(), self.idle.borrow_mut());
        while let Some(lane) = resting.pop_front() {
            if now.saturating_duration_since(lane.idle_since) < REST {
                resting.push_front(lane);
                return;
            }
            idle.push_back(lane);
        }
    }

    fn is_silent(&self, lane: &mut Lane) -> bool {
        match lane.look() {
            Found::Silent => true,
            Found::Closed => false,
            Found::Stray => {
                self.report_stray();
                false
            }
        }
    }

    fn report_stray(&self) {
        if self.health.sent_stray_bytes() {
            tracing::warn!(
                backend = %self.backend,
                rest_ms = REST.as_millis(),
                for_secs = UNTRUSTED_FOR.as_secs(),
                "backend sent bytes beyond its answer; its connections rest between requests"
            );
        }
    }

    /// How many connections are idle or resting.
    #[cfg(test)]
    pub(super) fn idle(&self) -> usize {
        self.idle.borrow().len() + self.resting.borrow().len()
    }
}
