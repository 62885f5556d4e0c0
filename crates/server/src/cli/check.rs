//! `driftlock check`: checks whether `driftlock serve` could start with this configuration and
//! environment, and says what to correct. It changes nothing.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Args;
use driftlock_domain::config::Config;
use serde_json::{Value, json};

use super::examine::{Examined, Mistakes, examine};
use super::output;

#[derive(Args)]
pub(super) struct Check {
    /// Path of the configuration; default: ENV_CONFIG, then ./gateway.toml
    #[arg(long)]
    config: Option<PathBuf>,
    /// Fail also on warnings: a backend or a Redis that does not answer
    #[arg(long)]
    strict: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Check {
    pub(super) fn run(self) -> Result<ExitCode> {
        let examined = examine(self.config, None).map(|mut examined| {
            ask_backends(&mut examined);
            examined
        });
        let fails = match &examined {
            Ok(examined) => self.strict && !examined.warnings.is_empty(),
            Err(_) => true,
        };
        if self.json {
            output::json(&report(&examined, fails))?;
            return Ok(if fails { ExitCode::FAILURE } else { ExitCode::SUCCESS });
        }
        let examined = examined?;
        print(&examined)?;
        if fails {
            bail!("{} warnings; with --strict they are failures", examined.warnings.len());
        }
        let what = examined.file.map_or_else(
            || "there is no gateway.toml here: the default configuration".to_owned(),
            |file| file.display().to_string(),
        );
        output::line(&format!("{what} is valid: `driftlock serve` can start"))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Connects to every backend. One that does not answer is a warning: a gateway starts without it.
fn ask_backends(examined: &mut Examined) {
    for (backend, outcome) in examined.backends.connect(&examined.config.timeouts) {
        match outcome {
            Ok(()) => examined.found.push(format!("backend: {backend} answers")),
            Err(error) => {
                examined.warnings.push(format!("backend: {backend} does not answer: {error}"));
            }
        }
    }
}

fn report(examined: &Result<Examined, Mistakes>, fails: bool) -> Value {
    match examined {
        Err(Mistakes(mistakes)) => {
            let mistakes: Vec<Value> = mistakes
                .iter()
                .map(|it| json!({ "line": it.line, "key": it.key, "message": it.message }))
                .collect();
            json!({ "ok": false, "mistakes": mistakes, "warnings": [], "found": [] })
        }
        Ok(Examined { config, found, warnings, .. }) => json!({
            "ok": !fails, "mistakes": [], "warnings": warnings, "found": found, "config": config,
        }),
    }
}

fn print(examined: &Examined) -> Result<()> {
    summary(&examined.config)?;
    for line in &examined.found {
        output::line(line)?;
    }
    for line in &examined.warnings {
        output::line(&format!("warning: {line}"))?;
    }
    Ok(())
}

fn summary(config: &Config) -> Result<()> {
    let routes: Vec<Value> = config.routes.iter().map(|route| json!(route)).collect();
    output::table(
        &[("method", "method"), ("path", "path"), ("units", "units"), ("scope", "scope")],
        &routes,
    )?;
    let plans: Vec<Value> = config.plans.iter().map(|plan| json!(plan)).collect();
    output::table(
        &[
            ("plan", "name"),
            ("included", "included"),
            ("overage (micro-dollars)", "overage_micros"),
            ("policy", "policy"),
            ("requests per minute", "requests_per_minute"),
        ],
        &plans,
    )
}
