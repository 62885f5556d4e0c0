//! Headers and paths between client and backend: the lists of removed headers in both directions,
//! and one spelling of each path.

mod support {
    #[expect(dead_code, reason = "stores that fail are another test's matter")]
    pub(crate) mod gateway;
    pub(crate) mod process;
    #[expect(dead_code, reason = "this test's backend keeps its connections")]
    pub(crate) mod script;
}

use driftlock_e2e::admin::{Key, Organization};
use driftlock_e2e::raw;
use driftlock_e2e::target::Target;
use serde_json::json;
use support::gateway::Gateway;
use support::script::{End, Script, Scripted};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
/// A metered operation, and a free route that matches any segment.
const ROUTES: &str = r#"
[[routes]]
method = "POST"
path = "/api/run:now"
units = 1
[[routes]]
method = "POST"
path = "/api/{x}"
content_types = ["application/json"]
"#;

fn with(
    config: &str,
    answer: &str,
    act: impl FnOnce(&Target, &Scripted, &Key<'_>, &Organization<'_>),
) {
    let backend = Scripted::start(Script::text(answer, End::Keep));
    let gateway = Gateway::start(&format!("{config}{ROUTES}"), &backend.url);
    let target = gateway.target();
    let organization = Organization::with(&target, json!({"quota": {"included": 1_000}}));
    let key = organization.key_with(json!({"scopes": ["*"], "requests_per_minute": 100_000}));
    act(&target, &backend, &key, &organization);
}

/// The request line that reached the backend.
fn line(backend: &Scripted) -> String {
    let seen = backend.take();
    assert_eq!(seen.len(), 1);
    seen[0].head.lines().next().unwrap_or_default().to_owned()
}

#[test]
fn an_encoded_character_is_no_way_past_a_metered_route() {
    with("", OK, |target, backend, key, organization| {
        let bearer = format!("Bearer {}", key.secret);
        let spellings = ["run:now", "run%3Anow", "run%3anow", "%72un%3Anow", "r%75n:n%6Fw"];
        for (place, path) in spellings.into_iter().enumerate() {
            for api in ["api", "%61pi"] {
                let post = format!("POST /{api}/{path} HTTP/1.1");
                let headers = [("Authorization", bearer.as_str()), ("Content-Length", "0")];
                raw::head(target, &post, &headers).expect(200).receipt();
                assert_eq!(line(backend), "POST /api/run:now HTTP/1.1", "{api}/{path}");
            }
            assert_eq!(organization.units(), 2 * (place as u64 + 1), "{path} is metered");
        }
        for path in ["run;now", "run%3Bnow", "run%253Anow", "run%2Fnow", "run:now%00"] {
            let post = format!("POST /api/{path} HTTP/1.1");
            let headers = [("Authorization", bearer.as_str()), ("Content-Length", "0")];
            raw::head(target, &post, &headers).problem(400, "malformed-request");
        }
        assert!(backend.take().is_empty());
    });
}

/// The route's rule applies, and the backend sees the content type that was checked.
#[test]
fn connection_takes_no_content_type_past_the_route_s_rule() {
    with("", OK, |_, backend, key, _| {
        let call = |connection: &str, kind: &str| {
            let call = key.call("POST", "/api/a").header("connection", connection);
            call.bytes(kind, b"{}".to_vec()).send()
        };
        let detail = call("content-type", "application/json").problem(400, "malformed-request");
        assert!(detail.contains("content-type"), "{detail}");
        call("keep-alive", "text/plain").problem(415, "unsupported-media-type");
        assert!(backend.take().is_empty());
        call("keep-alive, x-any", "application/json").expect(200);
        assert!(backend.take()[0].head.to_lowercase().contains("content-type: application/json"));
    });
}

#[test]
fn a_trusted_proxy_speaks_where_a_stranger_may_not() {
    const SENT: [(&str, &str); 4] = [
        ("x-forwarded-port", "8443"),
        ("remote-user", "alice"),
        ("x_forwarded_prefix", "/misspelt"),
        ("x-forwarded-host", "shop.example"),
    ];
    for (config, is_trusted) in
        [("", false), ("[filter]\ntrusted_proxies = [\"127.0.0.0/8\"]\n", true)]
    {
        with(config, OK, |_, backend, key, _| {
            let call = key.call("POST", "/api/a");
            SENT.iter()
                .fold(call, |call, (name, value)| call.header(name, value))
                .send()
                .expect(200);
            let head = backend.take()[0].head.to_lowercase();
            for (name, value) in SENT {
                let passes = is_trusted && !name.contains('_');
                assert_eq!(head.contains(value), passes, "{name}, trusted: {is_trusted}: {head}");
            }
        });
    }
}

#[test]
fn the_list_of_untrusted_headers_is_the_operator_s() {
    let config = "[filter]\nuntrusted_headers = [\"x-tenant-*\"]\n\
                  [backend]\nheaders = { x-api-key = \"ours\" }\n";
    with(config, OK, |_, backend, key, _| {
        let call = key.call("POST", "/api/a").header("x-tenant-id", "forged");
        let call = call.header("x_tenant_id", "forged").header("x_api_key", "forged");
        let call = call.header("x-api-key", "forged").header("remote-user", "alice");
        call.header("x.organization.id", "forged").send().expect(200);
        let head = backend.take()[0].head.to_lowercase();
        assert!(!head.contains("forged"), "{head}");
        assert!(head.contains("x-api-key: ours") && head.contains("remote-user: alice"), "{head}");
    });
}

#[test]
fn a_backend_speaks_for_the_gateway_in_no_spelling() {
    let answer = "HTTP/1.1 200 OK\r\nX_Usage_Receipt: forged\r\nX.Usage.Receipt: forged\r\n\
                  RateLimit_Policy: forged\r\nX_RateLimit_Limit: forged\r\nX_Request_Id: forged\r\n\
                  Access_Control_Allow_Origin: forged\r\nAccess-Control-Allow-Origin: forged\r\n\
                  Access-Control-Expose-Headers: X-Own\r\nContent-Type: application/json\r\n\
                  Connection: content-type\r\nX-Own: kept\r\nContent-Length: 2\r\n\r\n{}";
    with("[cors]\nallowed_origins = [\"*\"]\n", answer, |_, _, key, _| {
        let answer =
            key.call("POST", "/api/run%3Anow").header("origin", "https://a.example").send();
        answer.expect(200).receipt();
        assert!(answer.headers.iter().all(|(_, value)| value != "forged"), "{:?}", answer.headers);
        assert_eq!(answer.required("x-own"), "kept");
        assert_eq!(answer.required("content-type"), "application/json");
        let exposed =
            answer.headers.iter().filter(|(name, _)| name.starts_with("access-control-exp"));
        let exposed: Vec<_> = exposed.map(|(_, value)| value.as_str()).collect();
        assert!(exposed.contains(&"X-Own") && exposed.len() == 2, "{exposed:?}");
    });
}
