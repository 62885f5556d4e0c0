//! What an isolate keeps between requests: configuration, remembered facts, queues.
//!
//! Nothing here waits: a request that awaited another one's promise would be cancelled with it, so
//! what is missing is made, then set.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use driftlock_domain::config::Config;
use driftlock_gateway::{AdminTokens, Shared};
use worker::Env;

/// See the module.
#[derive(Clone)]
pub(crate) struct Isolate {
    pub(crate) shared: Arc<Shared>,
    pub(crate) backend: Rc<str>,
}

thread_local! {
    static CONFIGURATION: RefCell<Option<String>> = const { RefCell::new(None) };
    static ISOLATE: RefCell<Option<Isolate>> = const { RefCell::new(None) };
}

/// Takes over the text of `gateway.toml`, before the first request.
pub(crate) fn configure(text: String) {
    CONFIGURATION.replace(Some(text));
}

impl Isolate {
    /// The isolate's, made of its configuration and this environment at the first request.
    ///
    /// # Errors
    /// A line an operator can act on: what is wrong, and what would be right; no secret.
    pub(crate) fn get(env: &Env) -> Result<Self, String> {
        if let Some(isolate) = ISOLATE.with_borrow(Clone::clone) {
            return Ok(isolate);
        }
        let text = CONFIGURATION.with_borrow(|text| text.clone().unwrap_or_default());
        let isolate = Self::new(&text, env)?;
        ISOLATE.replace(Some(isolate.clone()));
        Ok(isolate)
    }

    fn new(text: &str, env: &Env) -> Result<Self, String> {
        let config = Config::parse(text).map_err(|errors| {
            let lines: Vec<_> = errors.iter().map(ToString::to_string).collect();
            lines.join("; ")
        })?;
        let routes = config.route_table().map_err(|error| error.to_string())?;
        let backend = variable(env, "ENV_GO_BACKEND_URL").or_else(|| config.backend.url.clone());
        let backend = backend.ok_or(
            "no backend: set ENV_GO_BACKEND_URL, or backend.url in gateway.toml \
             (http://127.0.0.1:8081 would be right)",
        )?;
        let url = web_sys::Url::new(&backend).map_err(|_| "ENV_GO_BACKEND_URL: no URL")?;
        if !matches!(url.protocol().as_str(), "http:" | "https:") {
            return Err("ENV_GO_BACKEND_URL: neither http:// nor https://".to_owned());
        }
        let tokens = variable(env, "ENV_ADMIN_TOKEN").map(|token| AdminTokens::parse(&token));
        let tokens = tokens.transpose().map_err(|error| format!("ENV_ADMIN_TOKEN: {error}"))?;
        if tokens.is_none() {
            tracing::warn!("no ENV_ADMIN_TOKEN: there is no admin API");
        }
        let backend = backend.trim_end_matches('/').into();
        Ok(Self { shared: Shared::new(config, routes, tokens.unwrap_or_default()), backend })
    }
}

/// A variable or a secret; an empty one counts as unset.
fn variable(env: &Env, name: &str) -> Option<String> {
    let value = env.var(name).ok()?.to_string();
    let value = value.trim();
    (!value.is_empty()).then(|| value.to_owned())
}
