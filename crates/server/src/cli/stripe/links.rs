//! `driftlock stripe checkout`, `portal` and `invoices`: Stripe's pages for one organization.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use driftlock_domain::money;
use serde_json::{Value, json};

use crate::cli::api::Remote;
use crate::cli::output;

#[derive(Args)]
pub(in crate::cli) struct Checkout {
    /// The organization's id, org_…
    organization: String,
    /// The plan to buy
    #[arg(long)]
    plan: String,
    /// The page to return to after the purchase
    #[arg(long)]
    success_url: String,
    /// The page to return to if the customer cancels
    #[arg(long)]
    cancel_url: String,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Args)]
pub(in crate::cli) struct Portal {
    /// The organization's id, org_…
    organization: String,
    /// The page to return to from the portal
    #[arg(long)]
    return_url: String,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Args)]
pub(in crate::cli) struct Invoices {
    /// The organization's id, org_…
    organization: String,
    #[command(flatten)]
    remote: Remote,
}

impl Checkout {
    pub(super) fn run(self) -> Result<ExitCode> {
        let Self { organization, plan, success_url, cancel_url, remote } = self;
        let body = json!({ "plan": plan, "success_url": success_url, "cancel_url": cancel_url });
        link(&remote, &format!("/organizations/{organization}/checkout"), &body)
    }
}

impl Portal {
    pub(super) fn run(self) -> Result<ExitCode> {
        let Self { organization, return_url, remote } = self;
        let path = format!("/organizations/{organization}/portal");
        link(&remote, &path, &json!({ "return_url": return_url }))
    }
}

/// Prints only the link, so that a script can use it.
fn link(remote: &Remote, path: &str, body: &Value) -> Result<ExitCode> {
    let made = remote.api()?.post(path, body)?;
    if remote.json {
        output::json(&made)?;
    } else {
        output::line(made["url"].as_str().unwrap_or_default())?;
    }
    Ok(ExitCode::SUCCESS)
}

impl Invoices {
    pub(super) fn run(self) -> Result<ExitCode> {
        let Self { organization, remote } = self;
        let rows = remote.api()?.list(&format!("/organizations/{organization}/invoices"))?;
        if remote.json {
            output::json(&json!({ "data": rows, "next_cursor": null }))?;
            return Ok(ExitCode::SUCCESS);
        }
        let columns =
            ["id", "number", "status", "total", "paid", "left", "created", "hosted_invoice_url"];
        let rows: Vec<Value> = rows.iter().map(shown).collect();
        output::table(&columns.map(|name| (name, name)), &rows)?;
        Ok(ExitCode::SUCCESS)
    }
}

fn shown(invoice: &Value) -> Value {
    let currency = invoice["currency"].as_str().unwrap_or_default();
    let money = |name: &str| money::shown(invoice[name].as_i64().unwrap_or(0), currency);
    json!({
        "id": invoice["id"],
        "number": invoice["number"],
        "status": invoice["status"],
        "total": money("total"),
        "paid": money("amount_paid"),
        "left": money("amount_remaining"),
        "created": invoice["created"],
        "hosted_invoice_url": invoice["hosted_invoice_url"],
    })
}
