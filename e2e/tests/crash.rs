//! I1, I2 and I4 through `kill -9`, while 64 clients send against a hard cap of 10,000: every
//! acknowledged unit is in the ledger once, there are never more unacknowledged units than requests
//! in progress, and in the end exactly the cap is used up.
//!
//! `DRIFTLOCK_CRASHES` sets how often each durability mode is killed; 3 unless set.

mod support {
    #[expect(dead_code, reason = "free requests are another test's matter")]
    pub(crate) mod metered;
    pub(crate) mod process;
    pub(crate) mod server;
}

use std::collections::HashSet;
use std::thread;
use std::time::Duration;

use driftlock_e2e::admin::Organization;
use driftlock_e2e::target::Target;
use serde_json::json;
use support::metered::{Client, Outcome};
use support::server::Server;

const CLIENTS: usize = 64;
const CAP: usize = 10_000;

#[test]
fn fsync_survives_kill_9() {
    survives("fsync");
}

#[test]
fn process_survives_kill_9() {
    survives("process");
}

fn survives(durability: &str) {
    let crashes = std::env::var("DRIFTLOCK_CRASHES").ok().and_then(|text| text.parse().ok());
    let crashes: usize = crashes.unwrap_or(3);
    let mut server = Server::start(&format!("[metering]\ndurability = \"{durability}\"\n"));
    let target = server.target();
    let mut customers = vec![Customer::new(&target)];
    for crash in 0..crashes {
        if customers.last().expect("there is one").is_used_up() {
            customers.push(Customer::new(&target));
        }
        let customer = customers.last_mut().expect("there is one");
        let receipts = load_until_killed(&mut server, &customer.key, crash);
        server.restart();
        customer.crashes += 1;
        customer.acknowledge(receipts);
    }
    let (mut acknowledged, mut units) = (0, 0);
    for customer in &mut customers {
        let rest = customer.load_until_used_up(&server.listen);
        customer.acknowledge(rest);
        customer.settles_exactly_the_cap(&target);
        acknowledged += customer.acknowledged.len();
        units += customer.units();
    }
    let organizations = customers.len();
    eprintln!("figure {durability} crashes = {crashes}");
    eprintln!("figure {durability} organizations with a cap of {CAP} = {organizations}");
    eprintln!("figure {durability} acknowledged = {acknowledged}");
    eprintln!("figure {durability} units = {units}");
}

/// An organization under a hard cap, and the receipts that its clients got.
struct Customer<'a> {
    organization: Organization<'a>,
    key: String,
    acknowledged: HashSet<String>,
    crashes: usize,
}

impl<'a> Customer<'a> {
    fn new(target: &'a Target) -> Self {
        let quota = json!({ "quota": { "included": CAP, "policy": "block" } });
        let organization = Organization::with(target, quota);
        let key = organization.key_with(json!({ "requests_per_minute": 100_000_000 })).secret;
        Self { organization, key, acknowledged: HashSet::new(), crashes: 0 }
    }

    fn units(&self) -> usize {
        usize::try_from(self.organization.units()).expect("few")
    }

    fn is_used_up(&self) -> bool {
        self.units() == CAP
    }

    /// Every acknowledged unit is in the ledger, and few others.
    fn acknowledge(&mut self, receipts: Vec<String>) {
        for receipt in receipts {
            assert!(self.acknowledged.insert(receipt), "a receipt was given twice");
        }
        let (units, least) = (self.units(), self.acknowledged.len());
        let most = CAP.min(least + CLIENTS * self.crashes);
        assert!((least..=most).contains(&units), "{units} units, {least} acknowledged");
    }

    fn load_until_used_up(&self, listen: &str) -> Vec<String> {
        thread::scope(|scope| {
            let client = || {
                let mut client = Client::new(listen, &self.key);
                let mut receipts = Vec::new();
                loop {
                    match client.send() {
                        Outcome::Success(receipt) => receipts.push(receipt),
                        // Other requests may still fail and release the last units.
                        Outcome::Held => {}
                        Outcome::Exceeded => return receipts,
                        other => panic!("neither a success nor a denial: {other:?}"),
                    }
                }
            };
            let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(client)).collect();
            clients.into_iter().flat_map(|client| client.join().expect("no client fails")).collect()
        })
    }

    fn settles_exactly_the_cap(&self, target: &Target) {
        assert_eq!(self.units(), CAP, "no unit of the cap is lost, and none beyond it is given");
        for receipt in &self.acknowledged {
            let found = target.admin("GET", &format!("/receipts/{receipt}")).send();
            assert_eq!(found.expect(200).json()["units"], 1, "{receipt}");
        }
        let verdict = self.organization.admin("GET", "/audit/verify").send().expect(200).json();
        assert_eq!(verdict["ok"], true, "{verdict}");
    }
}

/// Clients send until the server is gone; returns the receipts of their answers.
fn load_until_killed(server: &mut Server, key: &str, crash: usize) -> Vec<String> {
    let listen = server.listen.clone();
    thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| {
                let mut client = Client::new(&listen, key);
                scope.spawn(move || {
                    let mut receipts = Vec::new();
                    loop {
                        match client.send() {
                            Outcome::Success(receipt) => receipts.push(receipt),
                            Outcome::Exceeded | Outcome::Held => {}
                            Outcome::Gone => return receipts,
                            other => panic!("neither a success nor a denial: {other:?}"),
                        }
                    }
                })
            })
            .collect();
        // A different time each run; only requests must be in progress.
        thread::sleep(Duration::from_millis(150 + 37 * (crash as u64 % 7)));
        server.kill();
        clients.into_iter().flat_map(|client| client.join().expect("no client fails")).collect()
    })
}
