//! Periodic checks of open streams, in virtual time: when streams end, and what the checks cost.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use driftlock_domain::audit::AuditRecord;
use driftlock_domain::config::Config;
use driftlock_domain::denial::Fault;
use driftlock_domain::id::{KeyId, OrganizationId};
use driftlock_domain::key::{ApiKeySecret, KeyHash, KeyRecord};
use driftlock_domain::lease::Sharing;
use driftlock_domain::ledger_host::LedgerKind;
use driftlock_domain::organization::{Organization, OrganizationPatch, OrganizationStatus};
use driftlock_domain::route::Route;
use driftlock_domain::time::Timestamp;
use driftlock_gateway::memory::MemoryStore;
use driftlock_gateway::ports::{
    AuditLog, BodyEnd, Clock, Collected, Directory, Page, Platform, Refusal, SendError, Upstream,
};
use driftlock_gateway::{Buffers, Gateway, Listener, LocalCells, Parts, Secrets, Shared};
use driftlock_testkit::clock::VirtualClock;
use driftlock_testkit::make::{audit, key, node, now, organization, organization_id};
use driftlock_testkit::sim::{Later, Seeded, ToDouble, config, run};
use driftlock_testkit::stripe::StripeDouble;
use futures_util::Stream;
use futures_util::future::LocalBoxFuture;
use futures_util::task::noop_waker_ref;
use http::{Request, Response};

/// A directory that counts reads and can be made unavailable.
#[derive(Clone)]
struct Counted {
    store: MemoryStore,
    reads: Rc<RefCell<Vec<String>>>,
    away: Rc<Cell<bool>>,
}

impl Counted {
    fn read(&self, what: String) -> Result<(), Fault> {
        self.reads.borrow_mut().push(what);
        if self.away.get() { Err(Fault::store("the directory is away")) } else { Ok(()) }
    }
}

impl Directory for Counted {
    async fn key_by_hash(&self, hash: &KeyHash) -> Result<Option<KeyRecord>, Fault> {
        self.store.key_by_hash(hash).await
    }

    async fn key(&self, id: KeyId) -> Result<Option<KeyRecord>, Fault> {
        self.read(id.to_string())?;
        self.store.key(id).await
    }

    async fn organization(&self, id: OrganizationId) -> Result<Option<Organization>, Fault> {
        self.read(id.to_string())?;
        self.store.organization(id).await
    }

    async fn organizations(&self, page: Page<OrganizationId>) -> Result<Vec<Organization>, Fault> {
        self.store.organizations(page).await
    }

    async fn create_organization(&self, of: &Organization, row: AuditRecord) -> Result<(), Fault> {
        self.store.create_organization(of, row).await
    }

    async fn patch_organization(
        &self,
        id: OrganizationId,
        patch: OrganizationPatch,
        row: AuditRecord,
    ) -> Result<Option<Organization>, Fault> {
        self.store.patch_organization(id, patch, row).await
    }

    async fn keys(&self, of: OrganizationId, page: Page<KeyId>) -> Result<Vec<KeyRecord>, Fault> {
        self.store.keys(of, page).await
    }

    async fn create_key(
        &self,
        key: &KeyRecord,
        hash: &KeyHash,
        row: AuditRecord,
    ) -> Result<(), Fault> {
        self.store.create_key(key, hash, row).await
    }

    async fn revoke_key(
        &self,
        id: KeyId,
        at: Timestamp,
        row: AuditRecord,
    ) -> Result<Option<KeyRecord>, Fault> {
        self.store.revoke_key(id, at, row).await
    }

    async fn rotate_key(
        &self,
        id: KeyId,
        successor: &KeyRecord,
        hash: &KeyHash,
        revoke_at: Timestamp,
        row: AuditRecord,
    ) -> Result<Option<KeyRecord>, Fault> {
        self.store.rotate_key(id, successor, hash, revoke_at, row).await
    }

    async fn touch_keys(&self, used: &[(KeyId, Timestamp)]) -> Result<(), Fault> {
        self.store.touch_keys(used).await
    }
}

/// A backend with answers that never end.
struct Endless;

/// An answer: its bytes, or what ends it.
enum Body {
    Full,
    Open(LocalBoxFuture<'static, ()>),
}

impl Body {
    fn is_over(&mut self) -> bool {
        let mut context = Context::from_waker(noop_waker_ref());
        match self {
            Self::Full => true,
            Self::Open(over) => over.as_mut().poll(&mut context) == Poll::Ready(()),
        }
    }
}

impl Upstream for Endless {
    type RequestBody = Bytes;
    type ResponseBody = Body;

    async fn send(&self, _: Request<Bytes>, _: &Route) -> Result<Response<Body>, SendError> {
        Ok(Response::new(Body::Open(Box::pin(std::future::pending()))))
    }

    async fn collect(&self, body: Bytes, _: u64, _: &Arc<Buffers>) -> Result<Bytes, Refusal> {
        Ok(body)
    }

    fn request_body(bytes: Bytes) -> Bytes {
        bytes
    }

    fn limited(body: Bytes, _: u64) -> Bytes {
        body
    }

    fn response_body(_: Bytes) -> Body {
        Body::Full
    }

    fn stream_body(_: impl Stream<Item = Result<Bytes, Fault>> + 'static) -> Body {
        Body::Full
    }

    async fn collect_answer(
        &self,
        body: Body,
        _: usize,
        _: Duration,
        _: &Arc<Buffers>,
    ) -> Collected<Body> {
        Collected::Unfinished(body)
    }

    fn ended_by<F: Future<Output = ()> + 'static>(body: Body, over: impl FnOnce() -> F) -> Body {
        match body {
            Body::Full => Body::Full,
            Body::Open(_) => Body::Open(Box::pin(over())),
        }
    }

    fn watch(body: Body, _: Box<dyn FnOnce(BodyEnd)>) -> Body {
        body
    }
}

struct Streaming;

impl Platform for Streaming {
    const LEDGER: LedgerKind = LedgerKind::Leases;
    type Directory = Counted;
    type Admission = LocalCells<MemoryStore, VirtualClock>;
    type Usage = MemoryStore;
    type Audit = MemoryStore;
    type Inbox = MemoryStore;
    type Reports = MemoryStore;
    type Alerts = MemoryStore;
    type Http = ToDouble;
    type Upstream = Endless;
    type Clock = VirtualClock;
    type Entropy = Seeded;
    type Background = Later;
}

struct World {
    gateway: Gateway<Streaming>,
    directory: Counted,
    clock: VirtualClock,
    later: Later,
}

/// Two organizations with a key each.
fn world(config: &Config) -> World {
    let (clock, store) = (VirtualClock::at(now()), MemoryStore::new(Sharing::Whole));
    for number in [1, 2] {
        let made = organization(number);
        run(store.create_organization(&made, audit("organization.create"))).expect("made");
        let (record, _) = key(number, number);
        let record = KeyRecord { requests_per_minute: Some(100_000), ..record };
        run(store.create_key(&record, &secret(number).hash(), audit("key.create"))).expect("made");
    }
    let directory = Counted { store: store.clone(), reads: Rc::default(), away: Rc::default() };
    let (later, of_double) = (Later::default(), clock.clone());
    let routes = config.route_table().expect("it is valid");
    let gateway = Gateway::new(Parts {
        shared: Shared::new(config.clone(), routes, Secrets::default()),
        directory: directory.clone(),
        admission: LocalCells::new(store.clone(), clock.clone(), node(1)),
        usage: store.clone(),
        audit: store.clone(),
        inbox: store.clone(),
        reports: store.clone(),
        alerts: store,
        http: ToDouble(StripeDouble::new(1, move || of_double.now())),
        upstream: Endless,
        clock: clock.clone(),
        entropy: Seeded::default(),
        background: later.clone(),
    });
    World { gateway, directory, clock, later }
}

fn secret(number: u8) -> ApiKeySecret {
    ApiKeySecret::mint([number; 32])
}

impl World {
    fn open(&self, number: u8) -> Body {
        let request = Request::get("/api/v1/anomalies")
            .header("host", "gateway")
            .header("authorization", format!("Bearer {}", secret(number).expose()))
            .body(Bytes::new())
            .expect("a request");
        let peer = std::net::Ipv4Addr::new(192, 0, 2, 1).into();
        let answer = run(self.gateway.handle(request, peer, Listener::Public));
        assert_eq!(answer.status(), 200);
        answer.into_body()
    }

    /// Lets time pass, and runs due jobs like a host.
    fn pass(&self, time: Duration) {
        let until = self.clock.now().plus(time);
        while self.clock.now() < until {
            let wait = self.gateway.tick();
            self.later.finish();
            self.clock.advance(wait.min(until.since(self.clock.now())));
        }
        self.gateway.tick();
        self.later.finish();
    }

    fn revoke(&self, number: u8) {
        let (record, _) = key(number, number);
        let revoked = self.directory.revoke_key(record.id, self.clock.now(), audit("key.revoke"));
        run(revoked).expect("written").expect("there is one");
    }
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_stream_ends_within_ten_seconds_after_its_key_was_revoked_elsewhere() {
    for secs in 0..12 {
        let world = world(&config());
        let (mut revoked, mut other) = (world.open(1), world.open(2));
        world.pass(SECOND * secs);
        assert!(!revoked.is_over());
        // Another node revoked the key, and this one got no notification.
        world.revoke(1);
        world.pass(SECOND * 10);
        assert!(revoked.is_over(), "revoked after {secs} s");
        assert!(!other.is_over());
    }
}

#[test]
fn a_stream_ends_when_its_organization_is_suspended_or_its_key_expires() {
    let world = world(&config());
    let (mut suspended, mut other) = (world.open(1), world.open(2));
    let patch = OrganizationPatch {
        status: Some(OrganizationStatus::Suspended),
        ..OrganizationPatch::default()
    };
    let patched =
        world.directory.patch_organization(organization_id(1), patch, audit("organization.patch"));
    run(patched).expect("written").expect("there is one");
    world.pass(SECOND * 10);
    assert!(suspended.is_over() && !other.is_over());
    let store = world.directory.store.clone();
    let rows = run(store.entries(organization_id(1), 0, 100)).expect("read");
    let ended = rows.iter().find(|row| &*row.record.outcome == "ended").expect("a row");
    assert_eq!(&*ended.record.details, r#"{"reason":"subscription-inactive"}"#);
}

#[test]
fn a_check_is_one_read_a_key_and_an_organization_however_many_streams() {
    let world = world(&config());
    let open: Vec<Body> = (0..200).map(|n| world.open(1 + n % 2)).collect();
    world.pass(SECOND);
    world.directory.reads.borrow_mut().clear();
    world.pass(SECOND * 50);
    let reads = world.directory.reads.borrow().len();
    assert!((36..=44).contains(&reads), "{reads} in ten intervals of two keys, two organizations");
    drop(open);
    world.directory.reads.borrow_mut().clear();
    world.pass(SECOND * 50);
    assert_eq!(world.directory.reads.borrow().len(), 0, "streams that ended are not asked about");
}

#[test]
fn while_the_directory_is_away_streams_go_on_as_long_as_cached_keys_do() {
    let world = world(&config());
    let mut stream = world.open(1);
    world.pass(SECOND * 20);
    world.directory.away.set(true);
    world.pass(SECOND * 50);
    assert!(!stream.is_over());
    world.directory.away.set(false);
    world.pass(SECOND * 10);
    world.directory.away.set(true);
    world.pass(SECOND * 55);
    assert!(!stream.is_over(), "it was verified in between");
    world.pass(SECOND * 20);
    assert!(stream.is_over(), "not longer than keys.max_stale_secs");
}
