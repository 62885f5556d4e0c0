//! The state that all cores of one process share; on the Worker, the state of one isolate.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use driftlock_domain::address::Networks;
use driftlock_domain::config::Config;
use driftlock_domain::cors::Cors;
use driftlock_domain::headers::{ClientHeaders, HeaderNames};
use driftlock_domain::id::OrganizationId;
use driftlock_domain::key::KeyHash;
use driftlock_domain::organization::Organization;
use driftlock_domain::route::RouteTable;
use driftlock_domain::stripe::{api, signature};
use driftlock_domain::time::Timestamp;
use http::{HeaderName, HeaderValue};

use crate::admin_token::AdminTokens;
use crate::audit::AuditQueue;
use crate::buffers::Buffers;
use crate::cache::{Ages, Cache};
use crate::health::Readiness;
use crate::keys::{CachedKey, TouchedKeys};
use crate::lookups::Lookups;
use crate::metrics::{FleetGauges, Gauges, JournalGauges};
use crate::schedule::Schedule;
use crate::shield::{Shield, Shields};
use crate::single_source::SingleSource;
use crate::streams::Streams;
use crate::stripe::in_flight::InFlight;
use crate::stripe::meter::KnownMeter;
use crate::webhook::Unverified;

/// The secrets that come from the environment, not from the configuration file.
#[derive(Debug, Clone, Default)]
pub struct Secrets {
    /// The admin API's tokens.
    pub admin_tokens: AdminTokens,
    /// Headers that are added to every forwarded request.
    pub backend_headers: Vec<(HeaderName, HeaderValue)>,
    /// The secrets that Stripe signs deliveries with; without them deliveries are refused.
    pub webhook_secrets: Option<signature::Secrets>,
    /// Access to Stripe's API; without it nothing is fetched, reported or reconciled.
    pub stripe: Option<api::Access>,
}

/// Configuration, caches, abuse counts and queues.
pub struct Shared {
    pub(crate) config: Config,
    pub(crate) routes: RouteTable,
    pub(crate) admin_tokens: AdminTokens,
    pub(crate) backend_headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) keys: Cache<KeyHash, Arc<CachedKey>>,
    pub(crate) organizations: Cache<OrganizationId, Arc<Organization>>,
    pub(crate) webhook_secrets: Option<signature::Secrets>,
    pub(crate) stripe: Option<api::Access>,
    pub(crate) cors: Cors,
    pub(crate) response_headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) refused_addresses: Networks,
    pub(crate) trusted_proxies: Networks,
    pub(crate) refused_agents: Vec<String>,
    /// The headers of clients that are not forwarded.
    pub(crate) client_headers: ClientHeaders,
    /// The headers in which a repetition under an idempotency key may differ.
    pub(crate) ignored_headers: HeaderNames,
    /// Counts of requests, by the listener.
    pub(crate) shields: Shields,
    /// Counts of wrong admin tokens, by the listener.
    pub(crate) admin_shields: Shields,
    pub(crate) lookups: Lookups,
    pub(crate) single_source: SingleSource,
    pub(crate) streams: Streams,
    /// Counts of deliveries without a valid signature. They are separate from all other counts, so
    /// that failed requests from an address that Stripe's deliveries also use cannot block them.
    pub(crate) webhook_shield: Shield,
    pub(crate) unverified: Unverified,
    pub(crate) buffers: Arc<Buffers>,
    pub(crate) audit: AuditQueue,
    pub(crate) touched: TouchedKeys,
    pub(crate) schedule: Schedule,
    logged_at: [AtomicI64; 4],
    pub(crate) gauges: Gauges,
    pub(crate) in_flight: InFlight,
    pub(crate) meter: KnownMeter,
    pub(crate) readiness: Readiness,
    pub(crate) fleet: OnceLock<Arc<FleetGauges>>,
    pub(crate) journal: OnceLock<Arc<JournalGauges>>,
}

/// Work whose failures are logged, but not each time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum JobFailure {
    /// Writing queued audit rows.
    AuditRows,
    /// Renewing leases and giving them back.
    Leases,
    /// Writing when keys were last used.
    KeyUses,
    /// Deleting expired idempotency records.
    Purge,
}

impl JobFailure {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::AuditRows => "writing audit rows",
            Self::Leases => "renewing leases",
            Self::KeyUses => "writing key uses",
            Self::Purge => "deleting expired idempotency keys",
        }
    }
}

/// A lasting failure is logged once in this time.
const LOGGED_EVERY: Duration = Duration::from_secs(10);

impl Shared {
    /// The shared state for a validated configuration and its routes.
    #[must_use]
    pub fn new(config: Config, routes: RouteTable, secrets: Secrets) -> Arc<Self> {
        let Secrets { admin_tokens, backend_headers, webhook_secrets, stripe } = secrets;
        let ages = Ages {
            fresh: Duration::from_secs(config.keys.fresh_secs),
            stale_max: Duration::from_secs(config.keys.max_stale_secs),
        };
        let (entries, limits) = (config.keys.cache_entries_max, &config.limits);
        let (failed, all) = (limits.address_requests_per_minute, limits.address_ceiling_per_minute);
        let wrong_tokens = config.admin.failures_per_minute;
        Arc::new(Self {
            keys: Cache::new(entries, ages),
            organizations: Cache::new(entries, ages),
            cors: Cors::new(&config.cors),
            response_headers: response_headers(&config),
            refused_addresses: Networks::new(&config.filter.denied_addresses),
            trusted_proxies: Networks::new(&config.filter.trusted_proxies),
            client_headers: ClientHeaders::new(
                &config.filter.untrusted_headers,
                backend_headers.iter().map(|(name, _)| name.as_str()),
            ),
            ignored_headers: HeaderNames::new(&config.idempotency.ignored_headers),
            refused_agents: lowercase(&config.filter.denied_user_agents),
            unverified: Unverified::default(),
            buffers: Buffers::new(limits.buffered_bytes_max),
            shields: Shields::new(failed, all, limits.addresses_max),
            webhook_shield: Shield::new(failed, all, limits.addresses_max),
            admin_shields: Shields::new(wrong_tokens, all, limits.addresses_max),
            lookups: Lookups::default(),
            single_source: SingleSource::default(),
            streams: Streams::default(),
            audit: AuditQueue::new(&config.audit),
            touched: TouchedKeys::default(),
            schedule: Schedule::default(),
            logged_at: [const { AtomicI64::new(i64::MIN) }; 4],
            gauges: Gauges::default(),
            in_flight: InFlight::default(),
            meter: KnownMeter::default(),
            readiness: Readiness::default(),
            fleet: OnceLock::new(),
            journal: OnceLock::new(),
            admin_tokens,
            webhook_secrets,
            stripe,
            backend_headers,
            routes,
            config,
        })
    }

    /// Drops a cached key that another process changed: its next request reads it again.
    pub fn key_changed(&self, hash: &KeyHash) {
        self.keys.invalidate(hash);
    }

    /// Drops a cached organization that another process changed.
    pub fn organization_changed(&self, id: OrganizationId) {
        self.organizations.invalidate(&id);
    }

    /// Drops all cached records, since it is unknown which ones changed.
    pub fn all_changed(&self) {
        self.keys.clear();
        self.organizations.clear();
    }

    /// The store has reported every change up to `at`: all cached records count as read at `at`.
    pub fn confirm_all(&self, at: Timestamp) {
        self.keys.confirm(at);
        self.organizations.confirm(at);
    }

    /// Sets the gauges that `/metrics` shows of the journal, for a process that has one.
    pub fn show_journal(&self, gauges: Arc<JournalGauges>) {
        // A process has one journal.
        let _ = self.journal.set(gauges);
    }

    /// Sets the gauges that `/metrics` shows of the fleet's rate limits, for a node of a fleet.
    pub fn show_fleet(&self, gauges: Arc<FleetGauges>) {
        // A process has one fleet: its cells update the gauges that were set first.
        let _ = self.fleet.set(gauges);
    }

    /// The budget for buffered bytes.
    pub fn buffers(&self) -> &Arc<Buffers> {
        &self.buffers
    }

    /// How often the callers of open streams are checked.
    pub(crate) const fn stream_check(&self) -> Duration {
        Duration::from_millis(self.config.keys.stream_check_ms)
    }

    /// Whether a failure of this work is to be logged now, see [`LOGGED_EVERY`].
    pub(crate) fn should_log(&self, work: JobFailure, now: Timestamp) -> bool {
        let last = &self.logged_at[work as usize];
        let due = Timestamp::from_micros(last.load(Ordering::Relaxed)).plus(LOGGED_EVERY) <= now;
        if due {
            last.store(now.micros(), Ordering::Relaxed);
        }
        due
    }
}

/// The configured response headers. Validation has checked that each one is a valid header.
fn response_headers(config: &Config) -> Vec<(HeaderName, HeaderValue)> {
    let pair = |(name, value): (&String, &String)| {
        Some((HeaderName::try_from(name).ok()?, HeaderValue::try_from(value).ok()?))
    };
    config.responses.headers.iter().filter_map(pair).collect()
}

fn lowercase(texts: &[String]) -> Vec<String> {
    texts.iter().map(|text| text.to_lowercase()).collect()
}
