//! State that an isolate keeps between requests: configuration, caches, queues.
//!
//! Initialization is synchronous: the runtime cancels a request that awaits a promise of another
//! request when that one ends.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use driftlock_domain::config::{Config, OnOutage, Urls};
use driftlock_domain::stripe::{api, signature};
use driftlock_gateway::{AdminTokens, Secrets, Shared};
use driftlock_supabase::{Access, MalformedAccess};
use worker::Env;

use crate::log;

/// See the module.
#[derive(Clone)]
pub(crate) struct Isolate {
    pub(crate) shared: Arc<Shared>,
    /// Base URLs without a trailing slash.
    pub(crate) backends: Rc<[Rc<str>]>,
    /// Whether a secret key for Stripe's API is set.
    pub(crate) has_stripe: bool,
    /// Time between reconciliations with Stripe.
    pub(crate) reconciled_every: Duration,
    /// The Supabase project that is the directory; `None` if D1 is.
    pub(crate) supabase: Option<Arc<Access>>,
}

/// Variables whose values are secrets; some are comma-separated lists.
const SECRET_VARIABLES: [&str; 4] = [
    "ENV_ADMIN_TOKEN",
    "ENV_STRIPE_WEBHOOK_SECRET",
    "ENV_STRIPE_SECRET_KEY",
    "ENV_SUPABASE_SERVICE_ROLE_KEY",
];

thread_local! {
    static CONFIGURATION: RefCell<Option<String>> = const { RefCell::new(None) };
    static ISOLATE: RefCell<Option<Isolate>> = const { RefCell::new(None) };
}

/// Sets the text of `gateway.toml`, before the first request.
pub(crate) fn configure(text: String) {
    CONFIGURATION.replace(Some(text));
}

impl Isolate {
    /// The isolate's state, made from its configuration and environment at the first request.
    ///
    /// # Errors
    /// A message for operators: what is wrong and what would be right; no secret.
    pub(crate) fn get(env: &Env) -> Result<Self, String> {
        if let Some(isolate) = ISOLATE.with_borrow(Clone::clone) {
            return Ok(isolate);
        }
        for name in SECRET_VARIABLES {
            let list = variable(env, name).unwrap_or_default();
            list.split(',').for_each(|secret| log::mask(secret.trim()));
        }
        let text = CONFIGURATION.with_borrow(|text| text.clone().unwrap_or_default());
        let isolate = Self::new(&text, env)?;
        ISOLATE.replace(Some(isolate.clone()));
        Ok(isolate)
    }

    fn new(text: &str, env: &Env) -> Result<Self, String> {
        let mut config = Config::parse(text).map_err(|errors| {
            let lines: Vec<_> = errors.iter().map(ToString::to_string).collect();
            lines.join("; ")
        })?;
        let routes = config.route_table().map_err(|error| error.to_string())?;
        if config.backend.ca_file.is_some() || config.backend.health_path.is_some() {
            return Err("backend.ca_file and backend.health_path: at the edge the platform makes \
                        connections and watches backends; leave them out"
                .to_owned());
        }
        if config.metering.on_outage == OnOutage::Journal {
            return Err("metering.on_outage: at the edge there is no file to keep a journal in; \
                        leave it out"
                .to_owned());
        }
        warn_of_ignored(&config);
        let urls = variable(env, "ENV_GO_BACKEND_URL");
        let urls = urls.map_or_else(|| config.backend.url.clone(), |text| Urls::of_list(&text));
        if urls.is_empty() {
            return Err("no backend: set ENV_GO_BACKEND_URL, or backend.url in gateway.toml \
                        (http://127.0.0.1:8081 would be right)"
                .to_owned());
        }
        let backends = urls.0.iter().map(|url| base(url)).collect::<Result<_, String>>()?;
        let tokens = variable(env, "ENV_ADMIN_TOKEN").map(|token| AdminTokens::parse(&token));
        let tokens = tokens.transpose().map_err(|error| format!("ENV_ADMIN_TOKEN: {error}"))?;
        if tokens.is_none() {
            tracing::warn!("no ENV_ADMIN_TOKEN: there is no admin API");
        }
        let backend_headers = config.backend.resolved_headers(|name| variable(env, name));
        let backend_headers = backend_headers.map_err(|error| error.to_string())?;
        for (_, value) in &backend_headers {
            value.to_str().into_iter().for_each(log::mask);
        }
        let webhook_secrets = variable(env, "ENV_STRIPE_WEBHOOK_SECRET");
        let webhook_secrets = webhook_secrets.map(|text| signature::Secrets::parse(&text));
        let webhook_secrets = webhook_secrets
            .transpose()
            .map_err(|error| format!("ENV_STRIPE_WEBHOOK_SECRET: {error}"))?;
        let admin_tokens = tokens.unwrap_or_default();
        let stripe = stripe(env)?;
        let secrets = Secrets { admin_tokens, backend_headers, webhook_secrets, stripe };
        let has_stripe = secrets.stripe.is_some();
        config.limits.buffered_bytes_max = config.limits.isolate_buffered_bytes_max;
        let hours = u64::from(config.stripe.reconcile_hours);
        let reconciled_every = Duration::from_secs(hours * 3_600);
        let shared = Shared::new(config, routes, secrets);
        Ok(Self { shared, backends, has_stripe, reconciled_every, supabase: supabase(env)? })
    }
}

/// Logs a warning for each setting that has no effect at the edge and differs from its default.
fn warn_of_ignored(config: &Config) {
    let default = Config::default();
    let (times, usual) = (&config.timeouts, &default.timeouts);
    let (backend, usual_backend) = (&config.backend, &default.backend);
    let settings = [
        ("timeouts.body_idle_ms", times.body_idle_ms == usual.body_idle_ms),
        ("timeouts.request_ms", times.request_ms == usual.request_ms),
        ("timeouts.client_head_ms", times.client_head_ms == usual.client_head_ms),
        ("timeouts.client_idle_ms", times.client_idle_ms == usual.client_idle_ms),
        ("timeouts.websocket_idle_ms", times.websocket_idle_ms == usual.websocket_idle_ms),
        ("backend.connections_max", backend.connections_max == usual_backend.connections_max),
        (
            "backend.eject_after_failures",
            backend.eject_after_failures == usual_backend.eject_after_failures,
        ),
        ("backend.eject_ms", backend.eject_ms == usual_backend.eject_ms),
        ("audit.flush_ms", config.audit.flush_ms == default.audit.flush_ms),
        (
            "limits.buffered_bytes_max",
            config.limits.buffered_bytes_max == default.limits.buffered_bytes_max,
        ),
    ];
    for (setting, _) in settings.iter().filter(|(_, is_default)| !is_default) {
        tracing::warn!(setting, "has no effect at the edge: see docs/workers.md");
    }
    if !config.admin.public {
        tracing::warn!("admin.public = false: there is no other listener, so no admin API");
    }
}

/// Access to Stripe's API, if a secret key is set.
fn stripe(env: &Env) -> Result<Option<api::Access>, String> {
    let base = variable(env, "ENV_STRIPE_API_BASE");
    let base = base.as_deref().unwrap_or(api::API_BASE);
    let key = variable(env, "ENV_STRIPE_SECRET_KEY");
    let access = key.map(|key| api::Access::new(&key, base)).transpose();
    access.map_err(|error| match error {
        api::MalformedAccess::Base => format!("ENV_STRIPE_API_BASE: {error}"),
        _ => format!("ENV_STRIPE_SECRET_KEY: {error}"),
    })
}

/// The Supabase project, if one is named.
///
/// # Errors
/// What is wrong with the environment; no secret.
pub(crate) fn supabase(env: &Env) -> Result<Option<Arc<Access>>, String> {
    const URL: &str = "ENV_SUPABASE_URL";
    const KEY: &str = "ENV_SUPABASE_SERVICE_ROLE_KEY";
    let Some(url) = variable(env, URL) else { return Ok(None) };
    let key = variable(env, KEY).ok_or_else(|| format!("{KEY}: not set, although {URL} is"))?;
    let access = Access::new(&url, &key).map_err(|error| match error {
        MalformedAccess::Url => format!("{URL}: {error}"),
        _ => format!("{KEY}: {error}"),
    })?;
    Ok(Some(Arc::new(access)))
}

/// A backend's base URL.
fn base(text: &str) -> Result<Rc<str>, String> {
    let url = web_sys::Url::new(text).map_err(|_| "ENV_GO_BACKEND_URL: no URL")?;
    if matches!(url.protocol().as_str(), "http:" | "https:") {
        Ok(text.trim_end_matches('/').into())
    } else {
        Err("ENV_GO_BACKEND_URL: neither http:// nor https://".to_owned())
    }
}

/// A variable or a secret; an empty one counts as unset.
fn variable(env: &Env, name: &str) -> Option<String> {
    let value = env.var(name).ok()?.to_string();
    let value = value.trim();
    (!value.is_empty()).then(|| value.to_owned())
}
