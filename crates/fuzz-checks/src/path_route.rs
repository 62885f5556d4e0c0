//! The path filter against the router: what passes is read the same by everybody behind it.

use std::sync::LazyLock;

use driftlock_domain::config::Config;
use driftlock_domain::request::normalize_path;
use driftlock_domain::rewrite::Rewrite;
use driftlock_domain::route::RouteTable;
use http::{Method, Uri};

static ROUTES: LazyLock<RouteTable> = LazyLock::new(|| {
    Config::default().route_table().unwrap_or_else(|error| panic!("the defaults: {error}"))
});
static REWRITE: LazyLock<Rewrite> = LazyLock::new(|| {
    let rewrite = Rewrite::parse("/v1/anomaly/{id}", "/api/v1/anomalies/{id}");
    rewrite.unwrap_or_else(|error| panic!("a rewriting: {error}"))
});

/// # Panics
/// If a path that passes could be read as another one.
pub fn check(bytes: &[u8]) {
    let Ok(uri) = Uri::try_from(bytes) else { return };
    let Ok(path) = normalize_path(uri.path()) else { return };
    let lower = path.to_ascii_lowercase();
    assert!(path.starts_with('/') && !path.contains("//"), "{path}");
    assert!(path.split('/').all(|segment| !matches!(segment, "." | "..")), "{path}");
    assert!(!path.bytes().any(|byte| byte <= b' ' || byte >= 0x7f || b"\\;?#".contains(&byte)));
    for delimiter in ["%2f", "%5c", "%3b", "%25", "%00", "%2e", "%0a", "%0d"] {
        assert!(!lower.contains(delimiter), "{path}");
    }
    assert_eq!(normalize_path(&path).as_deref(), Ok(&*path), "normal form is normal");
    assert!(
        Uri::try_from(&*path).is_ok_and(|uri| uri.path() == path),
        "it can be forwarded: {path}"
    );
    for method in [Method::GET, Method::POST, Method::PUT] {
        if let Ok(route) = ROUTES.find(&method, &path) {
            let segments = path.split('/').count();
            assert_eq!(segments, route.template.split('/').count(), "{path} is {}", route.template);
            if route.template.ends_with("{id}") {
                let rewritten = REWRITE.apply(&path);
                assert!(
                    rewritten.starts_with("/v1/anomaly/") && rewritten.matches('/').count() == 3
                );
            }
        }
    }
}
