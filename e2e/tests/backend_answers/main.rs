//! A backend whose answers have two framings, a body where none is allowed, or an unrequested
//! second answer. No byte of one answer is in another, and only complete answers are charged.
//!
//! `DRIFTLOCK_BACKEND_ANSWERS` sets how many answers are read; 600 unless set. `DRIFTLOCK_SEED`
//! sets the order.

#[path = "../support"]
mod support {
    #[expect(dead_code, reason = "stores that fail are another test's matter")]
    pub(crate) mod gateway;
    pub(crate) mod process;
}

mod client;
mod hostile;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use driftlock_domain::response::REST;
use driftlock_e2e::admin::{DETECT, LIST, Organization};
use serde_json::json;

use client::{Client, Seen};
use hostile::{Hostile, Kind, Right, body};
use support::gateway::Gateway;

const CUSTOMERS: usize = 4;
/// Connections to the gateway; each carries requests of all customers alternately.
const CONNECTIONS: usize = 6;
/// Longer than head and body that are read in one call.
const BODY_BYTES_MAX: u64 = 3_000;

#[test]
fn no_byte_of_one_answer_is_in_another_and_what_is_charged_was_delivered() {
    let answers = setting("DRIFTLOCK_BACKEND_ANSWERS").unwrap_or(600);
    let seed = setting("DRIFTLOCK_SEED").unwrap_or(1);
    let backend = Hostile::start();
    let gateway = Gateway::start("", &backend.url);
    let target = gateway.target();
    let organizations: Vec<_> = (0..CUSTOMERS)
        .map(|_| Organization::with(&target, json!({"quota": {"included": 100_000_000}})))
        .collect();
    let keys: Vec<_> = organizations
        .iter()
        .map(|organization| {
            organization.key_with(json!({"requests_per_minute": 100_000_000})).secret
        })
        .collect();
    let (next, keys) = (AtomicU64::new(0), &keys);
    let mut all = Counts::default();
    // Lease each customer's units before many requests arrive at once.
    let mut random = Random(seed);
    for (customer, key) in keys.iter().enumerate() {
        let first = Wanted { customer, ..Wanted::honest(&mut random) };
        all.exchange(&mut Client::new(gateway.address()), &first, key);
    }
    thread::scope(|scope| {
        let run = |connection: u64| {
            let mut random = Random(seed.wrapping_mul(1_000).wrapping_add(connection + 1));
            let (mut client, mut counts) = (Client::new(gateway.address()), Counts::default());
            while next.fetch_add(1, Ordering::Relaxed) < answers {
                // The gateway has seen stray bytes of this backend before an unrequested answer
                // arrives in a second write after a body. A trusted backend's first one can be
                // taken for the answer to the next request: HTTP/1.1 offers no way to distinguish
                // them.
                let may_be_unasked = counts.seen.contains_key(&Kind::Surplus);
                let wanted = Wanted::draw(&mut random, may_be_unasked);
                counts.exchange(&mut client, &wanted, &keys[wanted.customer]);
            }
            counts
        };
        let threads: Vec<_> =
            (0..CONNECTIONS as u64).map(|number| scope.spawn(move || run(number))).collect();
        for counts in threads {
            all.add(counts.join().expect("no foreign byte"));
        }
    });
    let mut truncated = 0;
    for (number, organization) in organizations.iter().enumerate() {
        assert_eq!(organization.units(), all.charged[number], "units of customer {number}");
        let rows = organization.audit();
        truncated += rows.iter().filter(|row| row["outcome"] == "truncated").count() as u64;
    }
    assert_eq!(truncated, all.broken_off, "every body that broke off is audited");
    // Only a second write later than the pause before reuse can have met another request.
    let late = backend.gaps_beyond(REST) as u64;
    assert!(all.spoiled.len() as u64 <= late, "{late} writes came late: {:?}", all.spoiled);
    for (kind, count) in &all.seen {
        eprintln!("figure answers {kind:?} = {count}");
    }
    eprintln!("figure answers = {}", all.seen.values().sum::<u64>());
    eprintln!("figure customers = {CUSTOMERS}");
    eprintln!("figure replays = {}", all.replays);
    eprintln!("figure units = {}", all.charged.iter().sum::<u64>());
    eprintln!("figure bodies that broke off, charged and audited = {truncated}");
    eprintln!("figure connections to the backend = {}", backend.connections());
    eprintln!("figure second writes later than a rest = {late}");
    eprintln!("figure answers spoiled by a second write = {}", all.spoiled.len());
}

/// A request, and how the backend must answer it.
struct Wanted {
    customer: usize,
    kind: Kind,
    method: &'static str,
    token: String,
    bytes: usize,
    nodelay: u8,
    idempotency: Option<String>,
}

impl Wanted {
    fn draw(random: &mut Random, may_be_unasked: bool) -> Self {
        let kind = match random.below(3) {
            0 => Kind::Honest,
            _ => Kind::ALL[random.below(Kind::ALL.len() as u64) as usize],
        };
        let kind = if kind == Kind::Unasked && !may_be_unasked { Kind::Surplus } else { kind };
        let method = match (kind, random.below(4)) {
            (Kind::LateHead, _) => "HEAD",
            (Kind::Late304, _) | (_, 0) => "GET",
            _ => "POST",
        };
        let token = format!("{:016x}", random.next());
        let idempotency =
            (method == "POST" && random.below(3) == 0).then(|| format!("key-{token}"));
        Self {
            customer: random.below(CUSTOMERS as u64) as usize,
            kind,
            method,
            token,
            bytes: 2 + random.below(BODY_BYTES_MAX) as usize,
            nodelay: random.below(2) as u8,
            idempotency,
        }
    }

    fn honest(random: &mut Random) -> Self {
        Self {
            customer: 0,
            kind: Kind::Honest,
            method: "POST",
            token: format!("{:016x}", random.next()),
            bytes: 100,
            nodelay: 1,
            idempotency: None,
        }
    }

    fn request(&self, key: &str) -> String {
        let Self { kind, method, token, bytes, nodelay, .. } = self;
        let path = if *method == "POST" { DETECT } else { LIST };
        let idempotency = self.idempotency.iter();
        let idempotency: String =
            idempotency.map(|key| format!("Idempotency-Key: {key}\r\n")).collect();
        let (length, payload) = match *method {
            "POST" => ("Content-Type: text/plain\r\nContent-Length: 4\r\n", "line"),
            _ => ("", ""),
        };
        format!(
            "{method} {path} HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {key}\r\nX-Kind: {}\r\n\
             X-Token: {token}\r\nX-Bytes: {bytes}\r\nX-Nodelay: {nodelay}\r\n{idempotency}{length}\
             \r\n{payload}",
            kind.number()
        )
    }

    /// With an idempotency key the answer is read before it is charged: it is complete or refused.
    fn right(&self) -> Right {
        match self.kind.right() {
            Right::BrokenOff if self.idempotency.is_some() => Right::Refused,
            right => right,
        }
    }
}

#[derive(Default)]
struct Counts {
    seen: BTreeMap<Kind, u64>,
    charged: [u64; CUSTOMERS],
    broken_off: u64,
    replays: u64,
    /// Answers that differ from the backend's answer to the request.
    spoiled: Vec<String>,
}

impl Counts {
    fn exchange(&mut self, client: &mut Client, wanted: &Wanted, key: &str) {
        let request = wanted.request(key);
        let seen = client.ask(wanted.method, &request);
        *self.seen.entry(wanted.kind).or_default() += 1;
        let is_right = self.count(wanted, &seen);
        if !is_right || wanted.idempotency.is_none() || wanted.right() == Right::Refused {
            return;
        }
        let again = client.ask(wanted.method, &request);
        assert_eq!(again.header("idempotency-replayed"), Some("true"), "{again:?}");
        assert_eq!((again.status, &again.body), (seen.status, &seen.body), "{:?}", wanted.kind);
        assert_eq!(again.header("x-echo"), Some(&*wanted.token));
        assert_eq!(again.header("x-usage-receipt"), seen.header("x-usage-receipt"));
        self.replays += 1;
    }

    /// Whether the answer is the expected one.
    fn count(&mut self, wanted: &Wanted, seen: &Seen) -> bool {
        if seen.header("x-usage-receipt").is_some() {
            self.charged[wanted.customer] += 1;
        }
        let is_problem = seen.status == 502 && seen.header("x-usage-receipt").is_none();
        let right = wanted.right();
        if let (Right::Refused, true) = (right, is_problem) {
            return true;
        }
        if is_problem {
            self.spoiled.push(format!(
                "{:?}: {}",
                wanted.kind,
                String::from_utf8_lossy(&seen.body)
            ));
            return false;
        }
        let context = || {
            let shown = String::from_utf8_lossy(&seen.body[..seen.body.len().min(80)]).into_owned();
            format!("{:?} of {}: {seen:.200?} {shown}", wanted.kind, wanted.token)
        };
        assert_eq!(seen.header("x-echo"), Some(&*wanted.token), "{}", context());
        let whole = if wanted.method == "HEAD" || matches!(seen.status, 204 | 304) {
            Vec::new()
        } else {
            body(&wanted.token, wanted.bytes)
        };
        match right {
            Right::Whole(status) => {
                assert_eq!(seen.status, status, "{}", context());
                assert!(seen.is_whole && seen.body == whole, "{}", context());
            }
            Right::BrokenOff => {
                assert!(!seen.is_whole && whole.starts_with(&seen.body), "{}", context());
                self.broken_off += u64::from(wanted.method == "POST");
            }
            Right::Refused => panic!("{}", context()),
        }
        true
    }

    fn add(&mut self, other: Self) {
        for (kind, count) in other.seen {
            *self.seen.entry(kind).or_default() += count;
        }
        for (mine, its) in self.charged.iter_mut().zip(other.charged) {
            *mine += its;
        }
        self.broken_off += other.broken_off;
        self.replays += other.replays;
        self.spoiled.extend(other.spoiled);
    }
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// `SplitMix64`.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}
