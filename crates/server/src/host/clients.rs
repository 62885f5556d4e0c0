//! The client connections of one core: their limit, and the signal that ends them on a stop.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

use tokio::sync::Semaphore;

use super::connection_limiter::ConnectionPermit;

/// Connections per core, if the system allows so many. Further ones wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 65_536;

/// All open client connections of a core.
pub(super) struct Clients {
    room: Semaphore,
    next: Cell<u64>,
    open: RefCell<HashMap<u64, Slot>>,
    draining: Cell<bool>,
    emptied: RefCell<Option<Waker>>,
}

/// The task that serves a connection.
type Slot = Rc<RefCell<Option<Waker>>>;

/// One open connection.
pub(super) struct Client {
    clients: Rc<Clients>,
    number: u64,
    slot: Slot,
    _permit: ConnectionPermit,
}

impl Clients {
    pub(super) fn new(connections_max: usize) -> Rc<Self> {
        Rc::new(Self {
            room: Semaphore::new(connections_max.min(CONNECTIONS_MAX)),
            next: Cell::new(0),
            open: RefCell::default(),
            draining: Cell::new(false),
            emptied: RefCell::default(),
        })
    }

    /// Waits until one more connection may be accepted.
    pub(super) async fn room(&self) {
        // The semaphore is never closed; its permits are given back when clients are dropped.
        let _ = self.room.acquire().await;
    }

    /// A connection was accepted.
    pub(super) fn open(self: &Rc<Self>, permit: ConnectionPermit) -> Client {
        if let Ok(permit) = self.room.try_acquire() {
            permit.forget();
        }
        let number = self.next.get();
        self.next.set(number + 1);
        let slot = Slot::default();
        self.open.borrow_mut().insert(number, Rc::clone(&slot));
        Client { clients: Rc::clone(self), number, slot, _permit: permit }
    }

    /// Asks all connections to end after the request in progress, and waits for them.
    pub(super) async fn drain(&self) {
        self.draining.set(true);
        for waker in self.open.borrow().values().filter_map(|slot| slot.take()) {
            waker.wake();
        }
        poll_fn(|context| {
            if self.open.borrow().is_empty() {
                return Poll::Ready(());
            }
            self.emptied.replace(Some(context.waker().clone()));
            Poll::Pending
        })
        .await;
    }
}

impl Client {
    /// Sets the task to wake when connections must end.
    pub(super) fn runs_in(&self, task: &Waker) {
        let mut slot = self.slot.borrow_mut();
        if slot.as_ref().is_none_or(|known| !known.will_wake(task)) {
            *slot = Some(task.clone());
        }
    }

    /// Whether connections must end.
    pub(super) fn is_draining(&self) -> bool {
        self.clients.draining.get()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.clients.room.add_permits(1);
        let mut open = self.clients.open.borrow_mut();
        open.remove(&self.number);
        if open.is_empty()
            && let Some(waker) = self.clients.emptied.take()
        {
            waker.wake();
        }
    }
}
