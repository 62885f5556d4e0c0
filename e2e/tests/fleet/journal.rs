//! `metering.on_outage = "journal"`: while PostgreSQL does not answer, organizations without a cap
//! continue. When it is back, every acknowledged unit is settled once, also of a killed gateway. A
//! settlement that the database refuses does not delay others, and a full journal refuses requests.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use driftlock_e2e::admin::{Organization, PLENTY};
use driftlock_e2e::poll::eventually;
use driftlock_e2e::target::Target;
use serde_json::json;

use super::support::backend::Backend;
use super::support::fleet::Fleet;
use super::support::metered::{Client, Outcome};
use super::support::metrics::metrics;
use super::{CONFIG, lost};

const CLIENTS: usize = 16;
const AWAY: Duration = Duration::from_secs(2);
const JOURNAL: &str = "[metering]\non_outage = \"journal\"\n";

fn key(target: &Target, quota: &serde_json::Value) -> (String, String) {
    let organization = Organization::subscribed(target, quota);
    let key = organization.key_with(json!({ "requests_per_minute": 1_000 * PLENTY }));
    (organization.id, key.secret)
}

/// Clients send until stopped or until they lose the gateway; returns the receipts.
fn load(fleet: &Fleet, key: &str, stop: &AtomicBool, over: impl FnOnce()) -> Vec<String> {
    let listen = fleet.listen(0);
    thread::scope(|scope| {
        let client = || {
            let (mut client, mut receipts) = (Client::new(listen, key), Vec::new());
            while !stop.load(Ordering::Relaxed) {
                match client.send() {
                    Outcome::Success(receipt) => receipts.push(receipt),
                    Outcome::Gone => break,
                    outcome => panic!("{outcome:?}"),
                }
            }
            receipts
        };
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(client)).collect();
        thread::park_timeout(AWAY);
        over();
        stop.store(true, Ordering::Relaxed);
        clients.into_iter().flat_map(|client| client.join().expect("no client fails")).collect()
    })
}

/// Waits until the journal is empty, then asserts that every receipt is known and that other
/// charges are only those of requests in progress.
fn settled(fleet: &Fleet, organization: &str, receipts: &[String], unknown_max: usize) -> usize {
    let target = fleet.target(0);
    let usage = format!("/organizations/{organization}/usage");
    let units = eventually("all that was acknowledged is settled", || {
        let shown = target.admin("GET", &usage).send();
        // The gateway may consider the database unavailable for a moment longer.
        let shown = (shown.status == 200).then(|| shown.json())?;
        let units = shown["units"].as_u64().and_then(|units| usize::try_from(units).ok());
        units.filter(|units| *units >= receipts.len())
    });
    assert!(units <= receipts.len() + unknown_max, "{units} units, {} receipts", receipts.len());
    assert_eq!(lost(fleet, receipts), [""; 0], "acknowledged units");
    for receipt in receipts.iter().step_by(100) {
        let found = target.admin("GET", &format!("/receipts/{receipt}")).send();
        assert_eq!(found.expect(200).json()["units"], 1, "{receipt}");
    }
    let verify = format!("/organizations/{organization}/audit/verify");
    assert_eq!(target.admin("GET", &verify).send().expect(200).json()["ok"], true);
    units
}

#[test]
fn without_a_cap_metered_requests_go_on_and_are_settled_once() {
    let backend = Backend::start();
    let mut fleet = Fleet::start_before(1, &format!("{CONFIG}{JOURNAL}"), &backend.url);
    let target = fleet.target(0);
    let (open, open_key) = key(&target, &json!({ "policy": "allow" }));
    let (_, spending) = key(&target, &json!({ "policy": "allow", "spend_cap_micros": 90_000_000 }));
    let (_, capped) = key(&target, &json!({ "policy": "block" }));
    let (_, first_seen) = key(&target, &json!({ "policy": "allow" }));
    let send = |fleet: &Fleet, key: &str| Client::new(fleet.listen(0), key).send();
    fleet.all_notified();
    let mut receipts = Vec::new();
    for key in [&open_key, &capped, &spending] {
        let Outcome::Success(receipt) = send(&fleet, key) else { panic!("no success") };
        receipts.push(receipt);
    }
    receipts.truncate(1);
    assert!(matches!(Client::free(fleet.listen(0), &first_seen).send(), Outcome::Success(_)));

    fleet.cluster.shut_down();
    let away = Instant::now();
    for key in [&capped, &spending] {
        assert!(matches!(send(&fleet, key), Outcome::Refused(503, Some(1..))), "a cap is a cap");
    }
    assert!(matches!(send(&fleet, &first_seen), Outcome::Success(_)), "never leased to before");
    receipts.extend(load(&fleet, &open_key, &AtomicBool::new(false), || ()));
    let away = away.elapsed();
    let journal = fleet.file(0, "driftlock.journal");
    let bytes = std::fs::metadata(&journal).expect("it is there").len();
    assert_eq!(gauge(&fleet, "bytes"), bytes);
    assert!((1..=away.as_secs() + 1).contains(&gauge(&fleet, "oldest_age_seconds")));
    fleet.cluster.boot();
    let back = Instant::now();
    settled(&fleet, &open, &receipts, 0);
    eprintln!(
        "{} units in {away:?} of outage, settled within {:?}",
        receipts.len(),
        back.elapsed()
    );
    eventually("the other organization's is, too", || {
        let rows = fleet.sql("select count(*) from driftlock.usage_events where not voided");
        (rows == (receipts.len() + 3).to_string()).then_some(())
    });
    empty(&fleet);
    eventually("the gauges of the journal are 0", || {
        let shown = ["bytes", "oldest_age_seconds"].map(|name| gauge(&fleet, name));
        (shown == [0, 0]).then_some(())
    });

    // The same again, with a gateway that is killed before it settled anything.
    fleet.cluster.shut_down();
    let pid = fleet.pid(0);
    let kill = || {
        let killed = std::process::Command::new("kill").args(["-9", &pid]).status();
        assert!(killed.expect("kill runs").success());
    };
    let more = load(&fleet, &open_key, &AtomicBool::new(false), kill);
    assert!(!more.is_empty());
    receipts.extend(more);
    fleet.cluster.boot();
    fleet.restart(0);
    let units = settled(&fleet, &open, &receipts, CLIENTS);
    eprintln!("{} acknowledged, {units} charged, after a kill -9", receipts.len());
}

/// The journal's metrics of the first gateway.
fn gauge(fleet: &Fleet, name: &str) -> u64 {
    let log = std::fs::read_to_string(fleet.file(0, "log")).expect("a log");
    let (shown, name) = (metrics(&log), format!("driftlock_journal_{name} "));
    let value = shown.lines().find_map(|line| line.strip_prefix(&name)).expect("it is shown");
    value.parse().expect("a number")
}

fn empty(fleet: &Fleet) {
    let journal = fleet.file(0, "driftlock.journal");
    eventually("the journal is empty", || {
        (std::fs::metadata(&journal).expect("it is there").len() == 0).then_some(())
    });
}

#[test]
fn what_the_database_refuses_is_put_aside_and_holds_up_nothing() {
    let backend = Backend::start();
    let mut fleet = Fleet::start_before(1, &format!("{CONFIG}{JOURNAL}"), &backend.url);
    let target = fleet.target(0);
    let (organization, key) = key(&target, &json!({ "policy": "allow" }));
    fleet.all_notified();
    fleet.sql(
        "alter table driftlock.usage_events add constraint poison check (request_id <> 'poison')",
    );
    let send = |name: &str| {
        let call = target.keyed("POST", "/api/v1/anomalies/detect", &key);
        let call = call.header("x-request-id", name).json(&json!({ "data": ["a", "b"] }));
        call.send().expect(200).receipt()
    };
    let mut receipts = vec![send("before")];
    fleet.cluster.shut_down();
    let poison = send("poison");
    receipts.extend((0..20).map(|number| send(&format!("after-{number}"))));
    fleet.cluster.boot();
    settled(&fleet, &organization, &receipts, 0);
    empty(&fleet);
    let aside = fleet.file(0, "driftlock.journal.refused");
    let kept = std::fs::read_to_string(&aside).expect("it was put aside");
    assert_eq!(kept.lines().count(), 1, "{kept}");
    assert!(kept.contains("poison"), "{kept}");
    assert!(fleet.log(0).contains("refused a journal entry permanently"), "and it is logged");

    // After the cause is fixed, an operator appends the file to the journal of a stopped gateway.
    fleet.sql("alter table driftlock.usage_events drop constraint poison");
    fleet.kill(0);
    std::fs::rename(&aside, fleet.file(0, "driftlock.journal")).expect("renamed");
    fleet.restart(0);
    receipts.push(poison);
    settled(&fleet, &organization, &receipts, 0);
    empty(&fleet);
}

#[test]
fn a_full_journal_refuses_and_what_is_in_it_is_settled() {
    let backend = Backend::start();
    let small = format!("{CONFIG}{JOURNAL}journal_bytes_max = 65536\n");
    let mut fleet = Fleet::start_before(1, &small, &backend.url);
    let (organization, key) = key(&fleet.target(0), &json!({ "policy": "allow" }));
    fleet.all_notified();
    let mut client = Client::new(fleet.listen(0), &key);
    let Outcome::Success(first) = client.send() else { panic!("no success") };
    fleet.cluster.shut_down();
    let mut receipts = vec![first];
    let refused = loop {
        match client.send() {
            Outcome::Success(receipt) => receipts.push(receipt),
            outcome => break outcome,
        }
        assert!(receipts.len() < 10_000, "it has a bound");
    };
    assert!(matches!(refused, Outcome::Refused(503, Some(1..))), "{refused:?}");
    assert!(receipts.len() > 10, "{}", receipts.len());
    let again = client.send();
    assert!(matches!(again, Outcome::Refused(503, Some(1..))), "it stays so: {again:?}");
    fleet.cluster.boot();
    settled(&fleet, &organization, &receipts, 0);
    empty(&fleet);
    let receipt = eventually("metered requests succeed again", || match client.send() {
        Outcome::Success(receipt) => Some(receipt),
        _ => None,
    });
    receipts.push(receipt);
    settled(&fleet, &organization, &receipts, 0);
}
