//! `driftlock stripe trigger`: complete sample events, signed as Stripe signs them, so that billing
//! can be tried without Stripe.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use clap::{ArgGroup, Args};
use driftlock_domain::stripe::event::EventKind;
use driftlock_domain::stripe::sample::{
    self, ApiShape, LifeParams, SamplePrice, Scenario, duplicate, shuffle,
};
use driftlock_domain::stripe::signature::sign;
use driftlock_domain::time::Timestamp;
use serde_json::{Value, json};
use ureq::Agent;

use crate::cli::api::WEBHOOK_SECRET_FILE;
use crate::cli::output;

#[derive(Args)]
#[command(group(ArgGroup::new("what").required(true).args(["event", "scenario"])))]
pub(in crate::cli) struct Trigger {
    /// The event's type, such as invoice.payment_failed
    event: Option<String>,
    /// A life cycle instead: signup, payment-failure, upgrade or cancel
    #[arg(long)]
    scenario: Option<Scenario>,
    /// The organization that it is about, org_…
    #[arg(long)]
    organization: String,
    /// The price that is bought
    #[arg(long, default_value = "price_standard")]
    price: String,
    /// The price of an upgrade
    #[arg(long, default_value = "price_growth")]
    upgrade: String,
    /// The API version that the events are rendered at
    #[arg(long, default_value = "2025-08-27.basil")]
    api_version: ApiShape,
    /// What the ids follow from: the same seed makes the same events
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Send them in an order that follows from this number
    #[arg(long)]
    shuffle: Option<u64>,
    /// Send some of them twice
    #[arg(long)]
    duplicate: bool,
    /// The gateway's address
    #[arg(long, default_value = "http://127.0.0.1:8787")]
    url: String,
    /// Data of `driftlock dev`, whose secret signs when ENV_STRIPE_WEBHOOK_SECRET is unset
    #[arg(long, default_value = ".driftlock")]
    data: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

const TIMEOUT: Duration = Duration::from_secs(30);
/// A life begins so long ago that all of it has happened.
const LIFE: Duration = Duration::from_secs(45 * 86_400);

impl Trigger {
    pub(super) fn run(self) -> Result<ExitCode> {
        let secret = secret(&self.data)?;
        let now =
            SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?;
        let now = Timestamp::from_secs(i64::try_from(now.as_secs())?);
        let events = self.events(now)?;
        let agent: Agent = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(TIMEOUT))
            .build()
            .into();
        let url = format!("{}/webhooks/stripe", self.url.trim_end_matches('/'));
        let mut sent = Vec::new();
        for event in &events {
            let body = event.to_string();
            let mut answer = agent
                .post(&url)
                .header("content-type", "application/json; charset=utf-8")
                .header("stripe-signature", sign(&secret, now.secs(), body.as_bytes()))
                .send(body.as_bytes())
                .with_context(|| format!("no gateway answers at {url}"))?;
            let text = answer.body_mut().read_to_string().unwrap_or_default();
            sent.push(json!({
                "id": event["id"],
                "type": event["type"],
                "status": answer.status().as_u16(),
                "answer": serde_json::from_str::<Value>(&text).unwrap_or(Value::String(text)),
            }));
        }
        if self.json {
            output::json(&json!({ "data": sent }))?;
        } else {
            output::table(&["id", "type", "status", "answer"].map(|name| (name, name)), &sent)?;
        }
        let taken = sent.iter().all(|event| event["status"] == 200);
        Ok(if taken { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn events(&self, now: Timestamp) -> Result<Vec<Value>> {
        let params = LifeParams {
            seed: self.seed,
            shape: self.api_version,
            livemode: false,
            organization: self.organization.clone(),
            customer: None,
            price: SamplePrice { id: self.price.clone(), cents: 4_900 },
            upgrade: SamplePrice { id: self.upgrade.clone(), cents: 24_900 },
            start: if self.scenario == Some(Scenario::Signup) || self.event.is_some() {
                now
            } else {
                now.minus(LIFE)
            },
        };
        let mut events = match (&self.event, self.scenario) {
            (Some(kind), _) => {
                let kind = EventKind::from(kind.as_str());
                let Some(event) = sample::event(&kind, params) else {
                    let known: Vec<&str> =
                        EventKind::HANDLED.iter().map(EventKind::as_str).collect();
                    bail!("no such event {kind}; there are {}", known.join(", "));
                };
                vec![event]
            }
            (None, Some(scenario)) => scenario.life(params).into_events(),
            (None, None) => Vec::new(),
        };
        if self.duplicate {
            events = duplicate(events, self.shuffle.unwrap_or(self.seed));
        }
        if let Some(seed) = self.shuffle {
            shuffle(&mut events, seed);
        }
        Ok(events)
    }
}

/// Of several secrets the first, as Stripe's newest stands first.
fn secret(data: &Path) -> Result<String> {
    let file = data.join(WEBHOOK_SECRET_FILE);
    match std::env::var("ENV_STRIPE_WEBHOOK_SECRET") {
        Ok(list) if !list.trim().is_empty() => {
            Ok(list.split(',').next().unwrap_or_default().trim().to_owned())
        }
        Ok(_) | Err(_) => {
            let text = std::fs::read_to_string(&file).with_context(|| {
                format!(
                    "no webhook secret: set ENV_STRIPE_WEBHOOK_SECRET, or name the data of \
                     `driftlock dev` with --data ({} cannot be read)",
                    file.display()
                )
            })?;
            Ok(text.trim().to_owned())
        }
    }
}
