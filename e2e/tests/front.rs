//! The operator's settings for incoming requests: allowed origins, refused clients, accepted
//! bodies, and headers of every answer.

mod support {
    #[expect(dead_code, reason = "each test uses the manners that it is about")]
    pub(crate) mod backend;
    #[expect(dead_code, reason = "stores that are refused are another test's matter")]
    pub(crate) mod gateway;
    pub(crate) mod process;
}

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use driftlock_domain::stripe::signature::sign;
use driftlock_e2e::admin::{DETECT, Key, LIST, Organization};
use driftlock_e2e::answer::Answer;
use driftlock_e2e::poll::eventually;
use driftlock_e2e::raw;
use driftlock_e2e::target::{PATIENCE, Target};
use serde_json::json;
use support::backend::Backend;
use support::gateway::Gateway;

const CONFIG: &str = r#"
[cors]
allowed_origins = ["https://app.example.com"]

[filter]
trusted_proxies = ["127.0.0.0/8"]
denied_addresses = ["203.0.113.0/24", "2001:db8::/32"]
denied_user_agents = ["EvilBot"]

[responses.headers]
x-content-type-options = "nosniff"
strict-transport-security = "max-age=63072000"

[[routes]]
method = "POST"
path = "/api/v1/anomalies/detect"
scope = "anomalies:detect"
units = 1
content_types = ["application/json", "text/*"]

[[routes]]
method = "GET"
path = "/api/v1/anomalies"
scope = "anomalies:read"
"#;

fn with(act: impl FnOnce(&Target, &Organization<'_>, &Key<'_>)) {
    let backend = Backend::start();
    let gateway = Gateway::start(CONFIG, &backend.url);
    let target = gateway.target();
    let organization = Organization::new(&target);
    let key = organization.key_with(json!({"scopes": ["*"], "requests_per_minute": 1_000}));
    act(&target, &organization, &key);
}

fn preflight(target: &Target, path: &str, origin: &str) -> Answer {
    let asked = target.request("OPTIONS", path).header("origin", origin);
    asked
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "authorization")
        .send()
}

#[test]
fn pages_of_listed_origins_may_call() {
    with(|target, organization, key| {
        let origin = "https://app.example.com";
        let asked = preflight(target, DETECT, origin);
        asked.expect(204);
        assert_eq!(asked.required("access-control-allow-origin"), origin);
        assert_eq!(asked.required("access-control-allow-methods"), "POST");
        assert!(asked.required("access-control-allow-headers").contains("Authorization"));
        assert_eq!(asked.number("access-control-max-age"), 600);
        assert_eq!(asked.required("vary"), "Origin");

        let called = key.call("GET", LIST).header("origin", origin).send();
        assert_eq!(called.expect(200).required("access-control-allow-origin"), origin);
        assert!(called.required("access-control-expose-headers").contains("RateLimit"));
        let refused = target.request("GET", LIST).header("origin", origin).send();
        refused.problem(401, "unauthenticated");
        assert_eq!(refused.required("access-control-allow-origin"), origin, "errors are read, too");
        assert_eq!(organization.units(), 0);
    });
}

#[test]
fn other_pages_may_not() {
    with(|target, organization, key| {
        for origin in ["https://evil.example", "https://app.example.com.evil.example", "null"] {
            let asked = preflight(target, DETECT, origin);
            asked.problem(403, "origin-not-allowed");
            assert_eq!(asked.header("access-control-allow-origin"), None);
            let called = key.call("POST", DETECT).header("origin", origin);
            called.bytes("text/plain", b"a".to_vec()).send().problem(403, "origin-not-allowed");
        }
        preflight(target, "/api/v1/nothing", "https://app.example.com").problem(404, "not-found");
        let plain = target.request("OPTIONS", LIST).send();
        plain.problem(405, "method-not-allowed");
        assert_eq!(organization.units(), 0);
    });
}

#[test]
fn addresses_and_agents_are_refused() {
    with(|_, organization, key| {
        for address in ["203.0.113.9", "2001:db8::1"] {
            let called = key.call("GET", LIST).header("x-forwarded-for", address).send();
            called.problem(403, "address-refused");
        }
        key.call("GET", LIST).header("x-forwarded-for", "203.0.114.1").send().expect(200);
        let bot = key.call("GET", LIST).header("user-agent", "Mozilla/5.0 (evilbot/2)").send();
        bot.problem(403, "user-agent-refused");
        assert_eq!(organization.units(), 0);
    });
}

/// A refused origin hides no other error: malformed requests and refused clients get their own.
#[test]
fn a_foreign_page_hides_nothing() {
    with(|target, _, key| {
        let foreign = ("Origin", "https://evil.example");
        let line = format!("GET {LIST} HTTP/1.1");
        let two_hosts = raw::head(target, &line, &[foreign, ("Host", "other")]);
        two_hosts.problem(400, "malformed-request");
        assert_eq!(two_hosts.required("connection"), "close");
        let denied = [foreign, ("X-Forwarded-For", "203.0.113.9")];
        raw::head(target, &line, &denied).problem(403, "address-refused");
        let agent =
            key.call("GET", LIST).header("origin", foreign.1).header("user-agent", "evilbot");
        agent.send().problem(403, "user-agent-refused");
    });
}

#[test]
fn a_second_user_agent_is_looked_at_too() {
    with(|target, _, _| {
        let agents = [("User-Agent", "Mozilla/5.0"), ("User-Agent", "EvilBot/2")];
        let answer = raw::head(target, &format!("GET {LIST} HTTP/1.1"), &agents);
        answer.problem(403, "user-agent-refused");
    });
}

#[test]
fn proxies_are_believed_by_the_configured_header() {
    with(|_, _, key| {
        let called = key.call("GET", LIST).header("x-forwarded-for", "203.0.113.9");
        let called = called.header("cf-connecting-ip", "198.51.100.1").send();
        called.problem(403, "address-refused");
        key.call("GET", LIST).header("cf-connecting-ip", "203.0.113.9").send().expect(200);
    });
    let backend = Backend::start();
    let named = "trusted_proxies = [\"127.0.0.0/8\"]\nclient_ip_header = \"CF-Connecting-IP\"";
    let config = CONFIG.replace("trusted_proxies = [\"127.0.0.0/8\"]", named);
    let gateway = Gateway::start(&config, &backend.url);
    let target = gateway.target();
    let organization = Organization::new(&target);
    let key = organization.key_with(json!({"scopes": ["*"]}));
    let called = key.call("GET", LIST).header("cf-connecting-ip", "203.0.113.9").send();
    called.problem(403, "address-refused");
    key.call("GET", LIST).header("x-forwarded-for", "203.0.113.9").send().expect(200);
}

/// Unsigned deliveries: the operator's rules apply, and an address may send only a few.
#[test]
fn deliveries_pass_the_front_too() {
    let backend = Backend::start();
    let config = format!("{CONFIG}\n[limits]\naddress_requests_per_minute = 3\n");
    let secret = [("ENV_STRIPE_WEBHOOK_SECRET", "whsec_of_the_tests_0123456789abcdef")];
    let gateway = Gateway::start_with(&config, &backend.url, &secret);
    let target = gateway.target();
    let deliver = |name: &str, value: &str| {
        let call =
            target.request("POST", "/webhooks/stripe").header("stripe-signature", "t=1,v1=00");
        call.header(name, value).json(&json!({})).send()
    };
    deliver("x-forwarded-for", "203.0.113.9").problem(403, "address-refused");
    deliver("user-agent", "EvilBot").problem(403, "user-agent-refused");
    for _ in 0..3 {
        deliver("x-forwarded-for", "198.51.100.1").problem(400, "invalid-webhook");
    }
    // The gateway does not wait for a body that never arrives.
    let head = [
        ("Content-Type", "application/json"),
        ("Content-Length", "500000"),
        ("Stripe-Signature", "t=1,v1=00"),
        ("X-Forwarded-For", "198.51.100.1"),
    ];
    let refused = raw::head(&target, "POST /webhooks/stripe HTTP/1.1", &head);
    refused.problem(429, "rate-limited");
    assert!(refused.number("retry-after") >= 1);
    // Stripe's signed deliveries are accepted meanwhile.
    let event = json!({ "id": "evt_1", "object": "event", "type": "ping", "created": 1,
        "livemode": false, "data": { "object": {} } });
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs();
    let signed = sign(secret[0].1, i64::try_from(now).expect("soon"), event.to_string().as_bytes());
    let call = target.request("POST", "/webhooks/stripe").header("stripe-signature", &signed);
    let taken = call.header("x-forwarded-for", "198.51.100.1").json(&event).send();
    assert_eq!(taken.status, 200, "{taken:?}");
    deliver("x-forwarded-for", "198.51.100.2").problem(400, "invalid-webhook");
}

#[test]
fn an_address_has_a_bounded_number_of_connections() {
    let backend = Backend::start();
    let gateway = Gateway::start("[limits]\naddress_connections_max = 5\n", &backend.url);
    let target = gateway.target();
    let health =
        || raw::try_head(&target, "GET /healthz HTTP/1.1", &[]).map(|answer| answer.status);
    // One after the other, since cores accept in any order.
    let held: Vec<_> = std::iter::from_fn(|| admitted(&gateway)).take(6).collect();
    assert!((3..=5).contains(&held.len()), "{} of 5 were let in", held.len());
    assert_eq!(health(), Some(429), "all of them are taken");
    drop(held);
    eventually("there is room again", || (health() == Some(200)).then_some(()));
}

/// A connection that was answered and stays open; `None` if it was refused.
fn admitted(gateway: &Gateway) -> Option<TcpStream> {
    let mut stream = connect(gateway);
    // The connection may be refused before the request is sent.
    let _ = stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
    let mut line = [0; 12];
    stream.read_exact(&mut line).expect("it is answered");
    match &line {
        b"HTTP/1.1 200" => Some(stream),
        b"HTTP/1.1 429" => None,
        other => panic!("{}", String::from_utf8_lossy(other)),
    }
}

fn connect(gateway: &Gateway) -> TcpStream {
    let stream = TcpStream::connect(gateway.address()).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream
}

#[test]
fn idle_connections_are_closed_without_a_word() {
    let backend = Backend::start();
    let gateway = Gateway::start("[timeouts]\nclient_idle_ms = 300\n", &backend.url);
    for (before, answers) in
        [("", 0), ("\r\n\r\n", 0), ("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", 1)]
    {
        let mut stream = connect(&gateway);
        let began = Instant::now();
        stream.write_all(before.as_bytes()).expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it is closed in time");
        assert!(began.elapsed() >= Duration::from_millis(300), "{before:?}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), answers, "{before:?}: {answer}");
    }
}

#[test]
fn bodies_are_of_the_routes_types() {
    with(|_, organization, key| {
        for (kind, status) in [
            ("application/json; charset=utf-8", 200),
            ("text/csv", 200),
            ("application/xml", 415),
            ("multipart/form-data", 415),
        ] {
            let sent = key.call("POST", DETECT).bytes(kind, b"{\"data\":[]}".to_vec()).send();
            sent.expect(status);
            if status == 415 {
                sent.problem(415, "unsupported-media-type");
                assert!(sent.text().contains("application/json"), "it says what is right");
            }
        }
        assert_eq!(organization.units(), 2, "what was refused cost nothing");
    });
}

#[test]
fn every_answer_has_the_configured_headers() {
    with(|target, _, key| {
        for answer in [key.get(LIST), target.request("GET", "/nothing").send()] {
            assert_eq!(answer.required("x-content-type-options"), "nosniff");
            assert_eq!(answer.required("strict-transport-security"), "max-age=63072000");
            assert_eq!(answer.header("referrer-policy"), None, "listing any replaces them all");
        }
    });
}

#[test]
fn paths_and_headers_are_the_backends_own() {
    let backend = Backend::start();
    // The example with a variable that is always set, and without health checks of the backend.
    let example = include_str!("../../examples/go-backend.toml");
    let config = example
        .replace("env:DRIFTLOCK_BACKEND_KEY", "env:PATH")
        .replace("health_path = \"/healthz\"", "");
    let gateway = Gateway::start(&config, &backend.url);
    let target = gateway.target();
    let organization = Organization::new(&target);
    let key = organization.key_with(json!({"scopes": ["*"], "requests_per_minute": 1_000}));
    key.call("POST", DETECT).json(&json!({"data": []})).send().expect(200);
    key.call("GET", "/api/v1/health?verbose=1").send().expect(200);
    let seen = backend.seen();
    assert!(seen[0].starts_with("POST /v1/detect HTTP/1.1\r\n"), "{}", seen[0]);
    assert!(seen[1].starts_with("GET /healthz?verbose=1 HTTP/1.1\r\n"), "{}", seen[1]);
    let expected = format!("x-api-key: {}", std::env::var("PATH").expect("a PATH"));
    assert!(seen.iter().all(|head| head.contains(&expected)), "{seen:?}");
    assert!(!seen.iter().any(|head| head.contains(&key.secret)), "the client's key stays here");
}
