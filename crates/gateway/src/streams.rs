//! Ends open streams (event streams, WebSockets) when their caller may no longer call.
//!
//! The problem: a key is checked when a request begins, but a stream can last for hours. So every
//! open stream is checked again each `keys.stream_check_ms` against the directory: one read for
//! each key and each organization with open streams, however many streams they have. If the caller
//! would be refused now, the stream is ended and an audit entry is written.
//!
//! Invariant (I5): while the store answers, a stream ends within 10 s after its key was revoked or
//! its organization suspended, on every node. While the store does not answer, a stream continues
//! for `keys.max_stale_secs` after its last successful check, as cached keys do.
//!
//! On the native server a job checks the streams ([`Job::Streams`]) and wakes those that must end.
//! At the edge there is no such job, so each stream polls: the first one that finds the check due
//! checks all streams of its isolate. Streams cannot wake each other there, since each belongs to a
//! different request.
//!
//! [`Job::Streams`]: crate::schedule::Job::Streams

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use driftlock_domain::audit::AuditRecord;
use driftlock_domain::config::Config;
use driftlock_domain::denial::{Denial, Fault};
use driftlock_domain::entitlement::decide;
use driftlock_domain::id::{KeyId, OrganizationId};
use driftlock_domain::key::KeyRecord;
use driftlock_domain::ledger_host::LedgerKind;
use driftlock_domain::organization::Organization;
use driftlock_domain::route::Route;
use driftlock_domain::text;
use driftlock_domain::time::Timestamp;
use event_listener::Event;
use futures_util::{StreamExt, stream};
use serde_json::json;

use crate::gateway::Gateway;
use crate::ports::{Background, Clock, Directory, Platform};
use crate::proxy::Call;
use crate::schedule::Job;

/// Directory reads that run at a time.
const READS_MAX: usize = 8;
/// How often a stream at the edge polls in each interval.
const EDGE_POLLS: u32 = 2;
/// The reason in the audit row of a stream that ended because its caller could not be verified.
const UNVERIFIED: &str = "store-unavailable";

/// The open streams of a process, or of an isolate.
#[derive(Default)]
pub(crate) struct Streams(Mutex<Registered>);

#[derive(Default)]
struct Registered {
    next: u64,
    open: BTreeMap<u64, Arc<Open>>,
}

/// One open stream: its caller, and whether it has to end.
struct Open {
    key: KeyId,
    organization: OrganizationId,
    key_text: Arc<str>,
    request_id: Arc<str>,
    route: Arc<Route>,
    ip: IpAddr,
    verified_at_micros: AtomicI64,
    must_end: AtomicBool,
    ended: Event,
}

/// Removes a stream from the open ones when it ends, for whatever reason.
struct Registration {
    streams: Arc<crate::shared::Shared>,
    number: u64,
    open: Arc<Open>,
}

/// The keys and organizations of open streams, as the directory has them now.
struct DirectoryState {
    keys: BTreeMap<KeyId, Result<Option<KeyRecord>, Fault>>,
    organizations: BTreeMap<OrganizationId, Result<Option<Organization>, Fault>>,
}

/// The result of checking a stream.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// The caller may still call.
    Verified,
    /// The store did not answer.
    Unknown,
    /// The stream has to end, for this reason.
    MustEnd(&'static str),
}

/// A future that is ready when the stream of this call has to end.
pub(crate) fn must_end<P: Platform>(
    gateway: &Gateway<P>,
    call: &Rc<Call>,
) -> impl Future<Output = ()> + 'static + use<P> {
    let (gateway, registration) = (gateway.clone(), Registration::new(gateway, call));
    async move {
        if P::LEDGER == LedgerKind::Leases {
            return registration.open.ended().await;
        }
        let interval = gateway.shared.stream_check();
        while !registration.open.must_end.load(Ordering::Acquire) {
            gateway.background.wait(interval / EDGE_POLLS).await;
            let now = gateway.clock.now();
            if gateway.shared.schedule.is_due(Job::Streams, interval, now) {
                gateway.check_streams().await;
            }
        }
    }
}

impl Registration {
    fn new<P: Platform>(gateway: &Gateway<P>, call: &Call) -> Self {
        let open = Arc::new(Open {
            key: call.key.record.id,
            organization: call.organization(),
            key_text: Arc::clone(&call.key.id),
            request_id: Arc::clone(&call.id.text),
            route: Arc::clone(&call.route),
            ip: call.ip,
            verified_at_micros: AtomicI64::new(call.at.micros()),
            must_end: AtomicBool::new(false),
            ended: Event::new(),
        });
        let mut registered = gateway.shared.streams.registered();
        let number = registered.next;
        registered.next += 1;
        registered.open.insert(number, Arc::clone(&open));
        drop(registered);
        Self { streams: Arc::clone(&gateway.shared), number, open }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.streams.streams.registered().open.remove(&self.number);
    }
}

impl Streams {
    fn registered(&self) -> MutexGuard<'_, Registered> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The streams that do not have to end yet.
    fn open(&self) -> Vec<Arc<Open>> {
        let registered = self.registered();
        let open = registered.open.values().filter(|open| !open.must_end.load(Ordering::Acquire));
        open.cloned().collect()
    }
}

impl Open {
    async fn ended(&self) {
        loop {
            let ended = self.ended.listen();
            if self.must_end.load(Ordering::Acquire) {
                return;
            }
            ended.await;
        }
    }

    /// The audit row of a stream that is ended.
    fn audit(&self, at: Timestamp, reason: &str) -> AuditRecord {
        AuditRecord {
            at,
            actor: Arc::clone(&self.key_text),
            action: "request.body".into(),
            resource: Arc::clone(&self.route.label),
            outcome: "ended".into(),
            request_id: Arc::clone(&self.request_id),
            ip: text::ip(self.ip).as_str().into(),
            details: json!({ "reason": reason }).to_string().into(),
        }
    }
}

impl<P: Platform> Gateway<P> {
    /// Checks every open stream, and ends those whose caller may no longer call.
    pub(crate) async fn check_streams(&self) {
        let open = self.shared.streams.open();
        if open.is_empty() {
            return;
        }
        let state = self.ask_about(&open).await;
        let now = self.clock.now();
        for stream in open {
            match self.check(&stream, &state, now) {
                Verdict::Verified => {
                    stream.verified_at_micros.store(now.micros(), Ordering::Relaxed);
                }
                Verdict::Unknown => {}
                Verdict::MustEnd(reason) => {
                    let row = stream.audit(now, reason);
                    self.shared.audit.push(stream.organization, row);
                    stream.must_end.store(true, Ordering::Release);
                    stream.ended.notify(usize::MAX);
                }
            }
        }
    }

    async fn ask_about(&self, open: &[Arc<Open>]) -> DirectoryState {
        let keys: BTreeSet<KeyId> = open.iter().map(|stream| stream.key).collect();
        let organizations: BTreeSet<OrganizationId> =
            open.iter().map(|stream| stream.organization).collect();
        let keys = stream::iter(keys)
            .map(async |id| (id, self.directory.key(id).await))
            .buffer_unordered(READS_MAX)
            .collect()
            .await;
        let organizations = stream::iter(organizations)
            .map(async |id| (id, self.directory.organization(id).await))
            .buffer_unordered(READS_MAX)
            .collect()
            .await;
        DirectoryState { keys, organizations }
    }

    fn check(&self, stream: &Open, state: &DirectoryState, now: Timestamp) -> Verdict {
        let (key, organization) =
            (state.keys.get(&stream.key), state.organizations.get(&stream.organization));
        let verdict = match (key, organization) {
            (Some(Ok(key)), Some(Ok(organization))) => {
                let config = &self.shared.config;
                match refusal(stream, key.as_ref(), organization.as_ref(), config, now) {
                    None => Verdict::Verified,
                    Some(code) => Verdict::MustEnd(code),
                }
            }
            _ => Verdict::Unknown,
        };
        let verified = Timestamp::from_micros(stream.verified_at_micros.load(Ordering::Relaxed));
        let stale_max = Duration::from_secs(self.shared.config.keys.max_stale_secs);
        match verdict {
            Verdict::Unknown if now.since(verified) > stale_max => Verdict::MustEnd(UNVERIFIED),
            verdict => verdict,
        }
    }
}

/// Why the request that began the stream would be refused now; `None` if it would not be.
fn refusal(
    stream: &Open,
    key: Option<&KeyRecord>,
    organization: Option<&Organization>,
    config: &Config,
    now: Timestamp,
) -> Option<&'static str> {
    let (Some(key), Some(organization)) = (key, organization) else {
        return Some(Denial::KeyUnknown.code());
    };
    if let Err(denial) = key.check(now, stream.ip, stream.route.scope.as_deref()) {
        return Some(Denial::from(denial).code());
    }
    if !stream.route.needs_subscription {
        return None;
    }
    let decision = decide(organization, config, now);
    decision.verdict.err().map(|denial| Denial::from(denial).code())
}
