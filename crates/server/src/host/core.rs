//! One core: a thread with its own event loop, listeners, gateway and backend connections.
//!
//! Nothing on a request's way crosses to another thread but what the store does. On a stop the
//! core first takes no more connections, then lets requests under way and background work end,
//! then writes what is queued; each of the two within `timeouts.drain_ms`.

use std::io;
use std::net::TcpListener;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use driftlock_domain::config::Config;
use driftlock_gateway::ports::Platform;
use driftlock_gateway::{Gateway, Listener};
use futures_util::future::{Either, select};
use tokio::runtime::LocalOptions;
use tokio::sync::{Notify, watch};

use super::background::NativeBackground;
use super::clients::Clients;
use super::clock::NativeClock;
use super::connection::Protocol;
use super::connection_limiter::{ConnectionLimiter, ConnectionPermit};
use super::upstream::{Backend, Backends};

/// How often expired idempotency keys are dropped.
const PURGED_EVERY: Duration = Duration::from_secs(60);
/// How often a portion of the organizations is looked after: their audit logs, their grace time.
const RETENTION_EVERY: Duration = Duration::from_secs(60);
/// Organizations in such a portion.
const RETENTION_PORTION: usize = 1_000;

/// Which core it is: the first one also does the periodic jobs of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CoreRole {
    /// Does the process's periodic jobs.
    Primary,
    /// Serves requests only.
    Secondary,
}

/// What a core makes its gateway of.
pub(crate) struct CoreParts {
    /// Its way to the backend.
    pub(crate) backend: Backend,
    /// The process's clock.
    pub(crate) clock: NativeClock,
    /// Its background.
    pub(crate) background: NativeBackground,
}

/// What a core is told at its start.
pub(super) struct CoreSetup<'a> {
    pub(super) role: CoreRole,
    pub(super) config: &'a Config,
    pub(super) backends: Backends,
    pub(super) clock: NativeClock,
    pub(super) listeners: Vec<(TcpListener, Listener)>,
    /// Connections of clients that it may hold.
    pub(super) clients_max: usize,
    pub(super) limiter: Arc<ConnectionLimiter>,
    pub(super) stopping: watch::Receiver<bool>,
}

const UPKEEP_EVERY: Duration = Duration::from_secs(1);
/// A piece that the allocator keeps by itself, not among others of its size. It is never written to.
const GREAT_BYTES: usize = 1 << 20;
/// How long accepting rests when the process has no file descriptors left.
const ACCEPT_REST: Duration = Duration::from_millis(50);

/// Runs a core until it is told to stop.
///
/// # Errors
/// When the system gives it no event loop.
pub(super) fn run<P: Platform<Upstream = Backend>>(
    setup: CoreSetup<'_>,
    make: impl FnOnce(CoreParts) -> Gateway<P>,
) -> io::Result<()> {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().build_local(LocalOptions::default())?.block_on(serve(setup, make))
}

async fn serve<P: Platform<Upstream = Backend>>(
    setup: CoreSetup<'_>,
    make: impl FnOnce(CoreParts) -> Gateway<P>,
) -> io::Result<()> {
    let CoreSetup { role, config, backends, clock, listeners, .. } = setup;
    let (limiter, mut stopping) = (setup.limiter, setup.stopping);
    let (backend, background) = (Backend::new(&backends, config), NativeBackground::default());
    let parts = (backend.clone(), clock.clone(), background.clone());
    let gateway = make(CoreParts { backend: parts.0, clock: parts.1, background: parts.2 });

    let (clients, protocol) =
        (Clients::new(setup.clients_max), Protocol::new(gateway.clone(), config));
    let mut accepting = Vec::new();
    for (listener, kind) in listeners {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let (protocol, clients) = (Rc::clone(&protocol), Rc::clone(&clients));
        // Operators get in however many clients there are from their address.
        let limiter = (kind == Listener::Public).then(|| Arc::clone(&limiter));
        accepting
            .push(tokio::task::spawn_local(accept(listener, kind, protocol, clients, limiter)));
    }
    let probe = (role == CoreRole::Primary).then(|| {
        let (backend, config) = (backend.clone(), config.backend.clone());
        tokio::task::spawn_local(async move { backend.probe(&config).await })
    });
    let upkeep = tokio::task::spawn_local(upkeep(backend, clock));
    let stopped = Rc::new(Notify::new());
    let jobs = (role == CoreRole::Primary).then(|| {
        let slow = tokio::task::spawn_local(slow_upkeep(gateway.clone()));
        (tokio::task::spawn_local(jobs(gateway.clone(), Rc::clone(&stopped))), slow)
    });

    // An error means that whoever could ask for a stop is gone: that is one, too.
    let _ = stopping.wait_for(|stop| *stop).await;
    accepting.iter().for_each(tokio::task::JoinHandle::abort);
    let drain = Duration::from_millis(config.timeouts.drain_ms);
    let drained = async {
        clients.drain().await;
        background.idle().await;
    };
    if tokio::time::timeout(drain, drained).await.is_err() {
        tracing::warn!("requests were still under way when the time to drain was over");
    }
    upkeep.abort();
    probe.inspect(tokio::task::JoinHandle::abort);
    stopped.notify_one();
    let written = async {
        if let Some((jobs, slow)) = jobs {
            slow.abort();
            let _ = jobs.await;
        }
        // A job that has begun is never cut short: it may have taken rows off a queue.
        background.idle().await;
        gateway.flush().await;
    };
    if tokio::time::timeout(drain, written).await.is_err() {
        tracing::error!("the store did not take what was queued; audit rows may be missing");
    }
    background.close();
    Ok(())
}

async fn accept<P: Platform<Upstream = Backend>>(
    listener: tokio::net::TcpListener,
    kind: Listener,
    protocol: Rc<Protocol<P>>,
    clients: Rc<Clients>,
    limiter: Option<Arc<ConnectionLimiter>>,
) {
    loop {
        clients.room().await;
        match listener.accept().await {
            Ok((stream, peer)) => {
                let (protocol, peer) = (Rc::clone(&protocol), peer.ip());
                let permit =
                    limiter.as_ref().map_or(Some(ConnectionPermit::UNLIMITED), |it| it.enter(peer));
                let Some(permit) = permit else {
                    protocol.turn_away(stream, peer);
                    continue;
                };
                let client = clients.open(permit);
                tokio::task::spawn_local(protocol.serve(stream, peer, kind, client));
            }
            // A client that gave up before it was accepted.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections");
                tokio::time::sleep(ACCEPT_REST).await;
            }
        }
    }
}

async fn upkeep(backend: Backend, clock: NativeClock) {
    loop {
        tokio::time::sleep(UPKEEP_EVERY).await;
        backend.sweep();
        clock.follow_wall_clock();
        give_memory_back();
    }
}

/// Has the allocator give freed memory back to the system. It does that a second after the memory was
/// freed, but only when the next great piece is freed: after a flood that may be never.
fn give_memory_back() {
    drop(std::hint::black_box(Vec::<u8>::with_capacity(GREAT_BYTES)));
}

/// What may take long, each beside the other and beside the jobs. A stop cuts it short: every step
/// of it is a commit of its own, and is taken up again at the next start.
async fn slow_upkeep<P: Platform>(gateway: Gateway<P>) {
    futures_util::future::join3(purge(&gateway), look_after(&gateway), forget(&gateway)).await;
}

async fn purge<P: Platform>(gateway: &Gateway<P>) {
    loop {
        tokio::time::sleep(PURGED_EVERY).await;
        gateway.purge().await;
    }
}

/// The walk over all organizations, portion by portion.
async fn look_after<P: Platform>(gateway: &Gateway<P>) {
    let mut after = None;
    loop {
        match gateway.look_after(after, RETENTION_PORTION).await {
            Ok(last) => after = last,
            Err(fault) => {
                tracing::error!(cause = fault.cause, "organizations are looked after later");
            }
        }
        tokio::time::sleep(RETENTION_EVERY).await;
    }
}

/// Stripe's old events go, portion by portion.
async fn forget<P: Platform>(gateway: &Gateway<P>) {
    loop {
        tokio::time::sleep(RETENTION_EVERY).await;
        if let Err(fault) = gateway.forget_old_events(RETENTION_PORTION).await {
            tracing::error!(cause = fault.cause, "old events of Stripe's are removed later");
        }
    }
}

/// Begins what is due until the core stops.
async fn jobs<P: Platform>(gateway: Gateway<P>, stopped: Rc<Notify>) {
    let mut stop = std::pin::pin!(stopped.notified());
    loop {
        let round = std::pin::pin!(tokio::time::sleep(gateway.tick()));
        if let Either::Right(_) = select(round, stop.as_mut()).await {
            return;
        }
    }
}
