//! `driftlock stripe trigger` sends complete sample events, signed as Stripe signs them, so that
//! billing can be tried without Stripe.
//!
//! The events continue from the organization's present customer and subscription, which the command
//! reads from the admin API. So runs can follow one another. The command prints what became of each
//! event.

mod known;

use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use clap::{ArgGroup, Args};
use driftlock_domain::stripe::event::EventKind;
use driftlock_domain::stripe::sample::{
    self, ApiShape, Entropy, Life, LifeParams, SamplePrice, Scenario, duplicate, shuffle,
};
use driftlock_domain::stripe::signature::sign;
use driftlock_domain::time::Timestamp;
use serde_json::{Value, json};
use ureq::Agent;

use crate::cli::api::{Api, Remote, WEBHOOK_SECRET_FILE};
use crate::cli::output;
use crate::cli::private;

#[derive(Args)]
#[command(group(ArgGroup::new("what").required(true).args(["event", "scenario"])))]
pub(in crate::cli) struct Trigger {
    /// The event's type, such as invoice.payment_failed
    event: Option<String>,
    /// A whole life cycle instead of one event: signup, payment-failure, upgrade or cancel
    #[arg(long)]
    scenario: Option<Scenario>,
    /// The organization that the events are about, org_…
    #[arg(long)]
    organization: String,
    /// The price to buy
    #[arg(long, default_value = "price_standard")]
    price: String,
    /// The price that an upgrade changes to
    #[arg(long, default_value = "price_growth")]
    upgrade: String,
    /// The API version whose shapes the events have
    #[arg(long, default_value = "2025-08-27.basil")]
    api_version: ApiShape,
    /// The seed of the ids: the same seed, organization and event or scenario give the same ids,
    /// hence duplicates. Without it each run has a new seed, which is printed
    #[arg(long)]
    seed: Option<u64>,
    /// Send the events in an order that is derived from this number
    #[arg(long)]
    shuffle: Option<u64>,
    /// Send some of the events twice
    #[arg(long)]
    duplicate: bool,
    #[command(flatten)]
    remote: Remote,
}

const TIMEOUT: Duration = Duration::from_secs(30);
/// How long ago a sample life cycle begins, so that all of its events lie in the past.
const LIFE: Duration = Duration::from_secs(45 * 86_400);
/// How long the command waits until the events are processed, and how often it looks.
const EFFECT: Duration = Duration::from_secs(5);
const EFFECT_EVERY: Duration = Duration::from_millis(50);

impl Trigger {
    pub(super) fn run(self) -> Result<ExitCode> {
        let secret = secret(&self.remote.data)?;
        let api = match self.remote.api() {
            Ok(api) => Some(api),
            Err(error) => {
                eprintln!("{error}; the sample events are about a new customer instead");
                None
            }
        };
        let seed = match self.seed {
            Some(seed) => seed,
            None => u64::from(
                getrandom::u32()
                    .map_err(|error| anyhow::anyhow!("could not get a random number: {error}"))?,
            ),
        };
        let events = self.events(seed, now()?, api.as_ref())?;
        let mut sent = self.send(&events, &secret)?;
        if let Some(api) = &api {
            follow(api, &mut sent)?;
        }
        if self.remote.json {
            output::json(&json!({ "seed": seed, "data": sent }))?;
        } else {
            let columns = ["id", "type", "status", "answer", "state", "error"];
            output::table(&columns.map(|name| (name, name)), &sent)?;
            output::line(&format!("seed {seed}: --seed {seed} sends the same ids again"))?;
        }
        let taken = sent.iter().all(|event| event["status"] == 200);
        Ok(if taken { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn send(&self, events: &[Value], secret: &str) -> Result<Vec<Value>> {
        let agent: Agent = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(TIMEOUT))
            .build()
            .into();
        let url = format!("{}/webhooks/stripe", self.remote.url.trim_end_matches('/'));
        let mut sent = Vec::new();
        for event in events {
            let body = event.to_string();
            let mut answer = agent
                .post(&url)
                .header("content-type", "application/json; charset=utf-8")
                .header("stripe-signature", sign(secret, now()?.secs(), body.as_bytes()))
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
        Ok(sent)
    }

    fn events(&self, seed: u64, now: Timestamp, api: Option<&Api>) -> Result<Vec<Value>> {
        let kind = self.event.as_deref().map(EventKind::from);
        let happens = kind.as_ref().map(EventKind::as_str);
        let happens = happens.or(self.scenario.map(Scenario::as_str)).unwrap_or_default();
        let mut params = LifeParams {
            seed: Entropy::of(seed, &[&self.organization, happens]).number(),
            shape: self.api_version,
            livemode: false,
            organization: self.organization.clone(),
            customer: None,
            price: SamplePrice { id: self.price.clone(), cents: 4_900 },
            upgrade: SamplePrice { id: self.upgrade.clone(), cents: 24_900 },
            start: now,
        };
        let known = match api {
            Some(api) => known::life(api, &params)?,
            None => None,
        };
        let mut events = match (&kind, self.scenario) {
            (Some(kind), _) => {
                let life = known.unwrap_or_else(|| Life::new(params));
                let Some(event) = sample::event(kind, life) else {
                    let known: Vec<&str> =
                        EventKind::HANDLED.iter().map(EventKind::as_str).collect();
                    bail!("no such event {kind}; there are {}", known.join(", "));
                };
                vec![event]
            }
            (None, Some(scenario)) => match known {
                Some(life) => scenario.continue_life(life).into_events(),
                None => {
                    if scenario != Scenario::Signup {
                        params.start = now.minus(LIFE);
                    }
                    scenario.life(params).into_events()
                }
            },
            (None, None) => Vec::new(),
        };
        ensure!(
            !events.is_empty(),
            "no event to send: the subscription has price {} already; name another with --upgrade",
            self.upgrade
        );
        if self.duplicate {
            events = duplicate(events, self.shuffle.unwrap_or(seed));
        }
        if let Some(seed) = self.shuffle {
            shuffle(&mut events, seed);
        }
        Ok(events)
    }
}

/// Waits until the accepted events are processed and notes their states. So the next run finds
/// their effect.
fn follow(api: &Api, sent: &mut [Value]) -> Result<()> {
    let deadline = Instant::now() + EFFECT;
    for event in sent.iter_mut().filter(|event| event["status"] == 200) {
        let path = format!("/stripe/events/{}", event["id"].as_str().unwrap_or_default());
        let entry = loop {
            let entry = api.get(&path)?;
            if entry["state"] != "pending" || Instant::now() > deadline {
                break entry;
            }
            thread::sleep(EFFECT_EVERY);
        };
        event["state"] = entry["state"].clone();
        event["error"] = entry["error"].clone();
    }
    Ok(())
}

fn now() -> Result<Timestamp> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?;
    Ok(Timestamp::from_secs(i64::try_from(since.as_secs())?))
}

/// The webhook secret to sign with: the first if there are several.
fn secret(data: &Path) -> Result<String> {
    let file = data.join(WEBHOOK_SECRET_FILE);
    match std::env::var("ENV_STRIPE_WEBHOOK_SECRET") {
        Ok(list) if !list.trim().is_empty() => {
            Ok(list.split(',').next().unwrap_or_default().trim().to_owned())
        }
        Ok(_) | Err(_) => private::read(&file)?.with_context(|| {
            format!(
                "no webhook secret: set ENV_STRIPE_WEBHOOK_SECRET, or name the data of \
                 `driftlock dev` with --data (there is no {})",
                file.display()
            )
        }),
    }
}
