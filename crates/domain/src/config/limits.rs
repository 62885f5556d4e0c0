//! Bounds: request filter, abuse limits, caches, metering, audit log, admin API.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::address::FORWARDED_FOR;

/// The request filter, which runs before everything else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Filter {
    /// The most header lines of a request.
    pub headers_max: usize,
    /// The most bytes of all header lines of a request.
    pub header_bytes_max: usize,
    /// The most bytes of a request's target.
    pub target_bytes_max: usize,
    /// Proxies that are trusted to state the client's address (CIDR).
    pub trusted_proxies: Vec<IpNet>,
    /// The header in which they state it.
    pub client_ip_header: String,
    /// Client addresses that are refused (CIDR).
    pub denied_addresses: Vec<IpNet>,
    /// Texts; a `User-Agent` that contains one of them, in any case, is refused.
    pub denied_user_agents: Vec<String>,
    /// Headers that a backend could mistake for those of a proxy: they are dropped unless a trusted
    /// proxy sends them. `x-forwarded-*` stands for all names with this beginning; `_` and `.`
    /// count as `-`.
    pub untrusted_headers: Vec<String>,
}

/// Headers that proxies, and access controls in front of a service, are known to write.
const UNTRUSTED_HEADERS: [&str; 30] = [
    "forwarded",
    "x-forwarded-*",
    "x-real-ip",
    "x-client-ip",
    "client-ip",
    "true-client-ip",
    "x-cluster-client-ip",
    "fastly-client-ip",
    "cf-connecting-ip*",
    "cf-access-*",
    "remote-*",
    "x-remote-*",
    "x-authenticated-*",
    "x-auth-request-*",
    "x-goog-authenticated-user-*",
    "x-goog-iap-*",
    "x-amzn-oidc-*",
    "x-ms-client-principal*",
    "ssl-client-*",
    "x-ssl-client-*",
    "x-client-cert*",
    "x-original-*",
    "x-rewrite-*",
    "x-envoy-*",
    "x-http-method-override",
    "x-http-method",
    "x-method-override",
    "x-host",
    "x-scheme",
    "proxy",
];

impl Default for Filter {
    fn default() -> Self {
        Self {
            headers_max: 100,
            header_bytes_max: 32 << 10,
            target_bytes_max: 8 << 10,
            trusted_proxies: Vec::new(),
            client_ip_header: FORWARDED_FOR.to_owned(),
            denied_addresses: Vec::new(),
            denied_user_agents: Vec::new(),
            untrusted_headers: UNTRUSTED_HEADERS.map(str::to_owned).to_vec(),
        }
    }
}

/// Abuse limits per client address (IPv6: per /64), memory budgets, and the wait for fleet limits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Requests per minute of an address that have no key or fail.
    pub address_requests_per_minute: u32,
    /// All requests per minute of an address, with and without a key: a high ceiling.
    pub address_ceiling_per_minute: u32,
    /// Concurrent connections of an address; trusted proxies are not limited.
    pub address_connections_max: u32,
    /// Addresses that are remembered; beyond, the least recent ones are forgotten.
    pub addresses_max: usize,
    /// The most bytes of requests and responses that a process buffers in memory; beyond, 503.
    pub buffered_bytes_max: u64,
    /// The same for an isolate of the Worker.
    pub isolate_buffered_bytes_max: u64,
    /// How long a request waits for its fleet's rate limits; then only its node's limits apply.
    pub fleet_answer_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            address_requests_per_minute: 120,
            address_ceiling_per_minute: 6_000_000,
            address_connections_max: 10_000,
            addresses_max: 65_536,
            buffered_bytes_max: 256 << 20,
            isolate_buffered_bytes_max: 32 << 20,
            fleet_answer_ms: 50,
        }
    }
}

/// A node's cache of keys and organizations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Keys {
    /// After this time a cached record is read again.
    pub fresh_secs: u64,
    /// How long a cached record is used while the store is unavailable.
    pub max_stale_secs: u64,
    /// How often the keys of open event streams and WebSockets are checked again.
    pub stream_check_ms: u64,
    /// The most cached records, unknown keys included.
    pub cache_entries_max: usize,
}

impl Default for Keys {
    fn default() -> Self {
        Self {
            fresh_secs: 8,
            max_stale_secs: 60,
            stream_check_ms: 5_000,
            cache_entries_max: 200_000,
        }
    }
}

/// Metering.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Metering {
    /// What a settlement survives.
    pub durability: Durability,
    /// The plan of an organization that is created without one.
    pub default_plan: String,
    /// What happens to an organization whose subscription ended or was not paid.
    pub after_subscription: AfterSubscription,
    /// What happens to metered requests while the shared store is unavailable.
    pub on_outage: OnOutage,
    /// The file that keeps their settlements until the store is available again.
    pub journal_file: String,
    /// The file's greatest size; beyond, metered requests are refused.
    pub journal_bytes_max: u64,
}

/// What happens to an organization whose subscription ended or was not paid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AfterSubscription {
    /// Its requests get 402.
    Refuse,
    /// Its own plan counts again, if that plan needs no subscription.
    OwnPlan,
}

/// What happens to metered requests while the shared store is unavailable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnOutage {
    /// They get 503 with `Retry-After`.
    Refuse,
    /// Requests of organizations without a cap are served; a file keeps their settlements, which
    /// are sent to the store afterwards.
    Journal,
}

/// What a settlement survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Durability {
    /// Power loss.
    Fsync,
    /// `kill -9`, not power loss.
    Process,
}

impl Default for Metering {
    fn default() -> Self {
        Self {
            durability: Durability::Fsync,
            default_plan: "developer".into(),
            after_subscription: AfterSubscription::Refuse,
            on_outage: OnOutage::Refuse,
            journal_file: "driftlock.journal".into(),
            journal_bytes_max: 128 << 20,
        }
    }
}

/// The audit log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Audit {
    /// Denials of one key, route and reason within this time become one row.
    pub coalesce_secs: u64,
    /// After how long the rows of free requests are written.
    pub flush_ms: u64,
    /// Days that entries are kept; 0 keeps them forever.
    pub retention_days: u32,
    /// The most rows that wait to be written; more are dropped and counted.
    pub queue_max: usize,
}

impl Default for Audit {
    fn default() -> Self {
        Self { coalesce_secs: 10, flush_ms: 100, retention_days: 400, queue_max: 65_536 }
    }
}

/// The admin API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Admin {
    /// Whether the public listener serves `/admin`, too; otherwise only the admin listener does.
    pub public: bool,
    /// Failed attempts per minute of an address.
    pub failures_per_minute: u32,
    /// Host names under which the admin listener serves `/metrics`, besides addresses and
    /// localhost.
    pub hosts: Vec<String>,
}

impl Default for Admin {
    fn default() -> Self {
        Self { public: true, failures_per_minute: 10, hosts: Vec::new() }
    }
}
