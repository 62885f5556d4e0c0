//! `driftlock org`.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Map, Value, json};

use super::api::Remote;
use super::output;

#[derive(Subcommand)]
pub(super) enum Org {
    /// Create an organization
    Create(Create),
    /// List organizations
    List(List),
    /// Show an organization
    Show(Show),
    /// Change an organization
    Update(Update),
    /// Show or change the ledger host: which kind of gateway meters the organization
    LedgerHost(LedgerHost),
}

#[derive(Args)]
pub(super) struct Create {
    /// Display name
    name: String,
    #[command(flatten)]
    settings: Settings,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Args)]
pub(super) struct List {
    #[command(flatten)]
    remote: Remote,
}

#[derive(Args)]
pub(super) struct Show {
    /// The organization's id, org_…
    id: String,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Args)]
pub(super) struct Update {
    /// The organization's id, org_…
    id: String,
    /// New display name
    #[arg(long)]
    name: Option<String>,
    /// Suspend the organization, or activate it again
    #[arg(long)]
    status: Option<Status>,
    #[command(flatten)]
    settings: Settings,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Args)]
pub(super) struct LedgerHost {
    /// The organization's id, org_…
    id: String,
    /// New ledger host: leases (native nodes) or objects (Workers). It takes over when the billing
    /// period ends, or at once if no unit has been counted yet
    #[arg(long, value_name = "KIND")]
    set: Option<LedgerKind>,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Args)]
struct Settings {
    /// The plan's name
    #[arg(long)]
    plan: Option<String>,
    /// Units included per billing period, in place of the plan's
    #[arg(long)]
    included: Option<u64>,
    /// What happens when the included units are used up
    #[arg(long)]
    policy: Option<Policy>,
    /// Cap of the soft-cap policy, in percent of the included units
    #[arg(long)]
    cap_percent: Option<u32>,
    /// Greatest cost of overage per billing period, in micro-dollars
    #[arg(long)]
    spend_cap_micros: Option<u64>,
    /// Requests per minute over all keys
    #[arg(long)]
    requests_per_minute: Option<u32>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Policy {
    Block,
    SoftCap,
    Allow,
}

#[derive(Clone, Copy, ValueEnum)]
enum LedgerKind {
    Leases,
    Objects,
}

#[derive(Clone, Copy, ValueEnum)]
enum Status {
    Active,
    Suspended,
}

const LEDGER_HOST_FIELDS: [(&str, &str); 4] = [
    ("id", "id"),
    ("counted by", "ledger.kind"),
    ("to be counted by", "ledger.next.kind"),
    ("from", "ledger.next.from"),
];

const FIELDS: [(&str, &str); 25] = [
    ("id", "id"),
    ("name", "name"),
    ("own plan", "plan"),
    ("status", "status"),
    ("included units", "quota.included"),
    ("quota policy", "quota.policy"),
    ("cap percent", "quota.cap_percent"),
    ("spend cap (micro-dollars)", "quota.spend_cap_micros"),
    ("requests per minute", "requests_per_minute"),
    ("may call", "entitlement.may_call"),
    ("why not", "entitlement.reason"),
    ("plan that counts", "entitlement.plan"),
    ("subscription", "subscription.status"),
    ("period end", "subscription.period.end"),
    ("cancels at", "subscription.cancel_at"),
    ("grace until", "subscription.grace_until"),
    ("trial ends", "billing.trial_ends"),
    ("trial's end announced", "billing.trial_ending"),
    ("disputed", "billing.disputed"),
    ("disputes", "billing.disputes"),
    ("deleted at Stripe", "billing.customer_deleted"),
    ("last billing change", "billing.last_change.action"),
    ("at", "billing.last_change.at"),
    ("Stripe customer", "stripe_customer_id"),
    ("counted by", "ledger.kind"),
];

impl Org {
    pub(super) fn run(self) -> Result<ExitCode> {
        match self {
            Self::Create(Create { name, settings, remote }) => {
                let mut body = settings.body();
                body.insert("name".into(), name.into());
                show(&remote, remote.api()?.post("/organizations", &body.into())?)
            }
            Self::List(List { remote }) => {
                let rows = remote.api()?.list("/organizations")?;
                if remote.json {
                    output::json(&json!({ "data": rows, "next_cursor": null }))?;
                } else {
                    output::table(&FIELDS[..6], &rows)?;
                }
                Ok(ExitCode::SUCCESS)
            }
            Self::Show(Show { id, remote }) => {
                show(&remote, remote.api()?.get(&format!("/organizations/{id}"))?)
            }
            Self::Update(Update { id, name, status, settings, remote }) => {
                let mut body = settings.body();
                insert(&mut body, "name", name);
                insert(&mut body, "status", status.map(Status::name));
                let path = format!("/organizations/{id}");
                show(&remote, remote.api()?.patch(&path, &body.into())?)
            }
            Self::LedgerHost(LedgerHost { id, set, remote }) => {
                let path = format!("/organizations/{id}");
                let organization = match set {
                    None => remote.api()?.get(&path)?,
                    Some(kind) => {
                        let body = json!({ "ledger": kind.name() });
                        remote.api()?.post(&format!("{path}/ledger-host"), &body)?
                    }
                };
                if remote.json {
                    output::json(&organization["ledger"])?;
                } else {
                    output::fields(&LEDGER_HOST_FIELDS, &organization)?;
                }
                Ok(ExitCode::SUCCESS)
            }
        }
    }
}

fn show(remote: &Remote, organization: Value) -> Result<ExitCode> {
    if remote.json {
        output::json(&organization)?;
    } else {
        output::fields(&FIELDS, &organization)?;
    }
    Ok(ExitCode::SUCCESS)
}

impl Settings {
    fn body(self) -> Map<String, Value> {
        let mut quota = Map::new();
        insert(&mut quota, "included", self.included);
        insert(&mut quota, "policy", self.policy.map(Policy::name));
        insert(&mut quota, "cap_percent", self.cap_percent);
        insert(&mut quota, "spend_cap_micros", self.spend_cap_micros);
        let mut body = Map::new();
        insert(&mut body, "plan", self.plan);
        insert(&mut body, "requests_per_minute", self.requests_per_minute);
        if !quota.is_empty() {
            body.insert("quota".into(), quota.into());
        }
        body
    }
}

impl Policy {
    fn name(self) -> &'static str {
        match self {
            Self::Block => "block",
            Self::SoftCap => "soft_cap",
            Self::Allow => "allow",
        }
    }
}

impl LedgerKind {
    fn name(self) -> &'static str {
        match self {
            Self::Leases => "leases",
            Self::Objects => "objects",
        }
    }
}

impl Status {
    fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Suspended => "suspended",
        }
    }
}

fn insert(body: &mut Map<String, Value>, name: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        body.insert(name.to_owned(), value.into());
    }
}
