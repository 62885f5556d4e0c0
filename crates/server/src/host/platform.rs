//! The native host's adapters: a store, cells in memory, a fleet's rate limits, sockets.

use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::Arc;

use driftlock_domain::denial::Fault;
use driftlock_domain::entitlement::Terms;
use driftlock_domain::id::NodeId;
use driftlock_domain::ledger_host::LedgerKind;
use driftlock_domain::time::Timestamp;
use driftlock_domain::usage::{Settled, Settlement};
use driftlock_gateway::ports::{
    Alerts, AuditLog, Clock, Directory, EventInbox, Ledger, Platform, UsageRecords, UsageReports,
    id_entropy,
};
use driftlock_gateway::{FleetCells, Gateway, LocalCells, Parts, Secrets, Shared};
use driftlock_postgres::{Change, PostgresStore};
use driftlock_redis::{FleetRedis, Lane};
use driftlock_sqlite::SqliteStore;
use futures_util::future::{Either, select};

use super::background::NativeBackground;
use super::clock::NativeClock;
use super::entropy::NativeEntropy;
use super::http_client::{self, NativeHttp};
use super::journal::{Journal, Outage};
use super::serve::{self, Addresses, ServeError, Setup};
use super::upstream::Backend;

/// A store that implements all ports, with the functions in which stores differ.
pub(crate) trait NativeStore:
    Directory
    + Ledger
    + UsageRecords
    + AuditLog
    + EventInbox
    + UsageReports
    + Alerts
    + Clone
    + Send
    + Sync
    + 'static
{
    /// The node id under which this process holds leases.
    fn node(&self, clock: &NativeClock) -> NodeId;
    /// Passes changes that other processes make to `shared`.
    fn follow(&self, shared: &Arc<Shared>, clock: &NativeClock);
}

/// A store that several processes share and that may be unreachable.
pub(crate) trait SharedStore: NativeStore {
    /// Settles a request that was acknowledged during an outage, under terms without a cap.
    async fn settle_late(
        &self,
        settlement: &Settlement,
        terms: Terms,
        now: Timestamp,
    ) -> Result<Settled, Fault>;
}

impl NativeStore for SqliteStore {
    /// Only one process at a time uses the file, so after a crash it holds its earlier leases
    /// again.
    fn node(&self, _clock: &NativeClock) -> NodeId {
        Self::node(self)
    }

    fn follow(&self, _shared: &Arc<Shared>, _clock: &NativeClock) {}
}

impl NativeStore for PostgresStore {
    /// A restarted process does not know the leases of the earlier process; those expire.
    fn node(&self, clock: &NativeClock) -> NodeId {
        NodeId::make(clock.now(), id_entropy(&NativeEntropy))
    }

    fn follow(&self, shared: &Arc<Shared>, clock: &NativeClock) {
        let (shared, clock) = (Arc::clone(shared), clock.clone());
        self.caller().watch(move |change| forget(&shared, &clock, change));
    }
}

/// Drops cached records that another process changed.
pub(super) fn forget(shared: &Shared, clock: &NativeClock, change: Change) {
    match change {
        Change::Key(hash) => shared.key_changed(&hash),
        Change::Organization(id) => shared.organization_changed(id),
        Change::Everything => shared.all_changed(),
        Change::NothingElse(at) => shared.confirm_all(clock.now().minus(at.elapsed())),
    }
}

impl SharedStore for PostgresStore {
    async fn settle_late(
        &self,
        settlement: &Settlement,
        terms: Terms,
        now: Timestamp,
    ) -> Result<Settled, Fault> {
        Self::settle_late(self, settlement, terms, now).await
    }
}

/// The native platform over the store `S`.
pub(crate) struct Native<S>(PhantomData<S>);

impl<S: NativeStore> Platform for Native<S> {
    const LEDGER: LedgerKind = LedgerKind::Leases;
    type Directory = S;
    type Admission = FleetCells<Outage<S>, NativeClock, Lane>;
    type Usage = S;
    type Audit = S;
    type Inbox = S;
    type Reports = S;
    type Alerts = S;
    type Http = NativeHttp;
    type Upstream = Backend;
    type Clock = NativeClock;
    type Entropy = NativeEntropy;
    type Background = NativeBackground;
}

/// Serves with an open store until `stop` is ready, then drains; see [`serve::run`]. With a
/// journal, some metered requests are served while the store is unreachable. When the clock must go
/// back, the function drains and serves again.
///
/// # Errors
/// [`ServeError`].
pub(crate) fn serve<S: NativeStore>(
    setup: &Setup,
    store: &S,
    journal: Option<Journal>,
    secrets: Secrets,
    mut ready: impl FnMut(Addresses),
    stop: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let ledger = Outage::new(store.clone(), journal);
    let mut stop = std::pin::pin!(stop);
    loop {
        let must_go_back = Cell::new(false);
        let until = async {
            let clock = std::pin::pin!(setup.clock.must_go_back());
            let ended = select(stop.as_mut(), clock).await;
            must_go_back.set(matches!(ended, Either::Right(_)));
        };
        serve_once(setup, store, ledger.clone(), secrets.clone(), &mut ready, until)?;
        if !must_go_back.get() {
            return Ok(());
        }
        setup.clock.go_back();
    }
}

/// Serves until `stop` is ready. All state that contains times is dropped at its end, so that the
/// clock may go back before the next call.
fn serve_once<S: NativeStore>(
    setup: &Setup,
    store: &S,
    ledger: Outage<S>,
    secrets: Secrets,
    ready: impl FnOnce(Addresses),
    stop: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let routes = setup.config.route_table().expect("a validated configuration has a route table");
    let shared = Shared::new(setup.config.clone(), routes, secrets);
    store.follow(&shared, &setup.clock);
    if let Some(gauges) = ledger.gauges() {
        shared.show_journal(gauges);
    }
    let cells = LocalCells::new(ledger, setup.clock.clone(), store.node(&setup.clock));
    if let Some(fleet) = &setup.fleet {
        shared.show_fleet(fleet.gauges());
    }
    let lane = |fleet: &FleetRedis| (fleet.lane(), fleet.gauges());
    let http = NativeHttp::new(http_client::STRIPE);
    let make = |core: super::core::CoreParts| {
        Gateway::<Native<S>>::new(Parts {
            shared: shared.clone(),
            directory: store.clone(),
            admission: FleetCells::new(cells.clone(), setup.fleet.as_ref().map(lane)),
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
