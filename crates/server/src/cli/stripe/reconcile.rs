//! `driftlock stripe reconcile`.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use serde_json::{Value, json};

use super::super::api::Remote;
use super::super::output;

/// Compares every customer's billing state and usage with Stripe. Fails if something is left that
/// an operator must resolve.
#[derive(Args)]
pub(in crate::cli) struct Reconcile {
    #[command(flatten)]
    remote: Remote,
}

impl Reconcile {
    pub(super) fn run(self) -> Result<ExitCode> {
        let remote = self.remote;
        let found = remote
            .patient_api()?
            .patiently("comparing with Stripe", |api| api.post("/stripe/reconcile", &json!({})))?;
        if remote.json {
            output::json(&found)?;
        } else {
            report(&found)?;
        }
        let is_ok = found["ok"] == Value::Bool(true);
        Ok(if is_ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

fn report(found: &Value) -> Result<()> {
    let rows = |name: &str| found[name].as_array().cloned().unwrap_or_default();
    output::fields(&[("ok", "ok"), ("customers", "customers")], found)?;
    section(
        "Repaired billing states",
        &[("organization", "organization"), ("customer", "customer"), ("changes", "changes")],
        &rows("repaired"),
    )?;
    section(
        "Problems to resolve",
        &[("organization", "organization"), ("customer", "customer"), ("problem", "problem")],
        &rows("problems"),
    )?;
    let unlinked: Vec<Value> =
        rows("unlinked").into_iter().map(|customer| json!({ "customer": customer })).collect();
    section("Stripe customers without an organization", &[("customer", "customer")], &unlinked)?;
    section(
        "Usage, in units",
        &[
            ("organization", "organization"),
            ("period", "period.start"),
            ("settled", "settled"),
            ("to be sealed", "open"),
            ("acknowledged", "acknowledged"),
            ("on the way", "outstanding"),
            ("refused", "dead"),
            ("at Stripe", "stripe"),
            ("drift", "drift"),
        ],
        &rows("usage"),
    )
}

fn section(title: &str, columns: &[(&str, &str)], rows: &[Value]) -> Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    output::line(&format!("\n{title}"))?;
    output::table(columns, rows)
}
