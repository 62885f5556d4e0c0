//! Where requests go, and how long anything may take.

use serde::{Deserialize, Serialize};

/// The backend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Backend {
    /// Its base URL, `http://HOST:PORT`; `ENV_GO_BACKEND_URL` wins over it.
    pub url: Option<String>,
    /// Idle connections kept per core.
    pub idle_connections_max: usize,
    /// Connections per core, busy ones included; more wait, then get 503.
    pub connections_max: usize,
}

impl Default for Backend {
    fn default() -> Self {
        Self { url: None, idle_connections_max: 256, connections_max: 4_096 }
    }
}

/// How long anything may take, in milliseconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Timeouts {
    /// Until a client's request head is complete.
    pub client_head_ms: u64,
    /// Between two pieces of a body, either way.
    pub body_idle_ms: u64,
    /// Until an idle client connection is closed.
    pub client_idle_ms: u64,
    /// Until a connection to the backend stands.
    pub backend_connect_ms: u64,
    /// Until the backend's response head, where a route sets nothing else.
    pub backend_head_ms: u64,
    /// Until an idle backend connection is closed.
    pub backend_idle_ms: u64,
    /// How long requests under way may go on after a stop is asked for.
    pub drain_ms: u64,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            client_head_ms: 10_000,
            body_idle_ms: 30_000,
            client_idle_ms: 75_000,
            backend_connect_ms: 2_000,
            backend_head_ms: 30_000,
            backend_idle_ms: 60_000,
            drain_ms: 30_000,
        }
    }
}
