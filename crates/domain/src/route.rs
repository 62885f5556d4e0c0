//! The table of routes: which template a path matches, and what the route wants.
//!
//! Templates are literal segments and `{name}` for one segment; a literal template wins over one
//! with names. Anything not in the table is 404, a known path with another method 405.

use std::collections::HashMap;
use std::sync::Arc;

use http::Method;

use crate::rewrite::Rewrite;

/// One route to the backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The path's template.
    pub template: String,
    /// The method.
    pub method: Method,
    /// The backend's path, if it is another one.
    pub rewrite: Option<Rewrite>,
    /// The scope that a key needs.
    pub scope: Option<String>,
    /// Units charged for a 2xx answer; 0 is free.
    pub units: u32,
    /// Whether the organization has to be in good standing.
    pub needs_subscription: bool,
    /// The greatest body, in bytes.
    pub body_bytes_max: u64,
    /// Content types that a body may have, in small letters; any if none is listed.
    pub content_types: Vec<String>,
    /// Until the backend's response head, in milliseconds.
    pub head_timeout_ms: u64,
    /// Whether the answer is an event stream.
    pub stream: bool,
    /// Whether a handshake may turn the connection into a WebSocket.
    pub websocket: bool,
    /// Its place in the table.
    pub index: u16,
    /// `METHOD /template`: its name in usage, audit and metrics.
    pub label: Arc<str>,
}

/// Why a list of routes is no table.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// A template that is no path.
    #[error("`{0}` is no path template; `/api/v1/things/{{id}}` would be right")]
    Template(String),
    /// Two routes match the same requests.
    #[error("`{0}` and `{1}` match the same requests; keep one of them")]
    Conflict(String, String),
    /// More routes than a table holds.
    #[error("more than 65,535 routes")]
    TooMany,
}

/// Why no route matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoRoute {
    /// No template matches.
    NotFound,
    /// One does, with these methods.
    MethodNotAllowed(Vec<Method>),
}

/// Routes by path.
#[derive(Debug, Clone, Default)]
pub struct RouteTable {
    literal: HashMap<String, Vec<Arc<Route>>>,
    named: Vec<Named>,
}

#[derive(Debug, Clone)]
struct Named {
    segments: Vec<Option<String>>,
    routes: Vec<Arc<Route>>,
}

impl RouteTable {
    /// A table of these routes; sets their place and label.
    ///
    /// # Errors
    /// [`RouteError`] names what conflicts.
    pub fn new(routes: Vec<Route>) -> Result<Self, RouteError> {
        let mut table = Self::default();
        for (index, mut route) in routes.into_iter().enumerate() {
            route.index = u16::try_from(index).map_err(|_| RouteError::TooMany)?;
            route.label = format!("{} {}", route.method, route.template).into();
            table.insert(route)?;
        }
        Ok(table)
    }

    /// The route of a normalised path. HEAD goes where GET does.
    ///
    /// # Errors
    /// [`NoRoute`], with the methods that the path does take.
    pub fn find(&self, method: &Method, path: &str) -> Result<&Arc<Route>, NoRoute> {
        let routes = match self.literal.get(path) {
            Some(routes) => routes,
            None => self.find_named(path).ok_or(NoRoute::NotFound)?,
        };
        let wanted = if method == Method::HEAD { &Method::GET } else { method };
        let exact = routes.iter().find(|route| route.method == *method);
        exact.or_else(|| routes.iter().find(|route| route.method == *wanted)).ok_or_else(|| {
            let mut allowed: Vec<Method> =
                routes.iter().map(|route| route.method.clone()).collect();
            if allowed.contains(&Method::GET) && !allowed.contains(&Method::HEAD) {
                allowed.push(Method::HEAD);
            }
            NoRoute::MethodNotAllowed(allowed)
        })
    }

    /// All routes, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Route>> {
        self.literal.values().chain(self.named.iter().map(|named| &named.routes)).flatten()
    }

    fn find_named(&self, path: &str) -> Option<&Vec<Arc<Route>>> {
        let matches = |named: &&Named| {
            let mut parts = path.strip_prefix('/').unwrap_or(path).split('/');
            named.segments.iter().all(|segment| match (segment, parts.next()) {
                (Some(literal), Some(part)) => literal == part,
                (None, Some(part)) => !part.is_empty(),
                (_, None) => false,
            }) && parts.next().is_none()
        };
        self.named.iter().find(matches).map(|named| &named.routes)
    }

    fn insert(&mut self, route: Route) -> Result<(), RouteError> {
        let segments = segments(&route.template)?;
        let routes = if segments.iter().all(Option::is_some) {
            self.literal.entry(route.template.clone()).or_default()
        } else {
            let place = self.named.iter().position(|named| named.segments == segments);
            let place = place.unwrap_or_else(|| {
                self.named.push(Named { segments, routes: Vec::new() });
                self.named.len() - 1
            });
            &mut self.named[place].routes
        };
        if let Some(other) = routes.iter().find(|other| other.method == route.method) {
            return Err(RouteError::Conflict(other.label.to_string(), route.label.to_string()));
        }
        routes.push(Arc::new(route));
        Ok(())
    }
}

fn segments(template: &str) -> Result<Vec<Option<String>>, RouteError> {
    let malformed = || RouteError::Template(template.to_owned());
    let inner = template.strip_prefix('/').ok_or_else(malformed)?;
    let segment = |text: &str| match text.strip_prefix('{').and_then(|text| text.strip_suffix('}'))
    {
        Some(name) if is_name(name) => Ok(None),
        None if is_literal(text) => Ok(Some(text.to_owned())),
        Some(_) | None => Err(malformed()),
    };
    inner.split('/').map(segment).collect()
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

fn is_literal(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-._~!$&'()*+,=:@".contains(&b);
    !text.is_empty() && text != "." && text != ".." && text.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn found(method: &str, path: &str) -> Result<String, NoRoute> {
        let table = Config::default().route_table().expect("a table");
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        table.find(&method, path).map(|route| route.label.to_string())
    }

    #[test]
    fn the_six_and_two() {
        for (method, path, label) in [
            ("GET", "/api/v1/anomalies", "GET /api/v1/anomalies"),
            ("HEAD", "/api/v1/anomalies", "GET /api/v1/anomalies"),
            ("POST", "/api/v1/anomalies/detect", "POST /api/v1/anomalies/detect"),
            ("GET", "/api/v1/anomalies/a1", "GET /api/v1/anomalies/{id}"),
            ("PUT", "/api/v1/anomalies/a1/resolve", "PUT /api/v1/anomalies/{id}/resolve"),
            ("POST", "/api/v1/analyze", "POST /api/v1/analyze"),
            ("GET", "/api/v1/health", "GET /api/v1/health"),
            ("POST", "/api/v1/events/ingest", "POST /api/v1/events/ingest"),
            ("GET", "/api/v1/stream/anomalies", "GET /api/v1/stream/anomalies"),
        ] {
            assert_eq!(found(method, path).as_deref(), Ok(label));
        }
    }

    #[test]
    fn nothing_else() {
        for path in ["/api/v1/anomalies/", "/api/v1", "/api/v1/anomalies/a/b", "/api/v1/Health"] {
            assert_eq!(found("GET", path), Err(NoRoute::NotFound), "{path}");
        }
        assert_eq!(
            found("DELETE", "/api/v1/anomalies"),
            Err(NoRoute::MethodNotAllowed(vec![Method::GET, Method::HEAD]))
        );
        assert_eq!(
            found("GET", "/api/v1/anomalies/detect"),
            Err(NoRoute::MethodNotAllowed(vec![Method::POST])),
            "a literal template wins over a name"
        );
    }
}
