//! `driftlock check`: what is wrong with a configuration, line by line, and what would be right; and
//! with the store and the Redis that the environment names, which are looked at and not changed.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Args;
use driftlock_domain::config::{Config, ConfigError};
use serde_json::{Value, json};

use super::{output, store};
use crate::host::{Environment, EnvironmentError};

#[derive(Args)]
pub(super) struct Check {
    /// The configuration
    #[arg(long, env = "ENV_CONFIG", default_value = "gateway.toml")]
    config: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Check {
    pub(super) fn run(self) -> Result<ExitCode> {
        let file = self.config.display().to_string();
        let text = std::fs::read_to_string(&self.config)
            .with_context(|| format!("cannot read the configuration {file}"))?;
        let config = Config::parse(&text);
        let around = Around::of(Environment::read(), config.as_ref().unwrap_or(&Config::default()));
        let mistakes = config.as_ref().err().map_or(&[][..], Vec::as_slice);
        let ok = mistakes.is_empty() && around.mistakes.is_empty();
        if self.json {
            let config = config.as_ref().ok().filter(|_| ok);
            output::json(&report(mistakes, &around, config))?;
        } else {
            tell(&file, &config, &around)?;
        }
        Ok(if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// What the environment names, as it was found.
#[derive(Default)]
struct Around {
    /// What is well, a line each.
    found: Vec<String>,
    /// What is not, by variable.
    mistakes: Vec<(&'static str, String)>,
}

impl Around {
    fn of(environment: Result<Environment, Vec<EnvironmentError>>, config: &Config) -> Self {
        let mut around = Self::default();
        match environment {
            Err(mistakes) => {
                around.mistakes.extend(mistakes.into_iter().map(|one| (one.variable, one.problem)));
            }
            Ok(environment) => {
                around.note(store::look(&environment));
                around.note(store::look_at_redis(&environment, config));
            }
        }
        around
    }

    fn note(&mut self, looked: Option<(&'static str, Result<String>)>) {
        match looked {
            None => {}
            Some((variable, Ok(found))) => self.found.push(format!("{variable}: {found}")),
            Some((variable, Err(error))) => self.mistakes.push((variable, format!("{error:#}"))),
        }
    }
}

fn report(mistakes: &[ConfigError], around: &Around, config: Option<&Config>) -> Value {
    let of_file =
        mistakes.iter().map(|m| json!({ "line": m.line, "key": m.key, "message": m.message }));
    let of_environment = around
        .mistakes
        .iter()
        .map(|(variable, problem)| json!({ "line": null, "key": variable, "message": problem }));
    let all: Vec<Value> = of_file.chain(of_environment).collect();
    let mut report = json!({ "ok": all.is_empty(), "mistakes": all, "found": around.found });
    if let Some(config) = config {
        report["config"] = json!(config);
    }
    report
}

fn tell(file: &str, config: &Result<Config, Vec<ConfigError>>, around: &Around) -> Result<()> {
    match config {
        Ok(config) => {
            summary(config)?;
            output::line(&format!("{file} is valid"))?;
        }
        Err(mistakes) => {
            for mistake in mistakes {
                let line = mistake.line.map_or_else(String::new, |line| format!(":{line}"));
                let key = match mistake.key.as_str() {
                    "" => String::new(),
                    key => format!("{key}: "),
                };
                output::line(&format!("{file}{line}: {key}{}", mistake.message))?;
            }
        }
    }
    for found in &around.found {
        output::line(found)?;
    }
    for (variable, problem) in &around.mistakes {
        output::line(&format!("{variable}: {problem}"))?;
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
