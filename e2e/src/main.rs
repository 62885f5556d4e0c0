//! Runs the black-box suite against a gateway that is already running.

#![expect(
    clippy::print_stdout,
    reason = "the report on standard output is what this program is for"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Parser;
use driftlock_e2e::cases::{CASES, is_smoke};
use driftlock_e2e::runner::{Case, run, summary};
use driftlock_e2e::target::Target;

/// What a running gateway must do, seen from outside.
#[derive(Parser)]
#[command(name = "driftlock-e2e")]
struct Cli {
    /// Where the gateway is, such as http://127.0.0.1:8787
    #[arg(long)]
    url: String,
    /// A file that holds the admin token; else ENV_ADMIN_TOKEN does
    #[arg(long)]
    token_file: Option<PathBuf>,
    /// A file that holds the webhook secret; else ENV_STRIPE_WEBHOOK_SECRET does
    #[arg(long)]
    webhook_secret_file: Option<PathBuf>,
    /// Run the cases whose name contains this
    #[arg(long, value_name = "PATTERN")]
    only: Option<String>,
    /// Run only the few cases that check that the host works at all
    #[arg(long)]
    smoke: bool,
}

fn main() -> ExitCode {
    match suite(&Cli::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether all passed.
fn suite(cli: &Cli) -> Result<bool> {
    let token = secret(cli.token_file.as_deref(), "ENV_ADMIN_TOKEN");
    let token = token.context("no admin token: give --token-file")?;
    let webhook = secret(cli.webhook_secret_file.as_deref(), "ENV_STRIPE_WEBHOOK_SECRET");
    let webhook = webhook.context("no webhook secret: give --webhook-secret-file")?;
    let target = Target::new(&cli.url, &token).with_webhook_secret(&webhook);
    let only = cli.only.as_deref().unwrap_or_default();
    let wanted = |case: &&Case| case.name.contains(only) && (!cli.smoke || is_smoke(case.name));
    let cases: Vec<&Case> = CASES.iter().filter(wanted).collect();
    if cases.is_empty() {
        bail!("no case is called anything like `{only}`");
    }
    let outcomes = run(&target, &cases);
    outcomes.iter().for_each(|outcome| println!("{outcome}"));
    println!("{}", summary(&outcomes));
    Ok(outcomes.iter().all(|outcome| outcome.failure.is_none()))
}

/// The content of a file, or of the variable without one.
fn secret(file: Option<&Path>, variable: &str) -> Result<String> {
    let text = match file {
        Some(path) => fs::read_to_string(path)
            .with_context(|| format!("{} cannot be read", path.display()))?,
        None => std::env::var(variable).with_context(|| format!("{variable} is not set either"))?,
    };
    Ok(text.trim().to_owned())
}
