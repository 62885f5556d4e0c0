//! `driftlock migrate`: upgrades the store's schema. A second run changes nothing.

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Args;
use driftlock_domain::config::Config;
use serde_json::json;

use super::{output, store};
use crate::host::{DATABASE_URL, StoreUrl};

#[derive(Args)]
pub(super) struct Migrate {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Accept an embedded database with missing commits: the number that the refused start printed
    #[arg(long, value_name = "NUMBER")]
    accept_missing_commits: Option<u64>,
}

/// The result of a migration.
struct Done {
    from: i64,
    to: i64,
    applied: Vec<String>,
    notices: Vec<String>,
}

impl Migrate {
    pub(super) fn run(self) -> Result<ExitCode> {
        let environment = store::environment()?;
        let Done { from, to, applied, notices } = match environment.required_store()? {
            StoreUrl::Sqlite(path) => {
                let (from, to) =
                    store::open_file(path, &Config::default(), self.accept_missing_commits)?
                        .migrated();
                let applied = (from + 1..=to).map(|number| format!("{number:04}")).collect();
                Done { from, to, applied, notices: Vec::new() }
            }
            StoreUrl::Postgres(url) => {
                let done = driftlock_postgres::migrate(url).context(DATABASE_URL)?;
                let applied = done.applied.iter().map(|name| (*name).to_owned()).collect();
                let (from, to, notices) = (done.from.into(), done.to.into(), done.notices);
                Done { from, to, applied, notices }
            }
            StoreUrl::Supabase(_) => bail!(
                "a project's REST API cannot change the schema: apply migrations/postgres with \
                 `supabase db push`, or set ENV_DATABASE_URL to the project's database"
            ),
        };
        if self.json {
            output::json(
                &json!({ "from": from, "to": to, "applied": applied, "notices": notices }),
            )?;
            return Ok(ExitCode::SUCCESS);
        }
        for name in &applied {
            output::line(&format!("applied {name}"))?;
        }
        for notice in &notices {
            output::line(&format!("notice: {notice}"))?;
        }
        output::line(&match from {
            from if from == to => format!("the schema is up to date (version {to})"),
            from => format!("upgraded the schema from version {from} to {to}"),
        })?;
        Ok(ExitCode::SUCCESS)
    }
}
