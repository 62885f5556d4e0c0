//! The server: one thread per core, from the first listener to the last answer.
//!
//! It reports readiness only when every socket listens, and returns only when every core has
//! drained. If one core ends unexpectedly, the others end too: otherwise a process with only some
//! of its cores would look healthy.

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread;

use driftlock_domain::config::Config;
use driftlock_gateway::ports::Platform;
use driftlock_gateway::{Gateway, Listener};
use driftlock_redis::FleetRedis;
use futures_util::future::select;
use tokio::sync::watch;

use super::clock::NativeClock;
use super::connection_limiter::ConnectionLimiter;
use super::core::{self, CoreParts, CoreRole, CoreSetup};
use super::descriptors;
use super::listen::{self, ListenError};
use super::upstream::{Backend, Backends};

/// The parts and addresses of a server.
pub(crate) struct Setup {
    /// The validated configuration.
    pub(crate) config: Config,
    /// The backends that get the requests.
    pub(crate) backends: Backends,
    /// The address for clients; port 0 takes a free one.
    pub(crate) listen: SocketAddr,
    /// The address for operators.
    pub(crate) admin: AdminListen,
    /// The process's clock.
    pub(crate) clock: NativeClock,
    /// The rate limits of the fleet that this process belongs to.
    pub(crate) fleet: Option<FleetRedis>,
    /// How many cores to use; `None` uses all.
    pub(crate) workers: Option<NonZeroUsize>,
}

/// The admin listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AdminListen {
    /// At the default address; a port in use is a warning.
    Default(SocketAddr),
    /// At a requested address; a port in use is an error.
    At(SocketAddr),
}

/// The addresses on which the server listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Addresses {
    /// For clients.
    pub(crate) public: SocketAddr,
    /// For operators.
    pub(crate) admin: Option<SocketAddr>,
}

/// Why the server did not start, or did not run to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServeError {
    /// An address cannot be listened on.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The system refuses threads or event loops.
    #[error("the system refuses what the server needs: {0}")]
    System(#[from] io::Error),
    /// A core ended although no stop was requested.
    #[error("a core of the server failed; the log says why")]
    Core,
}

/// Serves until `stop` is ready, then drains. `make` creates each core's gateway on its thread;
/// `ready` gets the addresses.
///
/// # Errors
/// [`ServeError`].
pub(crate) fn run<P: Platform<Upstream = Backend>>(
    setup: &Setup,
    make: impl Fn(CoreParts) -> Gateway<P> + Sync,
    ready: impl FnOnce(Addresses),
    stop: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let workers = setup.workers.or_else(|| thread::available_parallelism().ok());
    let cores = workers.map_or(1, NonZeroUsize::get);
    let (files, backends) = (descriptors::raise(), setup.backends.count());
    let clients_max = descriptors::clients_max(files, cores, backends, &setup.config.backend);
    let limiter = ConnectionLimiter::new(&setup.config, clients_max.saturating_mul(cores));
    let public = listen::share(setup.listen, cores)?;
    let mut admin = admin_listener(setup.admin)?;
    let addresses = Addresses {
        public: public[0].local_addr()?,
        admin: admin.as_ref().map(std::net::TcpListener::local_addr).transpose()?,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (stopping, _) = watch::channel(false);

    thread::scope(|scope| {
        let mut cores = Vec::new();
        for (number, listener) in public.into_iter().enumerate() {
            let mut listeners = vec![(listener, Listener::Public)];
            listeners.extend(admin.take().map(|listener| (listener, Listener::Admin)));
            let core = CoreSetup {
                role: if number == 0 { CoreRole::Primary } else { CoreRole::Secondary },
                config: &setup.config,
                backends: setup.backends.clone(),
                clock: setup.clock.clone(),
                listeners,
                clients_max,
                limiter: Arc::clone(&limiter),
                stopping: stopping.subscribe(),
            };
            let (make, ending) = (&make, StopOnDrop(&stopping));
            let thread = thread::Builder::new().name(format!("core-{number}"));
            cores.push(thread.spawn_scoped(scope, move || {
                let _ending = ending;
                core::run(core, make)
            }));
        }
        let cores: Vec<_> = cores.into_iter().collect::<io::Result<_>>().inspect_err(|_| {
            stopping.send_replace(true);
        })?;
        ready(addresses);
        let asked = runtime.block_on(wait(stop, stopping.subscribe()));
        stopping.send_replace(true);
        let ended: Vec<_> = cores.into_iter().map(|core| core.join()).collect();
        for core in ended {
            core.map_err(|_panic| ServeError::Core)??;
        }
        if asked { Ok(()) } else { Err(ServeError::Core) }
    })
}

/// Whether a stop was requested; `false` if a core ended before.
async fn wait(stop: impl Future<Output = ()>, mut stopping: watch::Receiver<bool>) -> bool {
    let ended = std::pin::pin!(stopping.wait_for(|stop| *stop));
    matches!(select(std::pin::pin!(stop), ended).await, futures_util::future::Either::Left(_))
}

/// When a core ends, also by a panic, the others stop, too.
struct StopOnDrop<'a>(&'a watch::Sender<bool>);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.send_replace(true);
    }
}

fn admin_listener(admin: AdminListen) -> Result<Option<std::net::TcpListener>, ListenError> {
    let at = |address| listen::share(address, 1).map(|mut sockets| sockets.pop());
    match admin {
        AdminListen::At(address) => at(address),
        AdminListen::Default(address) => Ok(at(address).unwrap_or_else(|error| {
            tracing::warn!(
                %error,
                "could not start the admin listener; choose another address with --admin-listen",
            );
            None
        })),
    }
}

/// Ready when the process gets SIGTERM or SIGINT (Ctrl-C).
///
/// # Panics
/// If the system refuses signal handlers, which does not happen to ordinary processes.
pub(crate) async fn stop_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let handler = |kind| signal(kind).expect("signal handlers can be installed");
    let (mut terminate, mut interrupt) =
        (handler(SignalKind::terminate()), handler(SignalKind::interrupt()));
    select(std::pin::pin!(terminate.recv()), std::pin::pin!(interrupt.recv())).await;
}
