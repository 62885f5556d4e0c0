//! `driftlock check`: what is wrong with a configuration, line by line, and what would be right.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Args;
use driftlock_domain::config::Config;
use serde_json::{Value, json};

use super::output;

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
        let file = self.config.display();
        let text = std::fs::read_to_string(&self.config)
            .with_context(|| format!("cannot read the configuration {file}"))?;
        match Config::parse(&text) {
            Ok(config) if self.json => {
                output::json(&json!({ "ok": true, "mistakes": [], "config": config }))?;
                Ok(ExitCode::SUCCESS)
            }
            Ok(config) => {
                summary(&config)?;
                output::line(&format!("{file} is valid"))?;
                Ok(ExitCode::SUCCESS)
            }
            Err(mistakes) => {
                if self.json {
                    let rows: Vec<Value> = mistakes
                        .iter()
                        .map(|m| json!({ "line": m.line, "key": m.key, "message": m.message }))
                        .collect();
                    output::json(&json!({ "ok": false, "mistakes": rows }))?;
                } else {
                    for mistake in &mistakes {
                        let line = mistake.line.map_or_else(String::new, |line| format!(":{line}"));
                        let key = match mistake.key.as_str() {
                            "" => String::new(),
                            key => format!("{key}: "),
                        };
                        output::line(&format!("{file}{line}: {key}{}", mistake.message))?;
                    }
                }
                Ok(ExitCode::FAILURE)
            }
        }
    }
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
