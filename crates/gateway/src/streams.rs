//! Answers without an end (event streams, WebSockets) end when their caller may call no more.
//!
//! The problem: a key is judged when a request begins, and such an answer goes on for hours. So every
//! open one is judged again each `keys.stream_check_ms`, by what the directory says then: one read
//! for each key and each organization with open streams, however many streams they have. A stream
//! whose caller would be refused by now is ended, which its audit log notes.
//!
//! Invariant (I5): a stream ends within 10 s after its key was revoked or its organization suspended,
//! on whichever node, while the store answers. While it does not, streams go on for
//! `keys.max_stale_secs` after they were verified last, as requests do.
//!
//! Natively a job judges ([`Job::Streams`]) and wakes those that end. At the edge nothing runs by
//! itself, so each stream waits and looks: the first one whose time has come judges all of its
//! isolate, and none wakes another one, since each belongs to a request of its own.
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

/// Reads of the directory that run at a time.
const READS_MAX: usize = 8;
/// At the edge a stream looks so many times in an interval.
const EDGE_LOOKS: u32 = 2;
/// The audit row's outcome of a stream whose caller could not be verified any more.
const UNVERIFIED: &str = "store-unavailable";

/// The open streams of a process, or of an isolate.
#[derive(Default)]
pub(crate) struct Streams(Mutex<Registered>);

#[derive(Default)]
struct Registered {
    next: u64,
    open: BTreeMap<u64, Arc<Open>>,
}

/// One open stream: who it belongs to, and whether it has to end.
struct Open {
    key: KeyId,
    organization: OrganizationId,
    key_text: Arc<str>,
    request_id: Arc<str>,
    route: Arc<Route>,
    ip: IpAddr,
    verified_at_micros: AtomicI64,
    over: AtomicBool,
    ended: Event,
}

/// Removes a stream when it has ended, however it did.
struct Registration {
    streams: Arc<crate::shared::Shared>,
    number: u64,
    open: Arc<Open>,
}

/// What the directory says now.
struct Said {
    keys: BTreeMap<KeyId, Result<Option<KeyRecord>, Fault>>,
    organizations: BTreeMap<OrganizationId, Result<Option<Organization>, Fault>>,
}

/// What becomes of a stream.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// Its caller may call.
    Verified,
    /// That is not known.
    Unknown,
    /// It ends, for this reason.
    Over(&'static str),
}

/// Ready when the stream of this call has to end.
pub(crate) fn over<P: Platform>(
    gateway: &Gateway<P>,
    call: &Rc<Call>,
) -> impl Future<Output = ()> + 'static + use<P> {
    let (gateway, registration) = (gateway.clone(), Registration::new(gateway, call));
    async move {
        if P::LEDGER == LedgerKind::Leases {
            return registration.open.ended().await;
        }
        let interval = gateway.shared.stream_check();
        while !registration.open.over.load(Ordering::Acquire) {
            gateway.background.wait(interval / EDGE_LOOKS).await;
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
            over: AtomicBool::new(false),
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

    /// Those that have not been told to end.
    fn open(&self) -> Vec<Arc<Open>> {
        let registered = self.registered();
        let open = registered.open.values().filter(|open| !open.over.load(Ordering::Acquire));
        open.cloned().collect()
    }
}

impl Open {
    async fn ended(&self) {
        loop {
            let told = self.ended.listen();
            if self.over.load(Ordering::Acquire) {
                return;
            }
            told.await;
        }
    }

    /// The row of a stream that is ended.
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
    /// Judges every open stream, and ends those whose caller may call no more.
    pub(crate) async fn check_streams(&self) {
        let open = self.shared.streams.open();
        if open.is_empty() {
            return;
        }
        let said = self.ask_about(&open).await;
        let now = self.clock.now();
        for stream in open {
            match self.judge(&stream, &said, now) {
                Verdict::Verified => {
                    stream.verified_at_micros.store(now.micros(), Ordering::Relaxed);
                }
                Verdict::Unknown => {}
                Verdict::Over(reason) => {
                    let row = stream.audit(now, reason);
                    self.shared.audit.push(stream.organization, row);
                    stream.over.store(true, Ordering::Release);
                    stream.ended.notify(usize::MAX);
                }
            }
        }
    }

    async fn ask_about(&self, open: &[Arc<Open>]) -> Said {
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
        Said { keys, organizations }
    }

    fn judge(&self, stream: &Open, said: &Said, now: Timestamp) -> Verdict {
        let (key, organization) =
            (said.keys.get(&stream.key), said.organizations.get(&stream.organization));
        let verdict = match (key, organization) {
            (Some(Ok(key)), Some(Ok(organization))) => {
                let config = &self.shared.config;
                match refusal(stream, key.as_ref(), organization.as_ref(), config, now) {
                    None => Verdict::Verified,
                    Some(code) => Verdict::Over(code),
                }
            }
            _ => Verdict::Unknown,
        };
        let verified = Timestamp::from_micros(stream.verified_at_micros.load(Ordering::Relaxed));
        let stale_max = Duration::from_secs(self.shared.config.keys.max_stale_secs);
        match verdict {
            Verdict::Unknown if now.since(verified) > stale_max => Verdict::Over(UNVERIFIED),
            verdict => verdict,
        }
    }
}

/// Why a request like the one that began the stream would be refused now.
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
