//! Reads the environment's variables: the addresses of backend and store, and the secrets.
//!
//! They are read once, before the gateway listens. For a malformed variable the error names it and
//! says what would be right. A value is never printed, because it may be a secret.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use driftlock_domain::config::Urls;
use driftlock_domain::stripe::{api, signature};
use driftlock_gateway::AdminTokens;
use driftlock_postgres::DatabaseUrl;
use driftlock_redis::RedisUrl;
use driftlock_supabase as supabase;

use super::upstream::{BackendUrl, MalformedBackendUrl};

/// The environment, read and checked.
pub(crate) struct Environment {
    /// `ENV_GO_BACKEND_URL`, one URL or several, separated by commas. Overrides the configuration's
    /// `backend.url`.
    pub(crate) backend: Option<Urls>,
    /// `ENV_DATABASE_URL`; if unset, `ENV_SUPABASE_URL` with its key.
    pub(crate) store: Option<StoreUrl>,
    /// `ENV_ADMIN_TOKEN`.
    pub(crate) admin_tokens: Option<AdminTokens>,
    /// `ENV_STRIPE_WEBHOOK_SECRET`, one secret or several.
    pub(crate) webhook_secrets: Option<signature::Secrets>,
    /// `ENV_STRIPE_SECRET_KEY`, at `ENV_STRIPE_API_BASE`.
    pub(crate) stripe: Option<api::Access>,
    /// `ENV_REDIS_URL`: the fleet's rate limits.
    pub(crate) redis: Option<RedisUrl>,
    /// `ENV_CONFIG`: the path of `gateway.toml`.
    pub(crate) config: Option<PathBuf>,
}

/// Where the store is.
#[derive(Debug, Clone)]
pub(crate) enum StoreUrl {
    /// An SQLite file.
    Sqlite(PathBuf),
    /// A PostgreSQL database, which several gateways may share.
    Postgres(Box<DatabaseUrl>),
    /// A Supabase project, by its REST API.
    Supabase(Arc<supabase::Access>),
}

/// A variable that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EnvironmentError {
    /// The variable's name.
    pub(crate) variable: &'static str,
    /// What is wrong, and what would be right; never its value.
    pub(crate) problem: String,
}

impl fmt::Display for EnvironmentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.variable, self.problem)
    }
}

impl std::error::Error for EnvironmentError {}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Environment")
            .field("backend", &self.backend)
            .field("store", &self.store)
            .field("admin_tokens", &self.admin_tokens.as_ref().map(|_| "…"))
            .field("webhook_secrets", &self.webhook_secrets.as_ref().map(|_| "…"))
            .field("stripe", &self.stripe)
            .field("redis", &self.redis)
            .field("config", &self.config)
            .finish()
    }
}

impl Environment {
    /// Reads the process's environment.
    ///
    /// # Errors
    /// Every variable that cannot be used.
    pub(crate) fn read() -> Result<Self, Vec<EnvironmentError>> {
        Self::from_lookup(|name| std::env::var_os(name).map(|value| value.into_string().ok()))
    }

    /// Reads with `lookup`, which returns `Some(None)` for a value that is not UTF-8. An empty
    /// variable counts as unset, because shells and container files often leave variables empty.
    pub(crate) fn from_lookup(
        lookup: impl Fn(&str) -> Option<Option<String>>,
    ) -> Result<Self, Vec<EnvironmentError>> {
        let mut reader = Reader { lookup, found: Vec::new() };
        let backend = reader.read(BACKEND_URL, urls);
        let store = reader.read(DATABASE_URL, store_url);
        let admin_tokens = reader.read(ADMIN_TOKEN, AdminTokens::parse);
        let webhook_secrets = reader.read(WEBHOOK_SECRET, signature::Secrets::parse);
        let base = reader.read(STRIPE_API_BASE, stripe_base);
        let base = base.as_deref().unwrap_or(api::API_BASE);
        let stripe = reader.read(STRIPE_SECRET_KEY, |key| api::Access::new(key, base));
        let config = reader.read(CONFIG, |text| Ok::<_, String>(PathBuf::from(text)));
        let supabase = supabase(&mut reader);
        let store = store.or(supabase);
        let redis = reader.read(REDIS_URL, RedisUrl::parse);
        if reader.found.is_empty() {
            Ok(Self { backend, store, admin_tokens, webhook_secrets, stripe, redis, config })
        } else {
            Err(reader.found)
        }
    }

    /// The store, which `serve` requires.
    ///
    /// # Errors
    /// [`EnvironmentError`] if no store is configured.
    pub(crate) fn required_store(&self) -> Result<&StoreUrl, EnvironmentError> {
        self.store.as_ref().ok_or_else(|| {
            let problem = "not set; `sqlite:driftlock.db` or `postgres://…` would be right, or \
                           ENV_SUPABASE_URL with ENV_SUPABASE_SERVICE_ROLE_KEY";
            EnvironmentError { variable: DATABASE_URL, problem: problem.to_owned() }
        })
    }
}

/// The backend's base URL.
pub(crate) const BACKEND_URL: &str = "ENV_GO_BACKEND_URL";
/// The store.
pub(crate) const DATABASE_URL: &str = "ENV_DATABASE_URL";
/// The admin API's token.
pub(crate) const ADMIN_TOKEN: &str = "ENV_ADMIN_TOKEN";
/// The secrets that Stripe signs deliveries with.
pub(crate) const WEBHOOK_SECRET: &str = "ENV_STRIPE_WEBHOOK_SECRET";
/// The secret key to Stripe's API.
pub(crate) const STRIPE_SECRET_KEY: &str = "ENV_STRIPE_SECRET_KEY";
/// The base URL of Stripe's API, if not Stripe's.
pub(crate) const STRIPE_API_BASE: &str = "ENV_STRIPE_API_BASE";
/// The configuration's path.
pub(crate) const CONFIG: &str = "ENV_CONFIG";

/// A Supabase project. `ENV_DATABASE_URL` takes precedence.
pub(crate) const SUPABASE_URL: &str = "ENV_SUPABASE_URL";
/// The project's service key.
const SUPABASE_KEY: &str = "ENV_SUPABASE_SERVICE_ROLE_KEY";
/// Redis or Valkey, which stores the rate limits of a fleet.
pub(crate) const REDIS_URL: &str = "ENV_REDIS_URL";

struct Reader<L> {
    lookup: L,
    found: Vec<EnvironmentError>,
}

impl<L: Fn(&str) -> Option<Option<String>>> Reader<L> {
    fn read<T, E: fmt::Display>(
        &mut self,
        variable: &'static str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let parsed = match (self.lookup)(variable)? {
            None => Err("not UTF-8 text".to_owned()),
            Some(text) if text.trim().is_empty() => return None,
            Some(text) => parse(text.trim()).map_err(|error| error.to_string()),
        };
        match parsed {
            Ok(value) => Some(value),
            Err(problem) => {
                self.found.push(EnvironmentError { variable, problem });
                None
            }
        }
    }
}

fn urls(text: &str) -> Result<Urls, MalformedBackendUrl> {
    let urls = Urls::of_list(text);
    urls.0.iter().try_for_each(|url| BackendUrl::parse(url).map(drop))?;
    if urls.is_empty() { Err(MalformedBackendUrl::NotUrl) } else { Ok(urls) }
}

/// A Supabase project; its URL and its key must both be set.
fn supabase(reader: &mut Reader<impl Fn(&str) -> Option<Option<String>>>) -> Option<StoreUrl> {
    let url = reader
        .read(SUPABASE_URL, |text| supabase::Access::check_url(text).map(|()| text.to_owned()));
    // If the URL is wrong, the key is checked with another, so that each mistake is reported once.
    let base = url.as_deref().unwrap_or("https://a.supabase.co");
    let access = reader.read(SUPABASE_KEY, |key| supabase::Access::new(base, key));
    let is_set = |name: &str| {
        (reader.lookup)(name).is_some_and(|text| text.is_none_or(|text| !text.trim().is_empty()))
    };
    let lacking = match (is_set(SUPABASE_URL), is_set(SUPABASE_KEY)) {
        (true, false) => Some((SUPABASE_KEY, "not set, although ENV_SUPABASE_URL is")),
        (false, true) => Some((SUPABASE_URL, "not set, although ENV_SUPABASE_SERVICE_ROLE_KEY is")),
        (true, true) | (false, false) => None,
    };
    reader.found.extend(
        lacking
            .map(|(variable, problem)| EnvironmentError { variable, problem: problem.to_owned() }),
    );
    url.and(access).map(Arc::new).map(StoreUrl::Supabase)
}

/// Checks the base URL alone, so that the error names the right variable.
fn stripe_base(text: &str) -> Result<String, api::MalformedAccess> {
    api::Access::new("sk_", text).map(|_| text.to_owned())
}

fn store_url(text: &str) -> Result<StoreUrl, String> {
    let scheme = text.split_once(':').map_or("", |(scheme, _)| scheme);
    match (scheme, text.strip_prefix("sqlite:")) {
        (_, Some("" | "//")) => {
            Err("the path is missing; `sqlite:driftlock.db` would be right".to_owned())
        }
        (_, Some(path)) => Ok(StoreUrl::Sqlite(path.strip_prefix("//").unwrap_or(path).into())),
        ("postgres" | "postgresql", None) => DatabaseUrl::parse(text)
            .map(Box::new)
            .map(StoreUrl::Postgres)
            .map_err(|error| error.to_string()),
        _ => Err("no store URL; `sqlite:driftlock.db` or `postgres://…` would be right".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Environment, Vec<EnvironmentError>> {
        Environment::from_lookup(|name| {
            let found = pairs.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| Some((*value).to_owned()))
        })
    }

    #[test]
    fn nothing_is_required() {
        let environment = read(&[]).expect("well-formed");
        assert!(environment.backend.is_none() && environment.store.is_none());
        assert!(environment.admin_tokens.is_none() && environment.config.is_none());
    }

    #[test]
    fn an_empty_variable_counts_as_unset() {
        assert!(read(&[(ADMIN_TOKEN, ""), (DATABASE_URL, " ")]).is_ok());
    }

    #[test]
    fn stores_by_scheme() {
        let of = |url: &str| read(&[(DATABASE_URL, url)]).map(|found| found.store);
        let is_file = |url: &str, path: &str| {
            let found = of(url).expect("well-formed");
            assert!(matches!(found, Some(StoreUrl::Sqlite(found)) if found.as_os_str() == path));
        };
        is_file("sqlite:data/a.db", "data/a.db");
        is_file("sqlite:///var/a.db", "/var/a.db");
        let fleet = of("postgres://u:hunter2@h/d").expect("well-formed");
        assert!(matches!(fleet, Some(StoreUrl::Postgres(_))));
        assert!(!format!("{fleet:?}").contains("hunter2"));
        for wrong in ["sqlite:", "postgres://u:hunter2@h:port/d", "mysql://h", "a.db"] {
            let mistakes = of(wrong).expect_err("malformed");
            assert_eq!(mistakes[0].variable, DATABASE_URL);
            assert!(!mistakes[0].to_string().contains("hunter2"));
        }
    }

    #[test]
    fn every_mistake_is_reported_without_its_value() {
        let mistakes = read(&[(BACKEND_URL, "8081"), (ADMIN_TOKEN, "too-short-a-secret")])
            .expect_err("malformed");
        let shown: Vec<_> = mistakes.iter().map(ToString::to_string).collect();
        assert_eq!(shown.len(), 2, "{shown:?}");
        assert!(shown[0].starts_with("ENV_GO_BACKEND_URL: "), "{shown:?}");
        assert!(shown[1].starts_with("ENV_ADMIN_TOKEN: "), "{shown:?}");
        assert!(!shown[1].contains("too-short-a-secret"), "{shown:?}");
        assert!(shown.iter().all(|line| !line.contains('\n')), "{shown:?}");
        let stripe = read(&[(STRIPE_SECRET_KEY, "hunter2"), (STRIPE_API_BASE, "api.stripe.com")]);
        let stripe = stripe.expect_err("malformed");
        let named: Vec<&str> = stripe.iter().map(|mistake| mistake.variable).collect();
        assert_eq!(named, [STRIPE_API_BASE, STRIPE_SECRET_KEY]);
        assert!(stripe.iter().all(|mistake| !mistake.to_string().contains("hunter2")));
    }

    #[test]
    fn a_redis_is_named_without_its_password() {
        let found = read(&[(REDIS_URL, "rediss://u:hunter2@h:6380/1")]).expect("well-formed");
        let shown = format!("{found:?}");
        assert!(shown.contains("h:6380") && !shown.contains("hunter2"), "{shown}");
        let mistakes = read(&[(REDIS_URL, "http://u:hunter2@h")]).expect_err("malformed");
        let shown = mistakes[0].to_string();
        assert!(shown.starts_with("ENV_REDIS_URL: not a Redis URL") && !shown.contains("hunter2"));
    }

    #[test]
    fn a_store_is_required_by_name() {
        let url = (SUPABASE_URL, "https://x.supabase.co");
        let key = (SUPABASE_KEY, "sb_secret_hunter2");
        assert_eq!(
            read(&[]).expect("well-formed").required_store().map_err(|e| e.variable).err(),
            Some(DATABASE_URL)
        );
        let both = read(&[url, key]).expect("well-formed");
        assert!(matches!(both.required_store(), Ok(StoreUrl::Supabase(_))));
        assert!(!format!("{both:?}").contains("hunter2"));
        let all = read(&[url, key, (DATABASE_URL, "sqlite:a.db")]).expect("well-formed");
        assert!(matches!(all.required_store(), Ok(StoreUrl::Sqlite(_))));
        let mistake = |pairs: &[(&str, &str)]| {
            let mistakes = read(pairs).expect_err("malformed");
            assert_eq!(mistakes.len(), 1, "{mistakes:?}");
            mistakes[0].variable
        };
        assert_eq!(mistake(&[url]), SUPABASE_KEY);
        assert_eq!(mistake(&[key]), SUPABASE_URL);
        assert_eq!(mistake(&[url, (SUPABASE_KEY, "sb_publishable_a")]), SUPABASE_KEY);
        assert_eq!(mistake(&[(SUPABASE_URL, "x.supabase.co"), key]), SUPABASE_URL);
    }
}
