//! The table of routes: which template a path matches, and what the route requires.
//!
//! A template consists of literal segments and `{name}` for any one segment; a fully literal
//! template takes precedence over one with names. Literal segments are compared in normal form
//! (`request.rs`), however the template spells them. An unknown path gets 404, a known path with
//! another method 405.

use std::collections::HashMap;
use std::sync::Arc;

use http::Method;

use crate::request::normalize_path;
use crate::rewrite::Rewrite;

/// One route to the backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The path's template.
    pub template: String,
    /// The method.
    pub method: Method,
    /// The backend's path, if it differs.
    pub rewrite: Option<Rewrite>,
    /// The scope that a key needs.
    pub scope: Option<String>,
    /// Units charged for a 2xx response; 0 is free.
    pub units: u32,
    /// Whether the organization has to be entitled to call.
    pub needs_subscription: bool,
    /// The greatest size of a body, in bytes.
    pub body_bytes_max: u64,
    /// Content types that a body may have, in lower case; any if none is listed.
    pub content_types: Vec<String>,
    /// The timeout for the backend's response head, in milliseconds.
    pub head_timeout_ms: u64,
    /// Whether the response is an event stream.
    pub stream: bool,
    /// Whether a WebSocket handshake is allowed.
    pub websocket: bool,
    /// Its index in the table.
    pub index: u16,
    /// `METHOD /template`: the route's name in usage, audit log and metrics.
    pub label: Arc<str>,
}

/// Why a list of routes is not valid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// A malformed template.
    #[error("`{0}` is not a path template; `/api/v1/things/{{id}}` would be right")]
    Template(String),
    /// Two routes match the same requests.
    #[error("`{0}` and `{1}` match the same requests; keep one of them")]
    Conflict(String, String),
    /// More routes than a table holds.
    #[error("there are more than 65,535 routes")]
    TooMany,
}

/// Why no route matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoRoute {
    /// No template matches.
    NotFound,
    /// A template matches, but only with these methods.
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
    /// A table of these routes; sets the index and label of each.
    ///
    /// # Errors
    /// [`RouteError`] names the routes that conflict.
    pub fn new(routes: Vec<Route>) -> Result<Self, RouteError> {
        let mut table = Self::default();
        for (index, mut route) in routes.into_iter().enumerate() {
            route.index = u16::try_from(index).map_err(|_| RouteError::TooMany)?;
            route.label = format!("{} {}", route.method, route.template).into();
            table.insert(route)?;
        }
        Ok(table)
    }

    /// The route of a normalised path. HEAD uses the route of GET, unless it has its own.
    ///
    /// # Errors
    /// [`NoRoute`], with the methods that the path supports.
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
        let literal: Option<Vec<&str>> = segments.iter().map(Option::as_deref).collect();
        let routes = if let Some(literal) = literal {
            self.literal.entry(format!("/{}", literal.join("/"))).or_default()
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
        None => literal(text).map(Some).ok_or_else(malformed),
        Some(_) => Err(malformed()),
    };
    inner.split('/').map(segment).collect()
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// A literal segment in the form of normal paths.
fn literal(text: &str) -> Option<String> {
    let path = format!("/{text}");
    let normal = normalize_path(&path).ok().filter(|_| !text.is_empty())?;
    Some(normal[1..].to_owned())
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use proptest::prelude::*;

    use super::*;
    use crate::config::Config;

    fn found(method: &str, path: &str) -> Result<String, NoRoute> {
        let table = Config::default().route_table().expect("a table");
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        table.find(&method, path).map(|route| route.label.to_string())
    }

    #[test]
    fn each_default_route_is_found() {
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
    fn other_paths_and_methods_are_refused() {
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
            "a literal template takes precedence"
        );
    }

    fn table(templates: &[&str]) -> Result<RouteTable, RouteError> {
        let config = Config::default();
        let routes = templates.iter().map(|template| Route {
            template: (*template).to_owned(),
            method: Method::GET,
            ..config.routes[0].to_route(&config.timeouts)
        });
        RouteTable::new(routes.collect())
    }

    fn label(table: &RouteTable, path: &str) -> Option<String> {
        let path = normalize_path(path).ok()?;
        table.find(&Method::GET, &path).ok().map(|route| route.label.to_string())
    }

    #[test]
    fn an_encoded_path_matches_the_same_literal_template() {
        let table = table(&["/{x}", "/run:now", "/caf%c3%a9", "/a+b/{x}"]).expect("a table");
        for (path, wanted) in [
            ("/run:now", "GET /run:now"),
            ("/run%3Anow", "GET /run:now"),
            ("/%72un%3anow", "GET /run:now"),
            ("/run;now", ""),
            ("/run%3Bnow", ""),
            ("/run%253Anow", ""),
            ("/run", "GET /{x}"),
            ("/caf%C3%A9", "GET /caf%c3%a9"),
            ("/a+b/1", "GET /a+b/{x}"),
            ("/a%2Bb/1", "GET /a+b/{x}"),
        ] {
            assert_eq!(label(&table, path).unwrap_or_default(), wanted, "{path}");
        }
    }

    #[test]
    fn templates_that_only_differ_in_spelling_conflict() {
        for other in ["/run%3Anow", "/r%75n:now"] {
            let conflict = table(&["/run:now", other]).expect_err("they are one");
            assert!(matches!(conflict, RouteError::Conflict(..)), "{other}");
        }
        for none in ["/run%2Fnow", "/a b", "/%zz", "/..", "/%2e", "", "/a//b", "/a;b"] {
            let error = table(&[none]).expect_err(none);
            assert_eq!(error, RouteError::Template(none.to_owned()));
        }
    }

    /// A path that some templates spell, and the same path as a decoding backend reads it: any
    /// character may be encoded, in any case.
    fn spelled(path: &str, choices: &[u8]) -> String {
        let mut choices = choices.iter().cycle();
        let mut spelled = String::new();
        for byte in path.bytes() {
            match choices.next().map_or(0, |choice| choice % 3) {
                _ if byte == b'/' => spelled.push('/'),
                0 => spelled.push(char::from(byte)),
                1 => spelled.push_str(&format!("%{byte:02x}")),
                _ => spelled.push_str(&format!("%{byte:02X}")),
            }
        }
        spelled
    }

    proptest! {
        #[test]
        fn every_spelling_of_a_path_leads_to_the_same_route(
            segments in prop::collection::vec("(run|a|[a-c:@!$&'()*+,=~._\\[\\]-]{1,4})", 1..4),
            choices in prop::collection::vec(any::<u8>(), 1..16),
        ) {
            let templates =
                ["/{x}", "/run:now", "/a+b", "/{x}/run", "/a@b/{x}", "/a/{x}/c=(1)", "/run/*"];
            let table = table(&templates).expect("a table");
            for path in templates.iter().map(|t| t.replace("{x}", &segments[0]))
                .chain([format!("/{}", segments.join("/"))])
            {
                let other = spelled(&path, &choices);
                prop_assert_eq!(label(&table, &path), label(&table, &other), "{} {}", path, other);
                let forms = [&path, &other].map(|path| normalize_path(path).map(Cow::into_owned));
                prop_assert_eq!(&forms[0], &forms[1], "what the backend is sent");
            }
        }
    }
}
