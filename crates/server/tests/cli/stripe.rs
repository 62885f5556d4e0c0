//! Billing from an operator's view: the commands of docs/stripe.md, against a double of Stripe and
//! a database in which an organization used 275,000 units three hours ago.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use driftlock_domain::entitlement::Terms;
use driftlock_domain::lease::LeaseAsk;
use driftlock_domain::organization::Organization;
use driftlock_domain::period::Period;
use driftlock_domain::stripe::sample::{ApiShape, Life, LifeParams, SamplePrice, Start};
use driftlock_domain::stripe::signature::sign;
use driftlock_domain::time::Timestamp;
use driftlock_domain::usage::{Settled, Settlement};
use driftlock_gateway::ports::{Directory, Ledger};
use driftlock_sqlite::{Options, SqliteStore};
use driftlock_testkit::make::{audit, node, organization, settlement, usage};
use driftlock_testkit::sim::run;
use driftlock_testkit::stripe::{SECRET_KEY, Served, StripeDouble, serve};
use serde_json::{Value, json};

use super::support::{Done, PROGRAM, Server, done, free_address, program, start};

const TOKEN: &str = "an-admin-token-for-tests-0123456789abcdef";
const SECRET: &str = "whsec_of_the_tests_0123456789abcdef";
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);
const PATIENCE: Duration = Duration::from_secs(30);
/// The refusal of a checkout for an organization with a live subscription.
const SECOND_CHECKOUT: &str =
    "a second one would be billed in addition. The portal changes its plan.";

struct World {
    folder: tempfile::TempDir,
    owner: Organization,
    life: Life,
    double: StripeDouble,
    served: Served,
    public: String,
    environment: Vec<(&'static str, String)>,
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    Timestamp::from_secs(i64::try_from(since.as_secs()).expect("a time"))
}

impl World {
    /// An organization that has been a customer for ten days and used `units` three hours ago.
    fn new(units: u32) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let owner = Organization { plan: "standard".into(), ..organization(1) };
        let price = |plan: &str, cents| SamplePrice { id: format!("price_{plan}"), cents };
        let mut life = Life::new(LifeParams {
            seed: 1,
            shape: ApiShape::Basil,
            livemode: false,
            organization: owner.id.to_string(),
            customer: None,
            price: price("standard", 4_900),
            upgrade: price("growth", 24_900),
            start: now().minus(10 * DAY),
        });
        life.subscribe(&price("standard", 4_900), Start::Paid);
        life.checkout();
        let period = life.subscriptions()[0].period;
        settle(&folder.path().join("a.db"), &owner, period, units);
        let double = StripeDouble::new(1, now);
        double.put(&life);
        let served = serve(double.clone());
        let environment = vec![
            ("ENV_DATABASE_URL", "sqlite:a.db".to_owned()),
            ("ENV_GO_BACKEND_URL", "http://127.0.0.1:9".to_owned()),
            ("ENV_ADMIN_TOKEN", TOKEN.to_owned()),
            ("ENV_STRIPE_WEBHOOK_SECRET", SECRET.to_owned()),
            ("ENV_STRIPE_SECRET_KEY", SECRET_KEY.to_owned()),
            ("ENV_STRIPE_API_BASE", format!("http://{}", served.address)),
        ];
        let public = free_address();
        Self { folder, owner, life, double, served, public, environment }
    }

    /// A gateway with these settings under `[stripe]`.
    fn gateway(&self, stripe: &str) -> Server {
        let path = self.folder.path().join("gateway.toml");
        std::fs::write(path, format!("[stripe]\n{stripe}\n")).expect("a configuration");
        let arguments = ["serve", "--config", "gateway.toml", "--listen", &self.public];
        let mut command = program(self.folder.path(), &arguments);
        command.args(["--admin-listen", "127.0.0.1:0"]);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        start(&mut command, &self.folder.path().join("serve.log"), "listens on").0
    }

    /// Delivers all events so far, and waits until the subscription is known.
    fn deliver(&self) {
        self.deliver_again();
        self.until("the subscription is known", || {
            self.json(&["org", "show", &self.id()])["subscription"]["status"] == "active"
        });
    }

    fn id(&self) -> String {
        self.owner.id.to_string()
    }

    /// A command of the program for the gateway.
    fn command(&self, words: &[&str]) -> Command {
        let mut command = program(self.folder.path(), words);
        command.args(["--url", &format!("http://{}", self.public)]);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// The output of a command for people.
    fn said(&self, words: &[&str]) -> String {
        let outcome = done(&mut self.command(words));
        assert!(outcome.success, "{words:?}: {outcome:?}");
        outcome.out
    }

    fn json(&self, words: &[&str]) -> Value {
        read(&done(self.command(words).arg("--json")))
    }

    fn until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let began = Instant::now();
        while !holds() {
            let log = || std::fs::read_to_string(self.folder.path().join("serve.log"));
            assert!(began.elapsed() < PATIENCE, "not {what}: {:?}", log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn read(outcome: &Done) -> Value {
    serde_json::from_str(&outcome.out).unwrap_or_else(|_| panic!("no JSON: {outcome:?}"))
}

fn settle(database: &Path, owner: &Organization, period: Period, units: u32) {
    let at = now().minus(3 * HOUR);
    let store = SqliteStore::open(database, Options::default()).expect("opened");
    run(store.create_organization(owner, audit("organization.create"))).expect("made");
    let ask = LeaseAsk { terms: Terms::free(period, 250_000, None), number: 1, keep: 0, want: 1 };
    run(store.lease(owner.id, node(1), &ask, at)).expect("leased");
    let one = Settlement { units, usage: usage(at, 1), ..settlement(1, 1) };
    let settled = run(store.settle(one, at)).expect("settled");
    assert!(matches!(settled, Settled::Committed { .. }), "{settled:?}");
}

#[test]
fn what_275_000_units_cost_is_shown_to_the_micro_dollar() {
    let world = World::new(275_000);
    let _gateway = world.gateway("");
    world.deliver();
    let id = world.id();
    let coming = world.json(&["usage", &id, "--invoice"]);
    assert_eq!((&coming["units"], &coming["plan"]), (&json!(275_000), &json!("standard")));
    assert_eq!(coming["amount_micros"], 136_500_000, "{coming}");
    assert_eq!(coming["amount_cents"], 13_650);
    let lines = coming["lines"].as_array().expect("lines");
    let micros: Vec<&Value> = lines.iter().map(|line| &line["amount_micros"]).collect();
    assert_eq!(micros, [&json!(49_000_000), &json!(0), &json!(87_500_000)], "{coming}");
    let table = world.said(&["usage", &id, "--invoice"]);
    for text in ["275000", "25000", "$0.0035", "$87.50", "$49.00", "$136.50"] {
        assert!(table.contains(text), "{text}: {table}");
    }
    // Stripe counts the same as soon as the usage is reported.
    world.report_usage();
    let coming = world.json(&["usage", &id, "--invoice"]);
    assert_eq!(coming["stripe_preview"]["total"], 13_650, "{coming}");
    assert!(world.said(&["usage", &id, "--invoice"]).contains("credits: $136.50"));
}

#[test]
fn overage_mode_reports_the_units_beyond_the_included_ones() {
    let world = World::new(275_000);
    let _gateway = world.gateway("report_usage = \"overage\"");
    world.deliver();
    world.report_usage();
    let reported: Vec<i64> = world.double.meter_events().iter().map(|event| event.value).collect();
    assert_eq!(reported, [25_000]);
    let rows = world.json(&["stripe", "reports", "--state", "done"]);
    assert_eq!(rows["data"][0]["units"], 275_000, "{rows}");
    assert_eq!(rows["data"][0]["value"], 25_000);
    world.compared();
    let found = world.json(&["stripe", "reconcile"]);
    assert_eq!((&found["ok"], &found["usage"][0]["drift"]), (&json!(true), &json!(0)), "{found}");
}

#[test]
fn usage_that_stripe_refused_is_listed_and_reported_again() {
    let world = World::new(5);
    {
        let _gateway = world.gateway("meter_event_name = \"a_meter_that_is_not_there\"");
        world.deliver();
        world.report_usage();
        let dead = world.said(&["stripe", "reports", "--state", "dead"]);
        assert!(dead.contains("No active meter found") && dead.contains(&world.id()), "{dead}");
        // Reported again without a correction, the report is dead again, and the command says so.
        let again = done(&mut world.command(&["stripe", "retry", "--all"]));
        assert!(!again.success && again.out.contains("dead"), "{again:?}");
    }
    let _gateway = world.gateway("");
    let rows = world.json(&["stripe", "reports", "--state", "dead"]);
    let report = rows["data"][0]["id"].as_str().expect("it is still there").to_owned();
    let retried = world.json(&["stripe", "retry", &report]);
    assert_eq!(retried["data"][0]["state"], "done", "{retried}");
    let values: Vec<i64> = world.double.meter_events().iter().map(|event| event.value).collect();
    assert_eq!(values, [5], "once");
    let done_already = done(&mut world.command(&["stripe", "retry", &report]));
    assert!(done_already.err.contains("Only a dead report"), "{done_already:?}");
    let unknown = done(&mut world.command(&["stripe", "retry", "dl-1"]));
    assert!(unknown.err.contains("usage report"), "{unknown:?}");
    let log = world.said(&["audit", "list", &world.id()]);
    assert_eq!(log.matches("stripe.report_retried").count(), 2, "{log}");
    assert_eq!(world.json(&["stripe", "reports", "--state", "dead"])["data"], json!([]));
}

#[test]
fn stripes_pages_and_the_billing_state_are_commands() {
    let mut world = World::new(1);
    let _gateway = world.gateway("");
    world.deliver();
    let id = world.id();
    let back = "https://app.example.com/";
    let checkout = [
        "stripe",
        "checkout",
        &id,
        "--plan",
        "growth",
        "--success-url",
        back,
        "--cancel-url",
        back,
    ];
    let refused = done(&mut world.command(&checkout));
    assert!(refused.err.contains(SECOND_CHECKOUT), "it has one already: {refused:?}");
    let portal = ["stripe", "portal", &id, "--return-url", back];
    assert!(world.said(&portal).starts_with("https://billing.stripe.com/"));
    assert!(world.json(&portal)["url"].is_string());

    // A failed payment and a dispute are one line each.
    world.life.wait(DAY);
    world.life.bill();
    world.life.fail();
    world.life.dispute();
    world.double.put(&world.life);
    world.deliver_again();
    world.until("the dispute is known", || {
        world.json(&["org", "show", &id])["billing"]["disputed"] == true
    });
    let shown = world.said(&["org", "show", &id]);
    let line = |name: &str| {
        let found = shown.lines().find(|line| line.starts_with(name));
        let line = found.unwrap_or_else(|| panic!("no {name}: {shown}"));
        line.trim_start_matches(name).trim().to_owned()
    };
    assert_eq!(line("subscription "), "past_due");
    assert!(line("grace until").starts_with("20"), "{shown}");
    assert_eq!(line("disputed"), "true");
    assert_eq!(line("trial ends"), "–");
    assert!(line("last billing change").starts_with("billing."), "{shown}");

    // An operator clears the dispute, once.
    let dispute = line("disputes");
    assert!(dispute.contains("dp_"), "{shown}");
    let clear = ["stripe", "clear-dispute", &id, "--reason", "refunded by hand"];
    let cleared = world.said(&clear);
    let customer = world.life.customer();
    assert!(cleared.contains(&id) && cleared.contains(customer), "whose: {cleared}");
    assert!(cleared.ends_with(": refunded by hand\n"), "and why: {cleared}");
    assert!(world.said(&clear).contains("no dispute"), "once");
    assert_eq!(world.json(&["org", "show", &id])["billing"]["disputes"], json!([]));
    let log = world.said(&["audit", "list", &id]);
    assert_eq!(log.matches("billing.dispute_cleared").count(), 1, "{log}");

    let invoices = world.json(&["stripe", "invoices", &id]);
    let statuses: Vec<&Value> =
        invoices["data"].as_array().expect("rows").iter().map(|row| &row["status"]).collect();
    assert_eq!(statuses, ["open", "paid"], "the newest first: {invoices}");
    let table = world.said(&["stripe", "invoices", &id]);
    assert!(table.contains("DRIFT-0002") && table.contains("$49.00"), "{table}");
    let page = world.get(&format!("/organizations/{id}/invoices?limit=1"));
    let cursor = page["next_cursor"].as_str().expect("there is more").to_owned();
    let rest = world.get(&format!("/organizations/{id}/invoices?limit=1&cursor={cursor}"));
    assert_eq!((&rest["data"][0]["status"], &rest["next_cursor"]), (&json!("paid"), &Value::Null));
}

impl World {
    /// Waits for the gateway's first reconciliation: a second one at the same time would be
    /// refused.
    fn compared(&self) {
        let log = || std::fs::read_to_string(self.folder.path().join("serve.log"));
        self.until("compared", || {
            log().is_ok_and(|log| log.contains("reconciliation with Stripe found"))
        });
    }

    /// Reports usage to Stripe now; otherwise the gateway does so once a minute.
    fn report_usage(&self) {
        self.compared();
        let outcome = done(self.command(&["stripe", "reconcile"]).arg("--json"));
        assert!(read(&outcome)["customers"].is_number(), "{outcome:?}");
    }

    /// Delivers all events again: known ones are duplicates.
    fn deliver_again(&self) {
        for event in self.life.events() {
            let body = event.to_string();
            let signed = sign(SECRET, now().secs(), body.as_bytes());
            let url = format!("http://{}/webhooks/stripe", self.public);
            let post = ureq::post(&url).header("content-type", "application/json");
            let sent = post.header("stripe-signature", signed).send(body.as_bytes());
            assert_eq!(sent.expect("it is taken").status(), 200);
        }
    }

    fn get(&self, path: &str) -> Value {
        let url = format!("http://{}/admin/v1{path}", self.public);
        let sent = ureq::get(&url).header("authorization", format!("Bearer {TOKEN}")).call();
        sent.expect("it answers").body_mut().read_json().expect("JSON")
    }
}

/// The commands of the document, from its blocks of shell commands.
fn documented() -> Vec<String> {
    let document = include_str!("../../../../docs/stripe.md");
    let blocks = document.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    let lines =
        blocks.flat_map(str::lines).map(|line| line.split("  #").next().unwrap_or_default());
    lines.map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect()
}

#[test]
fn every_command_of_the_document_runs() {
    let world = World::new(5);
    let mut gateway = Some(world.gateway("meter_event_name = \"not_there_yet\""));
    world.deliver();
    world.report_usage();
    let report =
        world.json(&["stripe", "reports"])["data"][0]["id"].as_str().expect("id").to_owned();
    drop(gateway.take());
    let _gateway = world.gateway("");
    world.compared();
    let event = world.life.events()[0]["id"].as_str().expect("an id").to_owned();
    let mut ran = 0;
    for written in documented() {
        if written.starts_with("export ") || written.starts_with("driftlock serve") {
            // This test has set up the environment and the gateway.
            continue;
        }
        let line = written.replace("ORG", &world.id()).replace("EVENT", &event);
        let line = line.replace("REPORT", &report);
        let bin = Path::new(PROGRAM).parent().expect("a folder").display().to_string();
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = Command::new("sh");
        command.args(["-c", &format!("{line} --url http://{}", world.public)]);
        command.current_dir(world.folder.path()).env_clear().env("PATH", format!("{bin}:{path}"));
        command.envs(world.environment.iter().map(|(name, value)| (name, value)));
        let outcome = done(&mut command);
        let is_second = line.contains("stripe checkout") && outcome.err.contains(SECOND_CHECKOUT);
        assert!(outcome.success || is_second, "{line}: {outcome:?}");
        ran += 1;
    }
    assert!(ran >= 12, "the document shows them: {ran}");
    drop(world.served);
}
