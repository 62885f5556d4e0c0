//! Validation of a well-formed configuration.

use super::error::{Mistake, Step};
use super::stripe::EVENTS_RETENTION_DAYS_MIN;
use super::{Backend, Config, RouteConfig};
use crate::cors::is_origin;
use crate::filter::is_media_range;
use crate::headers::{HeaderNames, is_name_pattern};
use crate::idempotency::PAYLOAD_BYTES_MAX;
use crate::plan::Plan;
use crate::quota::QuotaPolicy;
use crate::response::is_framing;
use crate::rewrite::Rewrite;
use crate::stripe::prices::PriceMap;

const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
const UNITS_MAX: u32 = 1_000_000;
const BACKENDS_MAX: usize = 256;
const HOUR_MS: u64 = 3_600_000;
/// Four times the greatest body that is read into memory (that of a request with an
/// Idempotency-Key): room for the body, its stored response, its connection and other requests.
const BUFFERED_BYTES_LEAST: u64 = 4 * PAYLOAD_BYTES_MAX;
/// An isolate has 128 MB, of which its code and its caches need a part.
const ISOLATE_BYTES_MAX: u64 = 96 << 20;

pub(super) fn mistakes(config: &Config) -> Vec<Mistake> {
    let mut found = Found(Vec::new());
    found.bounds(config);
    for plan in config.plans.iter() {
        found.plan(plan);
    }
    for (index, route) in config.routes.iter().enumerate() {
        found.route(index, route);
    }
    found.table(config);
    found.front(config);
    found.backend(&config.backend);
    found.stripe(config);
    if config.plan(&config.metering.default_plan).is_none() {
        let (wanted, names) = (&config.metering.default_plan, config.plans.names());
        let message = format!("there is no plan `{wanted}`; the plans are {names}");
        found.add(keys(&["metering", "default_plan"]), message);
    }
    found.0
}

struct Found(Vec<Mistake>);

impl Found {
    fn add(&mut self, path: Vec<Step>, message: impl Into<String>) {
        self.0.push(Mistake { path, message: message.into() });
    }

    fn within(&mut self, path: &[&str], value: u64, least: u64, most: u64) {
        if !(least..=most).contains(&value) {
            self.add(keys(path), format!("{value} is out of range; allowed: {least} to {most}"));
        }
    }

    fn bounds(&mut self, config: &Config) {
        let Config { backend, timeouts, filter, limits, keys: cache, audit, admin, .. } = config;
        let wide = |size: usize| size as u64;
        self.within(
            &["limits", "address_requests_per_minute"],
            limits.address_requests_per_minute.into(),
            1,
            u32::MAX.into(),
        );
        self.within(
            &["limits", "address_ceiling_per_minute"],
            limits.address_ceiling_per_minute.into(),
            limits.address_requests_per_minute.into(),
            u32::MAX.into(),
        );
        let connections = limits.address_connections_max.into();
        self.within(&["limits", "address_connections_max"], connections, 1, u32::MAX.into());
        self.within(&["limits", "addresses_max"], wide(limits.addresses_max), 1_024, 16 << 20);
        for (name, bytes_max, most) in [
            ("buffered_bytes_max", limits.buffered_bytes_max, 1 << 40),
            ("isolate_buffered_bytes_max", limits.isolate_buffered_bytes_max, ISOLATE_BYTES_MAX),
        ] {
            self.within(&["limits", name], bytes_max, BUFFERED_BYTES_LEAST, most);
        }
        self.within(&["limits", "fleet_answer_ms"], limits.fleet_answer_ms, 1, 5_000);
        self.within(&["admin", "failures_per_minute"], admin.failures_per_minute.into(), 1, 6_000);
        self.within(&["filter", "headers_max"], wide(filter.headers_max), 16, 1_000);
        self.within(&["filter", "header_bytes_max"], wide(filter.header_bytes_max), 8_192, 1 << 20);
        self.within(&["filter", "target_bytes_max"], wide(filter.target_bytes_max), 256, 64 << 10);
        self.within(&["keys", "fresh_secs"], cache.fresh_secs, 1, 3_600);
        self.within(&["keys", "max_stale_secs"], cache.max_stale_secs, cache.fresh_secs, 3_600);
        // A stream outlives its key by at most twice this time; the documented bound is 10 s.
        self.within(&["keys", "stream_check_ms"], cache.stream_check_ms, 10, 5_000);
        self.within(&["keys", "cache_entries_max"], wide(cache.cache_entries_max), 1_024, 64 << 20);
        let journal = config.metering.journal_bytes_max;
        self.within(&["metering", "journal_bytes_max"], journal, 64 << 10, 1 << 40);
        self.within(&["audit", "coalesce_secs"], audit.coalesce_secs, 1, 3_600);
        self.within(&["audit", "retention_days"], u64::from(audit.retention_days), 0, 36_500);
        let kept = config.stripe.events_retention_days;
        if kept != 0 {
            let least = EVENTS_RETENTION_DAYS_MIN.into();
            self.within(&["stripe", "events_retention_days"], kept.into(), least, 36_500);
        }
        self.within(&["audit", "flush_ms"], audit.flush_ms, 1, 10_000);
        self.within(&["audit", "queue_max"], wide(audit.queue_max), 1_024, 16 << 20);
        let most = wide(backend.connections_max);
        self.within(&["backend", "connections_max"], most, 1, 1 << 20);
        self.within(
            &["backend", "idle_connections_max"],
            wide(backend.idle_connections_max),
            0,
            most,
        );
        self.within(&["backend", "health_every_ms"], backend.health_every_ms, 100, HOUR_MS);
        let failures = backend.eject_after_failures.into();
        self.within(&["backend", "eject_after_failures"], failures, 1, 1_000);
        self.within(&["backend", "eject_ms"], backend.eject_ms, 1, HOUR_MS);
        let slowest = timeouts.body_bytes_per_sec_min;
        self.within(&["timeouts", "body_bytes_per_sec_min"], slowest, 0, 1 << 20);
        for (name, value) in [
            ("client_head_ms", timeouts.client_head_ms),
            ("body_idle_ms", timeouts.body_idle_ms),
            ("request_ms", timeouts.request_ms),
            ("client_idle_ms", timeouts.client_idle_ms),
            ("websocket_idle_ms", timeouts.websocket_idle_ms),
            ("backend_connect_ms", timeouts.backend_connect_ms),
            ("backend_head_ms", timeouts.backend_head_ms),
            ("backend_idle_ms", timeouts.backend_idle_ms),
            ("drain_ms", timeouts.drain_ms),
        ] {
            self.within(&["timeouts", name], value, 1, HOUR_MS);
        }
    }

    fn plan(&mut self, plan: &Plan) {
        let path = |field: &str| keys(&["plans", &plan.name, field]);
        if plan.requests_per_minute == 0 {
            self.add(
                path("requests_per_minute"),
                "0 would deny all requests; it has to be at least 1",
            );
        }
        if plan.cap_percent < 100 {
            self.add(
                path("cap_percent"),
                format!("{} % is below the included units; at least 100", plan.cap_percent),
            );
        }
        if plan.policy != QuotaPolicy::Block && plan.overage_micros.is_none() {
            let message = "missing: without a price for overage, the policy has to be \"block\"; set \
                           overage_micros (micro-dollars per unit)";
            self.add(path("overage_micros"), message);
        }
    }

    fn route(&mut self, index: usize, route: &RouteConfig) {
        let path = |field: &str| {
            vec![Step::Key("routes".into()), Step::Index(index), Step::Key(field.into())]
        };
        if let Some(rewrite) = &route.rewrite
            && let Err(error) = Rewrite::parse(rewrite, &route.path)
        {
            self.add(path("rewrite"), error.to_string());
        }
        if !METHODS.contains(&route.method.as_str()) {
            let message = format!("`{}` is not one of {}", route.method, METHODS.join(", "));
            self.add(path("method"), message);
        }
        if route.websocket && route.method != "GET" {
            let message = format!("a WebSocket begins with GET, not {}", route.method);
            self.add(path("websocket"), message);
        }
        if !route.path.starts_with("/api/") {
            self.add(path("path"), format!("`{}` does not start with /api/", route.path));
        }
        if route.units > UNITS_MAX {
            let message = format!("{} is too many; at most {UNITS_MAX} units", route.units);
            self.add(path("units"), message);
        }
        if route.scope.as_deref().is_some_and(|scope| scope.trim().is_empty()) {
            self.add(path("scope"), "the scope is empty; to accept any key, remove the line");
        }
        for kind in &route.content_types {
            if !is_media_range(kind) {
                let message =
                    format!("`{kind}` is not a content type; `application/json` would be right");
                self.add(path("content_types"), message);
            }
        }
        if let Some(timeout) = route.head_timeout_ms
            && !(1..=HOUR_MS).contains(&timeout)
        {
            let message = format!("{timeout} is out of range; allowed: 1 to {HOUR_MS}");
            self.add(path("head_timeout_ms"), message);
        }
    }

    fn backend(&mut self, backend: &Backend) {
        for url in &backend.url.0 {
            if !is_http_url(url) {
                let path = keys(&["backend", "url"]);
                self.add(path, "not an HTTP URL; `http://127.0.0.1:8081` would be right");
            }
        }
        if backend.url.0.len() > BACKENDS_MAX {
            let message = format!("{} URLs; at most {BACKENDS_MAX}", backend.url.0.len());
            self.add(keys(&["backend", "url"]), message);
        }
        if backend.health_path.as_deref().is_some_and(|path| !path.starts_with('/')) {
            self.add(keys(&["backend", "health_path"]), "not a path; `/healthz` would be right");
        }
        for (name, value) in &backend.headers {
            let path = keys(&["backend", "headers", name]);
            let parsed = http::HeaderName::try_from(name);
            if parsed.is_err() {
                self.add(path, format!("`{name}` is not a header name"));
            } else if parsed.is_ok_and(|name| is_framing(&name)) {
                self.add(path, format!("`{name}` is set by the gateway; remove it"));
            } else if http::HeaderValue::try_from(value).is_err() {
                self.add(path, "not a header value: one line of visible characters is needed");
            }
        }
    }

    fn stripe(&mut self, config: &Config) {
        let Config { stripe, plans, .. } = config;
        self.within(&["stripe", "grace_days"], u64::from(stripe.grace_days), 0, 365);
        self.within(&["stripe", "reconcile_hours"], u64::from(stripe.reconcile_hours), 1, 24 * 30);
        if stripe.meter_event_name.is_empty() || stripe.meter_event_name.len() > 100 {
            let message = "the event_name of a meter at Stripe has 1 to 100 characters";
            self.add(keys(&["stripe", "meter_event_name"]), message);
        }
        for plan in stripe.metered_prices.keys() {
            if config.plan(plan).is_none() {
                let message = format!("there is no plan `{plan}`; the plans are {}", plans.names());
                self.add(keys(&["stripe", "metered_prices", plan]), message);
            }
        }
        // The default prices belong to the default plans, which a configuration may have replaced.
        if stripe.prices == PriceMap::default() {
            return;
        }
        for (price, plan) in stripe.prices.iter() {
            if config.plan(plan).is_none() {
                let message = format!("there is no plan `{plan}`; the plans are {}", plans.names());
                self.add(keys(&["stripe", "prices", price]), message);
            }
        }
    }

    fn front(&mut self, config: &Config) {
        let Config { cors, responses, filter, .. } = config;
        let item = |table: &str, field: &str, index: usize| {
            let mut path = keys(&[table, field]);
            path.push(Step::Index(index));
            path
        };
        for (index, origin) in cors.allowed_origins.iter().enumerate() {
            if !is_origin(origin) {
                let message = format!(
                    "`{origin}` is not an origin; `https://app.example.com` would be right"
                );
                self.add(item("cors", "allowed_origins", index), message);
            }
        }
        for (index, name) in cors.allowed_headers.iter().enumerate() {
            if http::HeaderName::try_from(name).is_err() {
                let message = format!("`{name}` is not a header name");
                self.add(item("cors", "allowed_headers", index), message);
            }
        }
        self.within(&["cors", "max_age_secs"], cors.max_age_secs, 0, 86_400);
        for (name, value) in &responses.headers {
            let path = keys(&["responses", "headers", name]);
            let parsed = http::HeaderName::try_from(name);
            if parsed.is_err() {
                self.add(path, format!("`{name}` is not a header name"));
            } else if parsed.is_ok_and(|name| is_framing(&name)) {
                self.add(path, format!("`{name}` is set by the gateway; remove it"));
            } else if http::HeaderValue::try_from(value).is_err() {
                self.add(path, "not a header value: one line of visible characters is needed");
            }
        }
        self.name_patterns(&["filter", "untrusted_headers"], &filter.untrusted_headers);
        let ignored = &config.idempotency.ignored_headers;
        self.name_patterns(&["idempotency", "ignored_headers"], ignored);
        for (index, pattern) in filter.untrusted_headers.iter().enumerate() {
            if let Some(name) = needed_by_backends(pattern) {
                let message = format!("`{pattern}` would drop {name} from every request");
                self.add(item("filter", "untrusted_headers", index), message);
            }
        }
        let header = &filter.client_ip_header;
        if http::HeaderName::try_from(header).is_err() {
            let message =
                format!("`{header}` is not a header name; CF-Connecting-IP would be right");
            self.add(keys(&["filter", "client_ip_header"]), message);
        }
        for (index, text) in filter.denied_user_agents.iter().enumerate() {
            if text.trim().is_empty() {
                let path = item("filter", "denied_user_agents", index);
                self.add(path, "an empty text is part of every user agent; remove it");
            }
        }
    }

    fn name_patterns(&mut self, path: &[&str], patterns: &[String]) {
        for (index, pattern) in patterns.iter().enumerate() {
            if !is_name_pattern(pattern) {
                let message = format!(
                    "`{pattern}` is not a header name; `forwarded` or `x-forwarded-*` would be right"
                );
                let mut path = keys(path);
                path.push(Step::Index(index));
                self.add(path, message);
            }
        }
    }

    fn table(&mut self, config: &Config) {
        if config.routes.is_empty() {
            self.add(keys(&["routes"]), "there are no routes: every request would get 404");
        }
        if let Err(error) = config.route_table() {
            self.add(keys(&["routes"]), error.to_string());
        }
    }
}

/// A header that backends need to read a body, if the pattern would drop it.
fn needed_by_backends(pattern: &str) -> Option<&'static str> {
    if !is_name_pattern(pattern) {
        return None;
    }
    let dropped = HeaderNames::new([pattern]);
    ["content-type", "content-length", "content-encoding"]
        .into_iter()
        .find(|name| dropped.contains(name))
}

fn is_http_url(url: &str) -> bool {
    url.parse::<http::Uri>()
        .is_ok_and(|uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some())
}

fn keys(path: &[&str]) -> Vec<Step> {
    path.iter().map(|key| Step::Key((*key).to_owned())).collect()
}
