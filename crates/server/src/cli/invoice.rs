//! `driftlock usage --invoice`: the upcoming invoice of the current period.

use std::process::ExitCode;

use anyhow::Result;
use driftlock_domain::money;
use serde_json::{Value, json};

use super::api::Remote;
use super::output;

const MICROS_PER_CENT: u64 = 10_000;

pub(super) fn show(organization: &str, remote: &Remote) -> Result<ExitCode> {
    let invoice = remote.api()?.get(&format!("/organizations/{organization}/invoices/upcoming"))?;
    if remote.json {
        output::json(&invoice)?;
        return Ok(ExitCode::SUCCESS);
    }
    let fields = [
        ("plan", "plan"),
        ("period start", "period.start"),
        ("period end", "period.end"),
        ("units", "units"),
    ];
    output::fields(&fields, &invoice)?;
    let micros = |value: &Value| output::dollars(value.as_u64().unwrap_or(0));
    let cents = |value: &Value| output::dollars(value.as_u64().unwrap_or(0) * MICROS_PER_CENT);
    let line = |line: &Value| {
        json!({
            "description": line["description"],
            "quantity": line["quantity"],
            "each": micros(&line["unit_amount_micros"]),
            "exact": micros(&line["amount_micros"]),
            "billed": cents(&line["amount_cents"]),
        })
    };
    let lines: Vec<Value> = invoice["lines"].as_array().into_iter().flatten().map(line).collect();
    let columns = [
        ("", "description"),
        ("quantity", "quantity"),
        ("each", "each"),
        ("exact", "exact"),
        ("billed", "billed"),
    ];
    output::table(&columns, &lines)?;
    output::line(&format!("total          {}", cents(&invoice["amount_cents"])))?;
    if let Some(total) = invoice["stripe_preview"]["total"].as_i64() {
        // The subscription's currency may differ from the plans'.
        let currency = invoice["stripe_preview"]["currency"].as_str().unwrap_or("usd");
        let total = money::shown(total, currency);
        output::line(&format!("Stripe's preview, with prorations, tax and credits: {total}"))?;
    }
    if let Some(error) = invoice["stripe_error"].as_str() {
        output::line(&format!("Stripe's preview is missing: {error}"))?;
    }
    Ok(ExitCode::SUCCESS)
}
