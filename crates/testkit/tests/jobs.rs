//! Jobs in virtual time: each has its own interval, and none waits for another.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use driftlock_domain::audit::{AuditEntry, AuditHead, AuditRecord};
use driftlock_domain::cell::{Admitted, Charge, Hold};
use driftlock_domain::config::Config;
use driftlock_domain::denial::Fault;
use driftlock_domain::id::{NodeId, OrganizationId, UsageId};
use driftlock_domain::idempotency::{IdempotencyKey, Kept};
use driftlock_domain::key::{KeyRecord, PresentedKey};
use driftlock_domain::lease::Sharing;
use driftlock_domain::ledger_host::LedgerKind;
use driftlock_domain::period::Period;
use driftlock_domain::receipt::Receipt;
use driftlock_domain::time::Timestamp;
use driftlock_domain::usage::{Grouping, Settled, Settlement, UsageSummary};
use driftlock_gateway::memory::MemoryStore;
use driftlock_gateway::ports::{
    Admission, AuditLog, Background, Clock, Directory, Platform, Refusal, UsageRecords,
};
use driftlock_gateway::{AdminTokens, Gateway, Listener, Parts, Secrets, Shared};
use driftlock_testkit::clock::VirtualClock;
use driftlock_testkit::make::{audit, key, node, now, organization, organization_id};
use driftlock_testkit::sim::{Echo, Seeded, ToDouble, config, run, run_for};
use driftlock_testkit::stripe::StripeDouble;
use futures_util::future::LocalBoxFuture;
use futures_util::task::noop_waker_ref;
use http::Request;

const TOKEN: &str = "an-admin-token-for-tests-0123456789abcdef";

/// An audit log that takes rows only while it is open.
#[derive(Clone)]
struct Gate {
    store: MemoryStore,
    open: Rc<Cell<bool>>,
    writes: Rc<Cell<u32>>,
}

impl AuditLog for Gate {
    async fn append(&self, records: Vec<(OrganizationId, AuditRecord)>) -> Result<(), Fault> {
        self.writes.set(self.writes.get() + 1);
        poll_fn(|_| if self.open.get() { Poll::Ready(()) } else { Poll::Pending }).await;
        self.store.append(records).await
    }

    async fn entries(
        &self,
        organization: OrganizationId,
        after: u64,
        limit: usize,
    ) -> Result<Vec<AuditEntry>, Fault> {
        self.store.entries(organization, after, limit).await
    }

    async fn head(&self, organization: OrganizationId) -> Result<AuditHead, Fault> {
        self.store.head(organization).await
    }

    async fn checkpoint(&self, organization: OrganizationId) -> Result<AuditHead, Fault> {
        self.store.checkpoint(organization).await
    }

    async fn prune(
        &self,
        organization: OrganizationId,
        before: Timestamp,
        now: Timestamp,
    ) -> Result<u64, Fault> {
        self.store.prune(organization, before, now).await
    }
}

/// Cells that count how often their leases are renewed.
#[derive(Clone, Default)]
struct Tended(Rc<Cell<u32>>);

impl Admission for Tended {
    async fn admit(&self, _: OrganizationId, _: &Charge) -> Result<Admitted, Refusal> {
        Err(Refusal::Fault(Fault::store("no request is admitted here")))
    }

    async fn settle(&self, _: Settlement) -> Result<Settled, Fault> {
        Err(Fault::store("nothing is settled here"))
    }

    fn release(&self, _: OrganizationId, _: Hold, _: Option<IdempotencyKey>) {}

    fn finish(&self, _: OrganizationId, _: IdempotencyKey, _: UsageId) {}

    async fn tend(&self) -> Result<(), Fault> {
        self.0.set(self.0.get() + 1);
        Ok(())
    }

    fn node(&self) -> NodeId {
        node(1)
    }
}

/// Expired records, which are purged in portions.
#[derive(Clone, Default)]
struct Expired(Rc<Cell<u64>>);

const PORTION: u64 = 256;

impl UsageRecords for Expired {
    async fn usage(
        &self,
        _: OrganizationId,
        _: Timestamp,
        _: Period,
        _: Grouping,
    ) -> Result<Option<UsageSummary>, Fault> {
        Ok(None)
    }

    async fn receipt(&self, _: UsageId) -> Result<Option<Receipt>, Fault> {
        Ok(None)
    }

    async fn kept(
        &self,
        _: OrganizationId,
        _: &IdempotencyKey,
        _: Timestamp,
    ) -> Result<Option<Kept>, Fault> {
        Ok(None)
    }

    async fn purge_kept(&self, _: Timestamp) -> Result<u64, Fault> {
        let portion = self.0.get().min(PORTION);
        self.0.set(self.0.get() - portion);
        Ok(portion)
    }
}

/// Work that continues one step when the test says so.
#[derive(Clone, Default)]
struct Tasks(Rc<RefCell<Vec<LocalBoxFuture<'static, ()>>>>);

impl Background for Tasks {
    fn spawn(&self, work: impl Future<Output = ()> + 'static) {
        self.0.borrow_mut().push(Box::pin(work));
    }

    async fn wait(&self, _: Duration) {}
}

impl Tasks {
    fn step(&self) {
        let mut context = Context::from_waker(noop_waker_ref());
        let mut tasks = self.0.take();
        tasks.retain_mut(|task| task.as_mut().poll(&mut context).is_pending());
        self.0.borrow_mut().append(&mut tasks);
    }
}

struct Slow;

impl Platform for Slow {
    const LEDGER: LedgerKind = LedgerKind::Leases;
    type Directory = MemoryStore;
    type Admission = Tended;
    type Usage = Expired;
    type Audit = Gate;
    type Inbox = MemoryStore;
    type Reports = MemoryStore;
    type Alerts = MemoryStore;
    type Http = ToDouble;
    type Upstream = Echo;
    type Clock = VirtualClock;
    type Entropy = Seeded;
    type Background = Tasks;
}

struct World {
    gateway: Gateway<Slow>,
    clock: VirtualClock,
    tasks: Tasks,
    audit: Gate,
    tended: Tended,
    expired: Expired,
}

/// A gateway with one organization and one revoked key.
fn world(config: &Config) -> World {
    let (clock, store) = (VirtualClock::at(now()), MemoryStore::new(Sharing::Whole));
    run(store.create_organization(&organization(1), audit("organization.create"))).expect("made");
    let (record, _) = key(1, 1);
    let revoked = KeyRecord { revoked_at: Some(now()), ..record };
    let hash = PresentedKey::parse(request("/").headers()).expect("a key");
    run(store.create_key(&revoked, &hash.hash(), audit("key.create"))).expect("made");
    let gate = Gate { store: store.clone(), open: Rc::default(), writes: Rc::default() };
    let (tasks, tended, expired) = (Tasks::default(), Tended::default(), Expired::default());
    let tokens = AdminTokens::parse(TOKEN).expect("it is long enough");
    let secrets = Secrets { admin_tokens: tokens, ..Secrets::default() };
    let of_double = clock.clone();
    let routes = config.route_table().expect("it is valid");
    let gateway = Gateway::new(Parts {
        shared: Shared::new(config.clone(), routes, secrets),
        directory: store.clone(),
        admission: tended.clone(),
        usage: expired.clone(),
        audit: gate.clone(),
        inbox: store.clone(),
        reports: store.clone(),
        alerts: store,
        http: ToDouble(StripeDouble::new(1, move || of_double.now())),
        upstream: Echo,
        clock: clock.clone(),
        entropy: Seeded::default(),
        background: tasks.clone(),
    });
    World { gateway, clock, tasks, audit: gate, tended, expired }
}

fn request(path: &str) -> Request<Bytes> {
    let bearer = if path.starts_with("/admin/") { TOKEN } else { "a-customers-key" };
    Request::get(path)
        .header("host", "gateway")
        .header("authorization", format!("Bearer {bearer}"))
        .body(Bytes::new())
        .expect("a request")
}

impl World {
    /// A refused request, with an audit record that waits to be written.
    fn denied(&self) {
        let peer = std::net::Ipv4Addr::new(192, 0, 2, 1).into();
        let handled = self.gateway.handle(request("/api/v1/anomalies"), peer, Listener::Public);
        assert_eq!(run(handled).status(), 401);
    }

    /// Lets time pass, and runs due jobs like a host.
    fn pass(&self, time: Duration) {
        let until = self.clock.now().plus(time);
        while self.clock.now() < until {
            let wait = self.gateway.tick();
            self.tasks.step();
            self.clock.advance(wait);
        }
    }

    fn rows(&self) -> Vec<AuditEntry> {
        let rows = run(self.audit.entries(organization_id(1), 0, 100)).expect("read");
        rows.into_iter().filter(|row| &*row.record.action == "request").collect()
    }
}

#[test]
fn a_slow_audit_log_delays_no_lease_and_is_not_asked_twice() {
    let world = world(&config());
    world.denied();
    world.pass(Duration::from_secs(2));
    assert!(world.tended.0.get() >= 20, "{} in two seconds", world.tended.0.get());
    assert_eq!(world.audit.writes.get(), 1, "one write at a time");
    assert!(world.rows().is_empty());
    world.audit.open.set(true);
    world.pass(Duration::from_millis(100));
    assert_eq!(world.rows().len(), 1);
}

#[test]
fn how_often_rows_are_written_changes_no_other_job() {
    for flush_ms in [1, 100, 10_000] {
        let mut config = config();
        config.audit.flush_ms = flush_ms;
        let world = world(&config);
        world.audit.open.set(true);
        world.pass(Duration::from_secs(1));
        world.denied();
        world.pass(Duration::from_millis(200));
        assert_eq!(world.rows().len(), usize::from(flush_ms <= 100), "{flush_ms}");
        let rate = f64::from(world.tended.0.get()) / 1.2;
        assert!((9.0..12.0).contains(&rate), "{flush_ms}: leases {rate} times a second");
        world.pass(Duration::from_secs(10));
        assert_eq!(world.rows().len(), 1, "{flush_ms}");
    }
}

#[test]
fn rows_outlive_the_reader_whose_request_took_them_off_the_queue() {
    let world = world(&config());
    for page in ["", "/export", "/verify"] {
        world.audit.open.set(false);
        let before = world.rows().len();
        world.clock.advance(Duration::from_secs(11));
        world.denied();
        let path = format!("/admin/v1/organizations/{}/audit{page}", organization_id(1));
        let peer = std::net::Ipv4Addr::new(192, 0, 2, 1).into();
        let reading = world.gateway.handle(request(&path), peer, Listener::Public);
        assert!(run_for(5, reading).is_none(), "it waits for the write, and the reader leaves");
        world.audit.open.set(true);
        world.tasks.step();
        assert_eq!(world.rows().len(), before + 1, "{page}");
    }
}

#[test]
fn all_that_expired_is_purged_in_portions() {
    let world = world(&config());
    world.expired.0.set(40 * PORTION + 7);
    run(world.gateway.purge());
    assert_eq!(world.expired.0.get(), 0);
}
