//! I6 through `kill -9`: events that keep coming while the gateway dies again and again are all
//! kept, all processed, and none has its effect twice.
//!
//! `DRIFTLOCK_CRASHES` sets how often it is killed; 5 unless set. The instants follow from the clock,
//! and are printed.

#[path = "support"]
mod support {
    #[expect(dead_code, reason = "here deliveries meet a gateway that may be gone")]
    pub(crate) mod deliveries;
    pub(crate) mod process;
    pub(crate) mod server;
}

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use driftlock_e2e::admin::{Organization, pages};
use driftlock_e2e::poll::eventually;
use driftlock_e2e::target::Target;
use serde_json::{Value, json};
use support::deliveries::{Catcher, Delivery};
use support::server::Server;

const EVENTS: usize = 1_000;
const CLIENTS: usize = 8;
const SCENARIOS: [&str; 4] = ["signup", "payment-failure", "upgrade", "cancel"];
const RETRY: Duration = Duration::from_millis(5);

/// What was sent for one organization, and what it must come to.
struct Customer<'a> {
    organization: Organization<'a>,
    scenario: &'static str,
}

#[test]
fn events_survive_kill_9_and_have_their_effect_once() {
    let crashes = std::env::var("DRIFTLOCK_CRASHES").ok().and_then(|text| text.parse().ok());
    let crashes: usize = crashes.unwrap_or(5);
    let mut server = Server::start("");
    let target = server.target();
    let catcher = Catcher::start(&server.webhook_secret());
    let (customers, deliveries) = lives(&target, &catcher);
    let sent: BTreeSet<String> = deliveries.iter().map(Delivery::id).collect();
    assert_eq!(sent.len(), deliveries.len(), "each event is made once");
    deliver_while_it_dies(&mut server, &deliveries, crashes);
    // What was acknowledged last is perhaps not processed yet: that, too, must survive.
    server.kill();
    server.restart();

    eventually("everything is processed", || {
        let page = target.admin("GET", "/stripe/events?state=pending").send();
        page.expect(200).json()["data"].as_array().is_some_and(Vec::is_empty).then_some(())
    });
    let kept = pages(&target, "/stripe/events", 500);
    let ids: Vec<&str> = kept.iter().map(|row| row["id"].as_str().expect("an id")).collect();
    assert_eq!(ids.len(), sent.len(), "none is kept twice");
    assert!(ids.iter().all(|id| sent.contains(*id)), "none is lost");
    let not_done: Vec<&Value> = kept.iter().filter(|row| row["state"] != "done").collect();
    assert!(not_done.is_empty(), "{not_done:?}");
    for customer in &customers {
        customer.is_right();
    }
    eprintln!("{} events, {} customers, {} crashes", sent.len(), customers.len(), crashes + 1);
}

/// Lives of as many customers as it takes for so many events, in any order.
fn lives<'a>(target: &'a Target, catcher: &Catcher) -> (Vec<Customer<'a>>, Vec<Delivery>) {
    let (mut customers, mut deliveries) = (Vec::new(), Vec::new());
    for (seed, scenario) in (1..).zip(SCENARIOS.into_iter().cycle()) {
        if deliveries.len() >= EVENTS {
            break;
        }
        let organization = Organization::with(target, json!({ "plan": "standard" }));
        let seed = format!("{seed}");
        let words = ["--scenario", scenario, "--seed", &seed, "--shuffle", &seed];
        deliveries.extend(catcher.catch(&organization.id, &words));
        customers.push(Customer { organization, scenario });
    }
    // One customer's events come between others', not one after the other.
    let count = deliveries.len();
    let order = |at: usize| (at * 7_919) % count;
    let mut mixed: Vec<(usize, Delivery)> =
        deliveries.into_iter().enumerate().map(|(at, one)| (order(at), one)).collect();
    mixed.sort_by_key(|(place, _)| *place);
    (customers, mixed.into_iter().map(|(_, delivery)| delivery).collect())
}

/// Clients deliver, and again what was not acknowledged, while the gateway is killed at instants
/// that nobody chose.
fn deliver_while_it_dies(server: &mut Server, deliveries: &[Delivery], crashes: usize) {
    let (next, acknowledged) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let is_over = AtomicBool::new(false);
    let listen = server.listen.clone();
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                while let Some(delivery) = deliveries.get(next.fetch_add(1, Ordering::SeqCst)) {
                    while delivery.try_send(&listen) != Some(200) {
                        if is_over.load(Ordering::SeqCst) {
                            return;
                        }
                        thread::park_timeout(RETRY);
                    }
                    acknowledged.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        let over = Over(&is_over);
        for crash in 1..=crashes {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
            let most = deliveries.len() * crash / (crashes + 1);
            let least = deliveries.len() * (crash - 1) / (crashes + 1);
            let at = least + since.subsec_nanos() as usize % (most - least).max(1);
            eventually("so many are acknowledged", || {
                (acknowledged.load(Ordering::SeqCst) >= at).then_some(())
            });
            thread::park_timeout(Duration::from_micros(u64::from(since.subsec_nanos()) % 5_000));
            eprintln!("killed after {} events", acknowledged.load(Ordering::SeqCst));
            server.kill();
            server.restart();
        }
        eventually("all are acknowledged", || {
            (acknowledged.load(Ordering::SeqCst) == deliveries.len()).then_some(())
        });
        drop(over);
    });
}

/// Clients stop when the test fails: a scope waits for its threads.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl Customer<'_> {
    /// Whether its standing is the one that the scenario ends with, and each change was told once.
    fn is_right(&self) {
        let shown = self.organization.admin("GET", "").send().expect(200).json();
        let (status, plan) = match self.scenario {
            "cancel" => ("canceled", "standard"),
            "upgrade" => ("active", "growth"),
            _ => ("active", "standard"),
        };
        let subscription = &shown["subscription"];
        assert_eq!(
            (&subscription["status"], &subscription["plan"]),
            (&json!(status), &json!(plan))
        );
        assert_eq!(subscription["grace_until"], Value::Null, "{shown}");
        let rows = self.organization.audit();
        let mut told: BTreeMap<&str, usize> = BTreeMap::new();
        for row in &rows {
            *told.entry(row["action"].as_str().expect("an action")).or_default() += 1;
        }
        assert_eq!(told.get("billing.subscribed"), Some(&1), "{}: {told:?}", self.scenario);
        let verdict = self.organization.admin("GET", "/audit/verify").send().expect(200).json();
        assert_eq!(verdict["ok"], true, "{verdict}");
    }
}
