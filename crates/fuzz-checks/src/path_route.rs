//! The path filter and the router: router and backends read an accepted path in the same way.
//!
//! The input's first line is a request's target, the second one a route's template, the third one a
//! rewrite rule. With a target only, the default routes alone are checked.

use std::sync::LazyLock;

use driftlock_domain::config::{Config, RouteConfig};
use driftlock_domain::request::normalize_path;
use driftlock_domain::rewrite::Rewrite;
use driftlock_domain::route::RouteTable;
use http::uri::PathAndQuery;
use http::{Method, Uri};

static DEFAULTS: LazyLock<Config> = LazyLock::new(Config::default);
static ROUTES: LazyLock<RouteTable> =
    LazyLock::new(|| DEFAULTS.route_table().expect("the defaults are a table"));

/// # Panics
/// If an accepted path could be read as another one.
pub fn check(bytes: &[u8]) {
    let mut lines = bytes.splitn(3, |byte| *byte == b'\n');
    let target = lines.next().unwrap_or_default();
    if let Ok(text) = std::str::from_utf8(target) {
        let _ = passed(text);
    }
    let Ok(uri) = Uri::try_from(target) else { return };
    let Some(path) = passed(uri.path()) else { return };
    forwarded(&path, uri.query());
    for method in [Method::GET, Method::POST, Method::PUT] {
        if let Ok(route) = ROUTES.find(&method, &path) {
            assert!(matches(&route.template, &path), "{path} is not a {}", route.template);
        }
    }
    let mut text = || lines.next().and_then(|line| std::str::from_utf8(line).ok());
    if let Some(template) = text() {
        own_route(&path, template, text());
    }
}

/// The path's normal form, if the filter accepts it.
fn passed(path: &str) -> Option<String> {
    let normal = normalize_path(path).ok()?;
    harmless(&normal);
    assert_eq!(decoded(path), decoded(&normal), "{path} means what {normal} means");
    Some(normal.into_owned())
}

/// Checks that parsers cannot read this path differently, however often they decode it.
fn harmless(path: &str) {
    assert!(path.starts_with('/') && !path.contains("//"), "{path}");
    assert!(path.bytes().all(|byte| byte.is_ascii_graphic() && !b"\\;?#".contains(&byte)));
    for segment in decoded(path) {
        assert!(!matches!(&segment[..], b"." | b".."), "{path}");
        assert!(
            !segment.iter().any(|byte| byte.is_ascii_control() || b"/\\;%".contains(byte)),
            "{path}"
        );
        assert!(std::str::from_utf8(&segment).is_ok(), "{path}");
    }
    assert_eq!(normalize_path(path).as_deref(), Ok(path), "normal form is normal");
}

/// Checks that the path can be forwarded unchanged as the backend's target.
fn forwarded(path: &str, query: Option<&str>) {
    let target = query.map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"));
    let uri = PathAndQuery::try_from(target).map(Uri::from);
    assert!(
        uri.is_ok_and(|uri| uri.path() == path && uri.query() == query),
        "it cannot be forwarded as it is: {path}"
    );
}

fn own_route(path: &str, template: &str, rewrite: Option<&str>) {
    let Some(mut config) = DEFAULTS.routes.first().cloned() else { return };
    config = RouteConfig { path: template.to_owned(), ..config };
    let routes = vec![config.to_route(&DEFAULTS.timeouts)];
    let Ok(table) = RouteTable::new(routes) else { return };
    let found = table.find(&Method::GET, path).is_ok();
    assert_eq!(found, matches(template, path), "{path} and {template}");
    let rewrite = rewrite.and_then(|text| Rewrite::parse(text, template).ok());
    if let (true, Some(rewrite)) = (found, rewrite) {
        let rewritten = rewrite.apply(path);
        harmless(&rewritten);
        forwarded(&rewritten, None);
    }
}

/// Whether a template matches by a simple rule: segment by segment, decoded.
fn matches(template: &str, path: &str) -> bool {
    let (template, path): (Vec<_>, Vec<_>) =
        (template.split('/').collect(), path.split('/').collect());
    template.len() == path.len()
        && template.iter().zip(&path).all(|(known, segment)| {
            if known.starts_with('{') {
                !segment.is_empty()
            } else {
                decode(known.as_bytes()) == decode(segment.as_bytes())
            }
        })
}

/// The segments of a path, decoded once.
fn decoded(path: &str) -> Vec<Vec<u8>> {
    path.split('/').map(|segment| decode(segment.as_bytes())).collect()
}

fn decode(segment: &[u8]) -> Vec<u8> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    match segment {
        [b'%', high, low, rest @ ..] => {
            let byte = digit(high).zip(digit(low)).map_or(0, |(high, low)| high * 16 + low);
            [vec![u8::try_from(byte).unwrap_or(0)], decode(rest)].concat()
        }
        [byte, rest @ ..] => {
            let end = rest.iter().position(|byte| *byte == b'%').unwrap_or(rest.len());
            [&[*byte][..], &rest[..end], &decode(&rest[end..])].concat()
        }
        [] => Vec::new(),
    }
}
