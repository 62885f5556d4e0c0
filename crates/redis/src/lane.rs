//! One core's connection to Redis, over which requests take from the fleet's limits.
//!
//! All requests of a core share the connection (their commands are pipelined), and each waits a
//! bounded time. The first request that fails or waits too long closes the connection for all: from
//! then on no request waits, until a new connection has run the script within the same bound. An
//! idle connection is probed, so that the gauge is correct without traffic. Only a core's first
//! requests wait for its first connection, so that a gateway that reports to be ready applies the
//! fleet's limits.

use std::cell::{Cell, RefCell};
use std::pin::pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use driftlock_domain::fleet::{FleetAnswer, Share};
use driftlock_domain::id::OrganizationId;
use driftlock_gateway::ports::FleetLimits;
use futures_util::future::select;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, timeout};

use crate::FleetRedis;
use crate::connect::{self, Connected, NotUsable, WAITING_MAX};
use crate::script;
use crate::status::Status;

/// The pause before the first reconnect. It doubles with each further attempt …
const RETRY_FIRST: Duration = Duration::from_millis(100);
/// … up to this.
const RETRY_MAX: Duration = Duration::from_secs(2);
/// The interval at which a connection is probed.
const PROBED_EVERY: Duration = Duration::from_secs(1);
/// The timeout of a probe. It may be long, since requests find out themselves that Redis is slow.
const PROBE_MAX: Duration = Duration::from_secs(1);
/// After a connection of this duration, the pause before a reconnect is short again.
const STEADY: Duration = Duration::from_secs(10);

/// A core's access to the fleet's limits. Dropping it closes its connection.
#[derive(Debug)]
pub struct Lane(Rc<Inner>);

struct Inner {
    status: Arc<Status>,
    answer_max: Duration,
    connected: RefCell<Option<Rc<Connected>>>,
    waiting: Cell<usize>,
    /// Whether the first attempt to connect has ended.
    begun: Cell<bool>,
    begins: Notify,
    lost: Rc<Notify>,
}

impl Lane {
    /// Starts a lane on this thread, which needs a local event loop.
    pub(crate) fn start(fleet: FleetRedis) -> Self {
        let outages = fleet.status.add();
        let lost = Rc::new(Notify::new());
        let inner = Rc::new(Inner {
            status: Arc::clone(&fleet.status),
            answer_max: fleet.answer_max,
            connected: RefCell::default(),
            waiting: Cell::new(0),
            begun: Cell::new(false),
            begins: Notify::new(),
            lost: Rc::clone(&lost),
        });
        tokio::task::spawn_local(keep(fleet, Rc::downgrade(&inner), Signs { lost, outages }));
        Self(inner)
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.0.lost.notify_one();
    }
}

impl FleetLimits for Lane {
    async fn take(&self, organization: OrganizationId, share: &Share) -> Option<FleetAnswer> {
        let inner = &self.0;
        // Beyond the bound, only this node's limits apply to a request.
        let _waiting = Waiting::begin(&inner.waiting)?;
        let connected = match inner.current() {
            None if inner.begun.get() => return None,
            None => inner.first().await?,
            Some(connected) => connected,
        };
        let mut connection = connected.connection.clone();
        let taken = script::take(&mut connection, &connected.script, organization, share);
        match timeout(inner.answer_max, taken).await {
            Ok(Ok(answer)) => Some(answer),
            Ok(Err(error)) => {
                inner.give_up(&connected, || connect::cause(&error));
                None
            }
            Err(_late) => {
                inner.give_up(&connected, || connect::late_cause("an answer", inner.answer_max));
                None
            }
        }
    }
}

impl Inner {
    fn current(&self) -> Option<Rc<Connected>> {
        self.connected.borrow().clone()
    }

    async fn first(&self) -> Option<Rc<Connected>> {
        let begun = async {
            while !self.begun.get() {
                self.begins.notified().await;
            }
        };
        timeout(self.answer_max, begun).await.ok()?;
        self.current()
    }

    fn begin(&self) {
        self.begun.set(true);
        self.begins.notify_waiters();
    }

    /// Closes a connection on which a request failed. If several requests fail on it, only the
    /// first has an effect.
    fn give_up(&self, failed: &Rc<Connected>, cause: impl FnOnce() -> String) {
        let is_current = self.current().is_some_and(|current| Rc::ptr_eq(&current, failed));
        if is_current {
            self.let_go();
            self.status.unavailable(&cause());
            self.lost.notify_one();
        }
    }

    fn let_go(&self) {
        if self.connected.take().is_some() {
            self.status.disconnected();
        }
    }
}

/// The signals that end a connection.
struct Signs {
    /// A request of this core failed on it.
    lost: Rc<Notify>,
    /// Another core found that the server is unavailable.
    outages: watch::Receiver<u64>,
}

/// Connects, and reconnects whenever the connection was closed, until the lane is dropped.
async fn keep(fleet: FleetRedis, lane: Weak<Inner>, mut signs: Signs) {
    let mut pause = RETRY_FIRST;
    while lane.strong_count() > 0 {
        signs.outages.mark_unchanged();
        let connected = connect::connect(&fleet.url, fleet.answer_max).await;
        let Some(inner) = lane.upgrade() else { return };
        match connected {
            Ok(connected) => {
                let (since, connected) = (Instant::now(), Rc::new(connected));
                *inner.connected.borrow_mut() = Some(Rc::clone(&connected));
                inner.status.connected();
                inner.begin();
                drop(inner);
                let found = watch_over(&connected, &mut signs).await;
                let Some(inner) = lane.upgrade() else { return };
                if let Err(error) = found {
                    inner.status.unavailable(error.cause());
                }
                inner.let_go();
                if since.elapsed() >= STEADY {
                    pause = RETRY_FIRST;
                }
            }
            Err(error) => {
                inner.status.unavailable(error.cause());
                inner.begin();
            }
        }
        sleep(pause).await;
        pause = (pause * 2).min(RETRY_MAX);
    }
}

/// Probes the connection until it is closed, or does not answer.
async fn watch_over(connected: &Connected, signs: &mut Signs) -> Result<(), NotUsable> {
    let mut probed = connected.clone();
    loop {
        let (lost, outage) = (pin!(signs.lost.notified()), pin!(signs.outages.changed()));
        if timeout(PROBED_EVERY, select(lost, outage)).await.is_ok() {
            return Ok(());
        }
        connect::probe(&mut probed, PROBE_MAX).await?;
    }
}

/// Counts a waiting request.
struct Waiting<'a>(&'a Cell<usize>);

impl<'a> Waiting<'a> {
    fn begin(waiting: &'a Cell<usize>) -> Option<Self> {
        if waiting.get() >= WAITING_MAX {
            return None;
        }
        waiting.set(waiting.get() + 1);
        Some(Self(waiting))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inner").field("waiting", &self.waiting).finish_non_exhaustive()
    }
}
