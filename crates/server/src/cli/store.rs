//! Opens the store, the fleet's rate limits and the configuration for a command.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use driftlock_domain::config::{Config, OnOutage};
use driftlock_domain::time::Timestamp;
use driftlock_postgres::{PostgresStore, Timing};
use driftlock_redis::{FleetRedis, RedisUrl};
use driftlock_sqlite::{Options, SqliteStore};
use driftlock_supabase::SupabaseStore;

use crate::host::{
    DATABASE_URL, Environment, REDIS_URL, SUPABASE_URL, StoreHttp, StoreUrl, open_supabase,
};

/// The text of a configuration.
pub(super) fn configuration_text(path: &Path) -> Result<String> {
    std::fs::read_to_string(path)
        .with_context(|| format!("cannot read the configuration {}", path.display()))
}

/// The configuration of this file, or the defaults without a file. The error lists every mistake.
pub(super) fn configuration(path: Option<&Path>) -> Result<Config> {
    let Some(path) = path else { return Ok(Config::default()) };
    Config::parse(&configuration_text(path)?).map_err(|mistakes| {
        let lines: Vec<String> =
            mistakes.iter().map(|mistake| format!("{}: {mistake}", path.display())).collect();
        anyhow::anyhow!("the configuration cannot be used\n{}", lines.join("\n"))
    })
}

/// Reads the environment. The error lists every wrong variable.
pub(super) fn environment() -> Result<Environment> {
    Environment::read().map_err(|mistakes| {
        let lines: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
        anyhow::anyhow!("{}", lines.join("\n"))
    })
}

/// The store of a gateway.
pub(super) enum Store {
    /// A SQLite file that only this gateway uses.
    Embedded(SqliteStore),
    /// PostgreSQL, which several gateways may share.
    Fleet(PostgresStore),
    /// A Supabase project.
    Project(SupabaseStore<StoreHttp>),
}

impl Store {
    /// The time of the last commit before this start, if the store records it.
    pub(super) fn last_commit(&self) -> Option<Timestamp> {
        match self {
            Self::Embedded(store) => store.last_commit(),
            Self::Fleet(_) | Self::Project(_) => None,
        }
    }
}

/// Opens the store that the environment names.
pub(super) fn open(
    store: &StoreUrl,
    config: &Config,
    accept_missing: Option<u64>,
) -> Result<Store> {
    match store {
        StoreUrl::Sqlite(path) => open_file(path, config, accept_missing).map(Store::Embedded),
        StoreUrl::Postgres(url) => {
            let durability = config.metering.durability;
            let store = driftlock_postgres::open(url, Timing::Database, durability);
            store.map(Store::Fleet).context(DATABASE_URL)
        }
        StoreUrl::Supabase(access) => {
            open_supabase(Arc::clone(access)).map(Store::Project).context(SUPABASE_URL)
        }
    }
}

/// Checks whether the store could be opened, without changing it. Returns also the name of the
/// variable that configures it.
pub(super) fn look(
    store: &StoreUrl,
    accept_missing: Option<u64>,
) -> (&'static str, Result<String>) {
    match store {
        StoreUrl::Sqlite(path) => (DATABASE_URL, look_at_file(path, accept_missing)),
        StoreUrl::Postgres(url) => {
            let checked = driftlock_postgres::check(url).map_err(Into::into);
            (DATABASE_URL, checked.map(|()| up_to_date(driftlock_postgres::VERSION.into())))
        }
        StoreUrl::Supabase(access) => {
            let opened = open_supabase(Arc::clone(access));
            (SUPABASE_URL, opened.map(|_| up_to_date(driftlock_postgres::VERSION.into())))
        }
    }
}

fn look_at_file(path: &Path, accept_missing: Option<u64>) -> Result<String> {
    let (found, known) = driftlock_sqlite::inspect(path, accept_missing)?;
    Ok(match found {
        0 => format!("{} is not there yet: `driftlock serve` makes it", path.display()),
        found if found == known => up_to_date(known),
        found => format!(
            "the schema has version {found}; {known} is needed: `driftlock migrate`, or the next \
             `driftlock serve`, brings it there"
        ),
    })
}

fn up_to_date(version: i64) -> String {
    format!("the schema is up to date (version {version})")
}

/// The rate limits of the fleet, if the environment configures Redis. A Redis that refuses this
/// gateway is an error. A Redis that does not answer is none: a gateway must start without it.
pub(super) fn fleet(redis: Option<&RedisUrl>, config: &Config) -> Result<Option<FleetRedis>> {
    let opened = redis.map(|url| open_fleet(url, config));
    opened.transpose().context(REDIS_URL)
}

fn open_fleet(url: &RedisUrl, config: &Config) -> Result<FleetRedis> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let answer_max = Duration::from_millis(config.limits.fleet_answer_ms);
    Ok(runtime.block_on(FleetRedis::open(url.clone(), answer_max))?)
}

/// Checks that no journal is configured: the embedded store has no outages to bridge.
pub(super) fn needs_no_journal(config: &Config) -> Result<()> {
    match config.metering.on_outage {
        OnOutage::Refuse => Ok(()),
        OnOutage::Journal => bail!(
            "\"journal\" is for ENV_DATABASE_URL=postgres://… or a Supabase project: the embedded \
             store is always reachable; use \"refuse\""
        ),
    }
}

/// Opens the embedded store. `accept_missing` is the number that a refused start printed for an
/// incomplete database.
pub(super) fn open_file(
    path: &Path,
    config: &Config,
    accept_missing: Option<u64>,
) -> Result<SqliteStore> {
    needs_no_journal(config).context("metering.on_outage")?;
    let durability = config.metering.durability;
    let options = Options { durability, accept_missing, ..Options::default() };
    Ok(SqliteStore::open(path, options)?)
}

/// The configuration's path: the given one, or `gateway.toml` if that file exists.
pub(super) fn config_path(named: Option<PathBuf>) -> Result<Option<PathBuf>> {
    if let Some(path) = named {
        if !path.is_file() {
            bail!("there is no configuration {}", path.display());
        }
        return Ok(Some(path));
    }
    let usual = PathBuf::from("gateway.toml");
    Ok(usual.is_file().then_some(usual))
}
