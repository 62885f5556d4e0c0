//! The routes: data, so that an operator adds, meters or removes one without code.

use http::Method;
use serde::{Deserialize, Serialize};

use super::Timeouts;
use crate::rewrite::Rewrite;
use crate::route::Route;

/// One route to the backend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteConfig {
    /// The method, in capitals.
    pub method: String,
    /// The path below `/api/`; `{name}` stands for one segment.
    pub path: String,
    /// The backend's path, if it is another one; `{name}` is the segment of that name.
    #[serde(default)]
    pub rewrite: Option<String>,
    /// The scope that a key needs; none means that any key will do.
    #[serde(default)]
    pub scope: Option<String>,
    /// Units charged for a 2xx answer; 0 is free.
    #[serde(default)]
    pub units: u32,
    /// Whether the organization has to be in good standing.
    #[serde(default = "yes")]
    pub needs_subscription: bool,
    /// The greatest body, in bytes.
    #[serde(default = "default_body_bytes_max")]
    pub body_bytes_max: u64,
    /// Content types that a body may have, `application/json` or `text/*`; any if none is listed.
    #[serde(default)]
    pub content_types: Vec<String>,
    /// Until the backend's response head, in milliseconds; else `timeouts.backend_head_ms`.
    #[serde(default)]
    pub head_timeout_ms: Option<u64>,
    /// Whether the answer is an event stream: no limit on how long its body may be silent.
    #[serde(default)]
    pub stream: bool,
    /// Whether a handshake may turn the connection into a WebSocket; GET routes only.
    #[serde(default)]
    pub websocket: bool,
}

const fn yes() -> bool {
    true
}

const fn default_body_bytes_max() -> u64 {
    10 << 20
}

impl RouteConfig {
    /// The route; an unknown method becomes an extension method, which validation refuses.
    #[must_use]
    pub fn to_route(&self, timeouts: &Timeouts) -> Route {
        Route {
            template: self.path.clone(),
            method: Method::from_bytes(self.method.as_bytes()).unwrap_or_default(),
            rewrite: self.rewrite.as_deref().and_then(|to| Rewrite::parse(to, &self.path).ok()),
            scope: self.scope.clone(),
            units: self.units,
            needs_subscription: self.needs_subscription,
            body_bytes_max: self.body_bytes_max,
            content_types: self.content_types.iter().map(|kind| kind.to_lowercase()).collect(),
            head_timeout_ms: self.head_timeout_ms.unwrap_or(timeouts.backend_head_ms),
            stream: self.stream,
            websocket: self.websocket,
            index: 0,
            label: std::sync::Arc::default(),
        }
    }
}

fn route(method: &str, path: &str, scope: Option<&str>, units: u32) -> RouteConfig {
    RouteConfig {
        method: method.into(),
        path: path.into(),
        rewrite: None,
        scope: scope.map(Into::into),
        units,
        needs_subscription: true,
        body_bytes_max: default_body_bytes_max(),
        content_types: Vec::new(),
        head_timeout_ms: None,
        stream: false,
        websocket: false,
    }
}

/// DriftLock's routes.
pub(super) fn defaults() -> Vec<RouteConfig> {
    let (read, detect) = (Some("anomalies:read"), Some("anomalies:detect"));
    vec![
        route("GET", "/api/v1/anomalies", read, 0),
        route("POST", "/api/v1/anomalies/detect", detect, 1),
        route("GET", "/api/v1/anomalies/{id}", read, 0),
        route("PUT", "/api/v1/anomalies/{id}/resolve", Some("anomalies:write"), 0),
        route("POST", "/api/v1/analyze", detect, 1),
        RouteConfig { needs_subscription: false, ..route("GET", "/api/v1/health", None, 0) },
        route("POST", "/api/v1/events/ingest", Some("events:write"), 0),
        RouteConfig { stream: true, ..route("GET", "/api/v1/stream/anomalies", read, 0) },
    ]
}
