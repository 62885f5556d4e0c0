//! Bounds: what is refused, how often, how much is remembered.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::address::FORWARDED_FOR;

/// What is refused before anything else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Filter {
    /// Header lines of a request.
    pub headers_max: usize,
    /// Bytes of all header lines of a request.
    pub header_bytes_max: usize,
    /// Bytes of a request's target.
    pub target_bytes_max: usize,
    /// Proxies whose word on the client's address is believed (CIDR).
    pub trusted_proxies: Vec<IpNet>,
    /// The header that they say it in.
    pub client_ip_header: String,
    /// Client addresses that are refused (CIDR).
    pub denied_addresses: Vec<IpNet>,
    /// Texts that a refused `User-Agent` holds, in any case.
    pub denied_user_agents: Vec<String>,
    /// Headers that a backend could take for the word of a proxy: from anybody but a trusted proxy
    /// they are dropped. `x-forwarded-*` is every name that begins so; `_` and `.` count as `-`.
    pub untrusted_headers: Vec<String>,
}

/// What proxies, and the access controls in front of a service, are known to write.
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

/// Abuse limits, per client address (IPv6 by /64), and the wait for a fleet's limits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Keyless and failed requests per minute of an address.
    pub address_requests_per_minute: u32,
    /// Requests per minute of an address, keyed ones included: a high ceiling.
    pub address_ceiling_per_minute: u32,
    /// Connections that an address has at once; one that is no trusted proxy.
    pub address_connections_max: u32,
    /// Addresses remembered; the least recent are forgotten beyond.
    pub addresses_max: usize,
    /// Bytes of requests and answers that a process holds in memory until they are whole; beyond,
    /// 503.
    pub buffered_bytes_max: u64,
    /// The same for an isolate of the Worker.
    pub isolate_buffered_bytes_max: u64,
    /// How long a request waits for its fleet's rate limits; then its node's own stand alone.
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

/// What a node remembers of keys and organizations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Keys {
    /// After how long a fact is read again.
    pub fresh_secs: u64,
    /// How long a fact is served while the store is away.
    pub max_stale_secs: u64,
    /// How often open event streams and WebSockets are judged again.
    pub stream_check_ms: u64,
    /// Facts remembered, unknown keys included.
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

/// Counting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Metering {
    /// What a settled request survives.
    pub durability: Durability,
    /// The plan of an organization that is made without one.
    pub default_plan: String,
    /// What follows for an organization whose subscription ended or was not paid.
    pub after_subscription: AfterSubscription,
    /// What becomes of metered requests while the store that gateways share is away.
    pub on_outage: OnOutage,
    /// The file that keeps them until it is back.
    pub journal_file: String,
    /// Its greatest size; beyond, metered requests are refused.
    pub journal_bytes_max: u64,
}

/// What follows for an organization whose subscription ended or was not paid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AfterSubscription {
    /// Its requests get 402.
    Refuse,
    /// Its own plan counts again, if that plan needs no subscription.
    OwnPlan,
}

/// What becomes of metered requests while the store that gateways share is away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnOutage {
    /// They are told to come again.
    Refuse,
    /// Those of organizations without any cap go on, into a file, and are settled afterwards.
    Journal,
}

/// What a settled request survives.
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
    /// Denials of one key, route and reason become one row in this time.
    pub coalesce_secs: u64,
    /// After how long the rows of free requests are written.
    pub flush_ms: u64,
    /// Days that entries are kept; 0 is for ever.
    pub retention_days: u32,
    /// Rows that may wait to be written; more are dropped and counted.
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
    /// Whether `/admin` is served on the public listener; else on the admin listener alone.
    pub public: bool,
    /// Failed attempts per minute of an address.
    pub failures_per_minute: u32,
    /// Names that the admin listener answers `/metrics` under, beside addresses and localhost.
    pub hosts: Vec<String>,
}

impl Default for Admin {
    fn default() -> Self {
        Self { public: true, failures_per_minute: 10, hosts: Vec::new() }
    }
}
