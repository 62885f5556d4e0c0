//! The native host's choice of adapters: the embedded store, cells in memory, sockets.

use driftlock_gateway::ports::Platform;
use driftlock_gateway::{Gateway, LocalCells, Parts, Secrets, Shared};
use driftlock_sqlite::SqliteStore;

use super::background::NativeBackground;
use super::clock::NativeClock;
use super::entropy::NativeEntropy;
use super::http_client::NativeHttp;
use super::serve::{self, Addresses, ServeError, Setup};
use super::upstream::Backend;

/// See the module.
pub(crate) struct Native;

impl Platform for Native {
    type Directory = SqliteStore;
    type Admission = LocalCells<SqliteStore, NativeClock>;
    type Usage = SqliteStore;
    type Audit = SqliteStore;
    type Inbox = SqliteStore;
    type Reports = SqliteStore;
    type Alerts = SqliteStore;
    type Http = NativeHttp;
    type Upstream = Backend;
    type Clock = NativeClock;
    type Entropy = NativeEntropy;
    type Background = NativeBackground;
}

/// Serves over an open store until `stop` is ready, then drains; see [`serve::run`].
///
/// # Errors
/// [`ServeError`].
pub(crate) fn serve(
    setup: &Setup,
    store: &SqliteStore,
    secrets: Secrets,
    ready: impl FnOnce(Addresses),
    stop: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let routes = setup.config.route_table().expect("a validated configuration has a route table");
    let shared = Shared::new(setup.config.clone(), routes, secrets);
    let cells = LocalCells::new(store.clone(), setup.clock.clone(), store.node());
    let http = NativeHttp::new();
    let make = |core: super::core::CoreParts| {
        Gateway::<Native>::new(Parts {
            shared: shared.clone(),
            directory: store.clone(),
            admission: cells.clone(),
            usage: store.clone(),
            audit: store.clone(),
            inbox: store.clone(),
            reports: store.clone(),
            alerts: store.clone(),
            http: http.clone(),
            upstream: core.backend,
            clock: core.clock,
            entropy: NativeEntropy,
            background: core.background,
        })
    };
    serve::run(setup, make, ready, stop)
}
