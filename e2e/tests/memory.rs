//! Clients that send half of a request and stop: the gateway's memory grows by its budget at most,
//! and is released when the clients are gone.
//!
//! `cargo xtask prove memory` runs it at full size.

mod support {
    #[expect(dead_code, reason = "this test's backend only answers")]
    pub(crate) mod backend;
    #[expect(dead_code, reason = "stores that are refused are another test's matter")]
    pub(crate) mod gateway;
    pub(crate) mod metrics;
    pub(crate) mod process;
}

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use driftlock_e2e::admin::{DETECT, Key, LIST, Organization};
use driftlock_e2e::poll::eventually;
use serde_json::json;
use support::backend::Backend;
use support::gateway::Gateway;

/// Half of the largest accepted delivery.
const HALF_DELIVERY: usize = 256 << 10;
/// Half of the largest payload with an Idempotency-Key.
const HALF_PAYLOAD: usize = 512 << 10;
/// Somewhat less than the largest head.
const HALF_HEAD: usize = 36 << 10;
/// Growth of a process while it starts to serve, which it does not release.
const GROWTH: u64 = 24 << 20;
/// Memory that the allocator retains: a page of each size class that was in use, per core.
const RETAINED: u64 = 48 << 20;

fn number(name: &str, default: u64) -> u64 {
    let text = std::env::var(name).ok();
    text.map_or(default, |text| text.parse().expect("a number"))
}

fn resident_bytes(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("Linux");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("KiB") << 10
}

/// The value of one metric.
fn metric(gateway: &Gateway, name: &str) -> u64 {
    let text = support::metrics::metrics(&gateway.log());
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name}: {text}")).trim().parse().expect("a number")
}

/// The head of a request from a separate address, and how many bytes of its rest are sent.
struct Half {
    name: &'static str,
    head: Box<dyn Fn(usize) -> String>,
    then: usize,
}

fn halves(key: &Key<'_>) -> [Half; 3] {
    let from = |number: usize| {
        format!("Host: x\r\nX-Forwarded-For: 10.{}.{}.1\r\n", number / 250, number % 250)
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    let (secret, signature) = (key.secret.clone(), "0".repeat(64));
    let delivery = move |number| {
        format!(
            "POST /webhooks/stripe HTTP/1.1\r\n{}Content-Type: application/json\r\n\
             Stripe-Signature: t={now},v1={signature}\r\nContent-Length: {}\r\n\r\n",
            from(number),
            2 * HALF_DELIVERY
        )
    };
    let keyed = move |number| {
        format!(
            "POST {DETECT} HTTP/1.1\r\n{}Authorization: Bearer {secret}\r\nContent-Type: \
             text/plain\r\nIdempotency-Key: half-{number}\r\nContent-Length: {}\r\n\r\n",
            from(number),
            2 * HALF_PAYLOAD
        )
    };
    let head = move |number| format!("GET {LIST} HTTP/1.1\r\n{}X-Half: ", from(number));
    [
        Half { name: "deliveries", head: Box::new(delivery), then: HALF_DELIVERY },
        Half { name: "keyed bodies", head: Box::new(keyed), then: HALF_PAYLOAD },
        Half { name: "heads", head: Box::new(head), then: HALF_HEAD },
    ]
}

/// Sends one half; returns a refusal that arrived meanwhile.
fn send(gateway: &Gateway, half: &Half, number: usize) -> TcpStream {
    let mut stream = TcpStream::connect(gateway.address()).expect("it listens");
    let _ = stream.write_all((half.head)(number).as_bytes());
    // A refusal can arrive before the half is sent.
    let _ = stream.write_all(&vec![b'x'; half.then]);
    stream
}

/// The status line of an answer that has arrived, and whether it has `Retry-After`.
fn answered(stream: &mut TcpStream) -> Option<(u16, bool)> {
    stream.set_read_timeout(Some(Duration::from_millis(1))).expect("a timeout");
    let mut piece = [0; 4_096];
    let count = stream.read(&mut piece).ok().filter(|count| *count > 0)?;
    let text = String::from_utf8_lossy(&piece[..count]).to_lowercase();
    let status = text.get(9..12)?.parse().ok()?;
    Some((status, text.contains("\r\nretry-after: ")))
}

#[test]
fn halves_of_requests_take_the_budget_at_most_and_give_it_back() {
    let count = usize::try_from(number("DRIFTLOCK_HALVES", 200)).expect("so many");
    let budget = number("DRIFTLOCK_BUDGET_BYTES", 4 << 20);
    let backend = Backend::start();
    let config = format!(
        "[filter]\ntrusted_proxies = [\"127.0.0.0/8\"]\n[limits]\nbuffered_bytes_max = {budget}\n\
         [timeouts]\nclient_head_ms = 60000\nbody_idle_ms = 60000\n"
    );
    let secret = [("ENV_STRIPE_WEBHOOK_SECRET", "whsec_of_the_tests_0123456789abcdef")];
    let gateway = Gateway::start_with(&config, &backend.url, &secret);
    let target = gateway.target();
    let organization = Organization::with(&target, json!({"quota": {"included": 1_000_000}}));
    let key = organization.key_with(json!({"scopes": ["*"], "requests_per_minute": 10_000_000}));
    key.detect().expect(200);
    let start = resident_bytes(gateway.process_id());
    for half in halves(&key) {
        let mut all: Vec<TcpStream> =
            (0..count).map(|number| send(&gateway, &half, number)).collect();
        let used = settled(&gateway);
        assert!(used <= budget, "{used} of {budget}");
        // An ordinary request succeeds meanwhile, since it does not need the budget.
        key.call("GET", LIST).send().expect(200);
        let during = resident_bytes(gateway.process_id());
        let seen: Vec<_> = all.iter_mut().filter_map(answered).collect();
        assert!(seen.iter().all(|answer| *answer == (503, true)), "{seen:?}");
        let bytes = count as u64 * half.then as u64;
        assert_eq!(!seen.is_empty(), bytes > budget, "what does not fit is refused");
        drop(all);
        eventually("nothing is in memory any more", || {
            (metric(&gateway, "driftlock_buffered_bytes") == 0).then_some(())
        });
        let after = once_below(&gateway, &key, start + RETAINED);
        let [used, at_start, during_mib, after_mib] =
            [used, start, during, after].map(|bytes| bytes >> 20);
        let name = half.name;
        eprintln!("figure half-sent {name}, and refused of them = {count}, {}", seen.len());
        eprintln!("figure MiB counted for half-sent {name} = {used}");
        eprintln!(
            "figure MiB of the process at the start, during, after {name} = {at_start}, \
             {during_mib}, {after_mib}"
        );
        assert!(during <= start + budget.max(GROWTH), "{name}: {start} before, {during} during");
        assert!(after <= start + RETAINED, "{name}: {start} before, {after} after");
        // The same request, sent completely, passes again.
        key.detect().expect(200);
    }
    assert!(metric(&gateway, "driftlock_buffered_bytes_refusals_total") > 0);
    assert_eq!(metric(&gateway, "driftlock_buffered_bytes_max"), budget);
}

/// The bytes in the budget once the number no longer changes.
fn settled(gateway: &Gateway) -> u64 {
    let (mut last, mut same) = (u64::MAX, 0);
    eventually("what can be taken was taken", || {
        let used = metric(gateway, "driftlock_buffered_bytes");
        same = if used == last { same + 1 } else { 0 };
        last = used;
        std::thread::park_timeout(Duration::from_millis(50));
        (same >= 20).then_some(used)
    })
}

/// The process's memory once it is down to `wanted`, or after ten seconds with ordinary requests.
fn once_below(gateway: &Gateway, key: &Key<'_>, wanted: u64) -> u64 {
    let mut resident = resident_bytes(gateway.process_id());
    for _ in 0..100 {
        if resident <= wanted {
            break;
        }
        std::thread::park_timeout(Duration::from_millis(100));
        key.call("GET", LIST).send().expect(200);
        resident = resident_bytes(gateway.process_id());
    }
    resident
}

/// The gateway reads bodies of falsely signed deliveries only while their address has failures
/// left, and 16 more; further ones are refused by their heads.
#[test]
fn an_address_has_as_many_unverified_deliveries_as_it_may_fail_with() {
    let backend = Backend::start();
    let secret = [("ENV_STRIPE_WEBHOOK_SECRET", "whsec_of_the_tests_0123456789abcdef")];
    let config = "[limits]\naddress_requests_per_minute = 5\n";
    let gateway = Gateway::start_with(config, &backend.url, &secret);
    let target = gateway.target();
    let organization = Organization::new(&target);
    let key = organization.key();
    let [deliveries, ..] = halves(&key);
    let mut all: Vec<TcpStream> =
        (0..28).map(|number| send(&gateway, &deliveries, number)).collect();
    let mut refused = Vec::new();
    eventually("seven are refused", || {
        refused.extend(all.iter_mut().filter_map(answered));
        (refused.len() >= 7).then_some(())
    });
    assert_eq!(refused, vec![(429, true); 7]);
}
