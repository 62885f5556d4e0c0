//! One core: a thread with its own event loop, listeners, gateway and backend connections.
//!
//! A request stays on its core's thread; only the store's work runs elsewhere. On a stop the core
//! first accepts no more connections, then lets requests in progress and background tasks end, then
//! writes queued rows. Each of the last two steps has `timeouts.drain_ms`.

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
/// How often one portion of the organizations is processed: audit retention, grace times.
const RETENTION_EVERY: Duration = Duration::from_secs(60);
/// Organizations in such a portion.
const RETENTION_PORTION: usize = 1_000;

/// The role of a core: the first one also runs the periodic jobs of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CoreRole {
    /// Runs the process's periodic jobs.
    Primary,
    /// Serves requests only.
    Secondary,
}

/// The core's parts of a gateway.
pub(crate) struct CoreParts {
    /// Its connections to the backend.
    pub(crate) backend: Backend,
    /// The process's clock.
    pub(crate) clock: NativeClock,
    /// Its background tasks.
    pub(crate) background: NativeBackground,
}

/// The arguments of a core.
pub(super) struct CoreSetup<'a> {
    pub(super) role: CoreRole,
    pub(super) config: &'a Config,
    pub(super) backends: Backends,
    pub(super) clock: NativeClock,
    pub(super) listeners: Vec<(TcpListener, Listener)>,
    /// Client connections that the core may have.
    pub(super) clients_max: usize,
    pub(super) limiter: Arc<ConnectionLimiter>,
    pub(super) stopping: watch::Receiver<bool>,
}

const UPKEEP_EVERY: Duration = Duration::from_secs(1);
/// An allocation so large that the allocator keeps it apart from others. It is never written to.
const GREAT_BYTES: usize = 1 << 20;
/// Pause of accepting after an error, such as no file descriptors left.
const ACCEPT_REST: Duration = Duration::from_millis(50);

/// Runs a core until a stop is requested.
///
/// # Errors
/// If the system refuses an event loop.
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
        // Connections of operators are not limited, even if many clients share their address.
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

    // An error means that the sender of the stop signal is gone: treat it as a stop.
    let _ = stopping.wait_for(|stop| *stop).await;
    accepting.iter().for_each(tokio::task::JoinHandle::abort);
    let drain = Duration::from_millis(config.timeouts.drain_ms);
    let drained = async {
        clients.drain().await;
        background.idle().await;
    };
    if tokio::time::timeout(drain, drained).await.is_err() {
        tracing::warn!("drain timeout expired with requests still in progress");
    }
    upkeep.abort();
    probe.inspect(tokio::task::JoinHandle::abort);
    stopped.notify_one();
    let written = async {
        if let Some((jobs, slow)) = jobs {
            slow.abort();
            let _ = jobs.await;
        }
        // A job that has begun is never aborted: it may have taken rows off a queue.
        background.idle().await;
        gateway.flush().await;
    };
    if tokio::time::timeout(drain, written).await.is_err() {
        tracing::error!(
            "could not write queued rows to the store in time; audit rows may be missing"
        );
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
            // The client closed the connection before it was accepted.
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

/// Makes the allocator return freed memory to the system. The allocator does so one second after
/// memory was freed, but only when the next large piece is freed. After a flood that may be never.
fn give_memory_back() {
    drop(std::hint::black_box(Vec::<u8>::with_capacity(GREAT_BYTES)));
}

/// Long-running jobs, concurrent with each other and with the short ones. A stop aborts them: every
/// step is a separate commit, and the next start continues.
async fn slow_upkeep<P: Platform>(gateway: Gateway<P>) {
    futures_util::future::join3(purge(&gateway), look_after(&gateway), forget(&gateway)).await;
}

async fn purge<P: Platform>(gateway: &Gateway<P>) {
    loop {
        tokio::time::sleep(PURGED_EVERY).await;
        gateway.purge().await;
    }
}

/// Processes all organizations in turn, portion by portion.
async fn look_after<P: Platform>(gateway: &Gateway<P>) {
    let mut after = None;
    loop {
        match gateway.maintain_organizations(after, RETENTION_PORTION).await {
            Ok(last) => after = last,
            Err(fault) => {
                tracing::error!(
                    cause = fault.cause,
                    "could not process a portion of the organizations; will retry"
                );
            }
        }
        tokio::time::sleep(RETENTION_EVERY).await;
    }
}

/// Deletes Stripe's old events, portion by portion.
async fn forget<P: Platform>(gateway: &Gateway<P>) {
    loop {
        tokio::time::sleep(RETENTION_EVERY).await;
        if let Err(fault) = gateway.forget_old_events(RETENTION_PORTION).await {
            tracing::error!(cause = fault.cause, "could not delete old Stripe events; will retry");
        }
    }
}

/// Starts due jobs until the core stops.
async fn jobs<P: Platform>(gateway: Gateway<P>, stopped: Rc<Notify>) {
    let mut stop = std::pin::pin!(stopped.notified());
    loop {
        let round = std::pin::pin!(tokio::time::sleep(gateway.tick()));
        if let Either::Right(_) = select(round, stop.as_mut()).await {
            return;
        }
    }
}
