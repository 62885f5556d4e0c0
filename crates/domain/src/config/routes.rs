//! The routes. They are data, so that an operator can add, meter or remove one without code.

use http::Method;
use serde::{Deserialize, Serialize};

use super::Timeouts;
use crate::rewrite::Rewrite;
use crate::route::Route;

/// One route to the backend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteConfig {
    /// The method, in upper case.
    pub method: String,
    /// The path, which begins with `/api/`; `{name}` stands for one segment.
    pub path: String,
    /// The backend's path, if it differs; `{name}` is replaced by the segment of that name.
    #[serde(default)]
    pub rewrite: Option<String>,
    /// The scope that a key needs; without it, any key is accepted.
    #[serde(default)]
    pub scope: Option<String>,
    /// Units charged for a 2xx response; 0 is free.
    #[serde(default)]
    pub units: u32,
    /// Whether the organization has to be entitled to call.
    #[serde(default = "yes")]
    pub needs_subscription: bool,
    /// The greatest size of a body, in bytes.
    #[serde(default = "default_body_bytes_max")]
    pub body_bytes_max: u64,
    /// Content types that a body may have, `application/json` or `text/*`; any if none is listed.
    #[serde(default)]
    pub content_types: Vec<String>,
    /// The timeout for the backend's response head, in milliseconds; without it,
    /// `timeouts.backend_head_ms` applies.
    #[serde(default)]
    pub head_timeout_ms: Option<u64>,
    /// Whether the response is an event stream, whose body may pause for any time.
    #[serde(default)]
    pub stream: bool,
    /// Whether a WebSocket handshake is allowed; for GET routes only.
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
