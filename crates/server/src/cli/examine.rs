//! Checks everything that `serve` needs before it can start, without changing anything.
//!
//! Both `serve` and `check` run these checks. So `check` fails wherever `serve` would, with the
//! same messages. Only the start itself finds out whether another process uses the database, the
//! journal or the listen address at that moment.

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};
use driftlock_domain::config::{Config, ConfigError, OnOutage};
use driftlock_gateway::Secrets;
use driftlock_redis::FleetRedis;

use super::store;
use crate::host::log;
use crate::host::{BACKEND_URL, Backends, Environment, EnvironmentError, Journal, StoreUrl};

/// The parts of a gateway, except for the open store.
pub(super) struct Examined {
    /// The validated configuration.
    pub(super) config: Config,
    /// The configuration's file; `None` if the defaults are used.
    pub(super) file: Option<PathBuf>,
    /// The backends that get the requests.
    pub(super) backends: Backends,
    /// The store that the environment names.
    pub(super) store: StoreUrl,
    /// Admin tokens, Stripe's keys, headers for the backend.
    pub(super) secrets: Secrets,
    /// The fleet's rate limits, if the environment names a Redis.
    pub(super) fleet: Option<FleetRedis>,
    /// Successful checks, one line each.
    pub(super) found: Vec<String>,
    /// Problems that do not prevent a start, one line each.
    pub(super) warnings: Vec<String>,
}

/// A mistake that prevents a start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mistake {
    /// The configuration's file, if the mistake is in it.
    file: Option<PathBuf>,
    /// The line in that file.
    pub(super) line: Option<usize>,
    /// The setting or the environment variable; may be empty.
    pub(super) key: String,
    /// What is wrong, and what would be right.
    pub(super) message: String,
}

/// All mistakes that were found.
#[derive(Debug)]
pub(super) struct Mistakes(pub(super) Vec<Mistake>);

impl Mistake {
    fn of(key: &str, error: impl fmt::Display) -> Self {
        Self { file: None, line: None, key: key.to_owned(), message: error.to_string() }
    }

    fn of_error(key: &str, error: &anyhow::Error) -> Self {
        Self::of(key, format_args!("{error:#}"))
    }

    fn of_file(path: &Path, error: ConfigError) -> Self {
        let ConfigError { line, key, message } = error;
        Self { file: Some(path.to_owned()), line, key, message }
    }
}

impl From<EnvironmentError> for Mistake {
    fn from(error: EnvironmentError) -> Self {
        Self::of(error.variable, error.problem)
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{}", file.display())?;
            if let Some(line) = self.line {
                write!(f, ":{line}")?;
            }
            f.write_str(": ")?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

impl From<Mistakes> for anyhow::Error {
    fn from(Mistakes(mistakes): Mistakes) -> Self {
        let lines: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
        match &lines[..] {
            [one] => anyhow!("{one}"),
            several => anyhow!("{} mistakes\n{}", several.len(), several.join("\n")),
        }
    }
}

/// Checks the configuration, the environment, and the services and files that they name. With
/// `accept_missing`, missing commits are no mistake here: the number is compared on opening.
///
/// # Errors
/// All mistakes of the first stage that has any. Later stages need the results of earlier ones.
pub(super) fn examine(
    argument: Option<PathBuf>,
    accept_missing: Option<u64>,
) -> Result<Examined, Mistakes> {
    let (environment, file, config) = read(argument)?;
    let parts = assemble(environment, config)?;
    look(parts, file, accept_missing)
}

/// First stage: the environment's variables and the configuration's text.
fn read(argument: Option<PathBuf>) -> Result<(Environment, Option<PathBuf>, Config), Mistakes> {
    let (environment, mut mistakes) = match Environment::read() {
        Ok(environment) => (Some(environment), Vec::new()),
        Err(errors) => (None, errors.into_iter().map(Mistake::from).collect::<Vec<_>>()),
    };
    let named = argument.or_else(|| environment.as_ref().and_then(|found| found.config.clone()));
    let read = store::config_path(named).map_err(|error| vec![Mistake::of_error("", &error)]);
    let read = read.and_then(|file| {
        let config = configuration(file.as_deref())?;
        Ok((file, config))
    });
    match (environment, read) {
        (Some(environment), Ok((file, config))) => Ok((environment, file, config)),
        (_, read) => {
            mistakes.extend(read.err().unwrap_or_default());
            Err(Mistakes(mistakes))
        }
    }
}

/// The configuration of this file, or the defaults without a file.
fn configuration(path: Option<&Path>) -> Result<Config, Vec<Mistake>> {
    let Some(path) = path else { return Ok(Config::default()) };
    let text = store::configuration_text(path);
    let text = text.map_err(|error| vec![Mistake::of_error("", &error)])?;
    Config::parse(&text)
        .map_err(|errors| errors.into_iter().map(|error| Mistake::of_file(path, error)).collect())
}

struct Assembled {
    config: Config,
    backends: Backends,
    store: StoreUrl,
    redis: Option<driftlock_redis::RedisUrl>,
    secrets: Secrets,
}

/// Second stage: the parts of a gateway that need no I/O.
fn assemble(environment: Environment, config: Config) -> Result<Assembled, Mistakes> {
    let mut mistakes = Vec::new();
    let urls = environment.backend.clone().unwrap_or_else(|| config.backend.url.clone());
    if urls.is_empty() {
        mistakes.push(Mistake::of(
            BACKEND_URL,
            "not set, and neither is backend.url in the configuration; set it, for example to \
             `http://127.0.0.1:8081`",
        ));
    }
    let store = environment.required_store().cloned();
    let store = store.map_err(|error| mistakes.push(error.into())).ok();
    if let Some(StoreUrl::Sqlite(_)) = store
        && let Err(error) = store::needs_no_journal(&config)
    {
        mistakes.push(Mistake::of_error("metering.on_outage", &error));
    }
    let headers = config.backend.resolved_headers(|name| std::env::var(name).ok());
    let headers = headers.map_err(|error| mistakes.push(Mistake::of("", error))).ok();
    for (_, value) in headers.iter().flatten() {
        value.to_str().into_iter().for_each(log::mask);
    }
    let backends = Backends::new(&urls, &config.backend, headers.as_deref().unwrap_or_default());
    let backends = backends.map_err(|error| mistakes.push(Mistake::of("backend", error))).ok();
    let (Some(store), Some(backend_headers), Some(backends), []) =
        (store, headers, backends, &mistakes[..])
    else {
        return Err(Mistakes(mistakes));
    };
    let secrets = Secrets {
        admin_tokens: environment.admin_tokens.unwrap_or_default(),
        backend_headers,
        webhook_secrets: environment.webhook_secrets,
        stripe: environment.stripe,
    };
    Ok(Assembled { config, backends, store, redis: environment.redis, secrets })
}

/// Third stage: the configured store, journal and Redis.
fn look(
    parts: Assembled,
    file: Option<PathBuf>,
    accept_missing: Option<u64>,
) -> Result<Examined, Mistakes> {
    let Assembled { config, backends, store, redis, secrets } = parts;
    let (mut found, mut warnings, mut mistakes) = (Vec::new(), Vec::new(), Vec::new());
    let (variable, looked) = store::look(&store, accept_missing);
    match looked {
        Ok(line) => found.push(format!("{variable}: {line}")),
        Err(error) => mistakes.push(Mistake::of_error(variable, &error)),
    }
    if config.metering.on_outage == OnOutage::Journal
        && let Err(error) = Journal::look(&config.metering)
    {
        mistakes.push(Mistake::of("metering.journal_file", error));
    }
    let fleet = match store::fleet(redis.as_ref(), &config) {
        Ok(fleet) => fleet,
        Err(error) => {
            mistakes.push(Mistake::of_error("", &error));
            None
        }
    };
    if let Some(fleet) = &fleet {
        match fleet.server() {
            Some(server) => found.push(format!("ENV_REDIS_URL: {server} counts rate limits")),
            None => warnings.push(
                "ENV_REDIS_URL: Redis does not answer; until it does, each gateway counts rate \
                 limits by itself"
                    .to_owned(),
            ),
        }
    }
    if secrets.admin_tokens.is_empty() {
        found.push("ENV_ADMIN_TOKEN: not set: there is no admin API".to_owned());
    }
    if !mistakes.is_empty() {
        return Err(Mistakes(mistakes));
    }
    Ok(Examined { config, file, backends, store, secrets, fleet, found, warnings })
}
