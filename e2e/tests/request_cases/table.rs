//! The cases: the bytes sent, and the required outcome.

/// The required outcome of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// One of these statuses, the connection closed, nothing forwarded.
    Refused(&'static [u16]),
    /// One of these statuses and the connection closed; the head may be at the backend already,
    /// which then never sees a complete body.
    RefusedOrAborted(&'static [u16]),
    /// The same, with the rest of the body left unread.
    Unread(&'static [u16]),
    /// The first request is forwarded and answered, the pipelined second one gets this status.
    ThenRefused(&'static [u16]),
    /// Refused, or forwarded with exactly this path.
    RefusedOr(&'static str),
    /// Forwarded, with this text in its head.
    ForwardedWith(&'static str),
    /// Forwarded, with none of these texts in its head.
    ForwardedWithout(&'static [&'static str]),
    /// The first request is forwarded and answered, the second one gets this status as a separate
    /// request.
    ThenAnswered(&'static [u16]),
    /// Answered with this status and not forwarded; the connection may stay open.
    Answered(&'static [u16]),
}

/// One case; `{key}` stands for an API key.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) bytes: Vec<u8>,
    pub(crate) verdict: Verdict,
}

use Verdict::{
    Answered, ForwardedWith, ForwardedWithout, Refused, RefusedOr, RefusedOrAborted, ThenAnswered,
    ThenRefused, Unread,
};

const BAD: &[u8] = b"";
const POST: &str = "POST /api/v1/anomalies/detect HTTP/1.1\r\n";
const KEYED: &str = "Host: gateway\r\nAuthorization: Bearer {key}\r\nContent-Type: text/plain\r\n";

fn case(name: &'static str, bytes: impl Into<Vec<u8>>, verdict: Verdict) -> Case {
    Case { name, bytes: bytes.into(), verdict }
}

/// A metered POST with these further header lines and this body.
fn post(name: &'static str, lines: &str, body: &str, verdict: Verdict) -> Case {
    case(name, format!("{POST}{KEYED}{lines}\r\n{body}"), verdict)
}

/// A GET of this target.
fn get(name: &'static str, target: &str, verdict: Verdict) -> Case {
    case(name, format!("GET {target} HTTP/1.1\r\n{KEYED}\r\n"), verdict)
}

pub(crate) fn cases() -> Vec<Case> {
    let mut all = framing();
    all.extend(pipelined());
    all.extend(heads());
    all.extend(names());
    all.extend(chunks());
    all.extend(targets());
    all.extend(bounds());
    all
}

fn framing() -> Vec<Case> {
    let chunked = "4\r\nabcd\r\n0\r\n\r\n";
    let smuggled = "0\r\n\r\nGET /api/v1/smuggled HTTP/1.1\r\nHost: x\r\n\r\n";
    let te = "Transfer-Encoding: chunked\r\n";
    vec![
        post("CL before TE", &format!("Content-Length: 6\r\n{te}"), smuggled, Refused(&[400])),
        post("TE before CL", &format!("{te}Content-Length: 6\r\n"), smuggled, Refused(&[400])),
        post(
            "TE chunked, identity",
            "Transfer-Encoding: chunked, identity\r\n",
            chunked,
            Refused(&[400, 501]),
        ),
        post(
            "TE identity, chunked",
            "Transfer-Encoding: identity, chunked\r\n",
            chunked,
            Refused(&[400, 501]),
        ),
        post("TE xchunked", "Transfer-Encoding: xchunked\r\n", chunked, Refused(&[400, 501])),
        post("TE twice", &format!("{te}{te}"), chunked, Refused(&[400, 501])),
        case(
            "TE on HTTP/1.0",
            format!("POST /api/v1/anomalies/detect HTTP/1.0\r\n{KEYED}{te}\r\n{chunked}"),
            Refused(&[400, 501, 505]),
        ),
        post(
            "CL twice, different",
            "Content-Length: 4\r\nContent-Length: 5\r\n",
            "abcde",
            Refused(&[400]),
        ),
        post(
            "CL twice, the same",
            "Content-Length: 4\r\nContent-Length: 4\r\n",
            "abcd",
            Refused(&[400]),
        ),
        post("CL 4, 4", "Content-Length: 4, 4\r\n", "abcd", Refused(&[400])),
        post("CL +4", "Content-Length: +4\r\n", "abcd", Refused(&[400])),
        post("CL -1", "Content-Length: -1\r\n", "abcd", Refused(&[400])),
        post(
            "CL beyond 2^64",
            "Content-Length: 99999999999999999999999\r\n",
            "abcd",
            Refused(&[400, 413]),
        ),
    ]
}

/// Heads that do not start at the beginning of a read.
fn pipelined() -> Vec<Case> {
    let (length, te) = ("Content-Length: 4\r\n", "Transfer-Encoding: chunked\r\n");
    let smuggled = "GET /api/v1/smuggled HTTP/1.1\r\nHost: x\r\n\r\n";
    let twice = format!("{POST}{KEYED}{length}{length}\r\nabcd{smuggled}");
    let both = format!("{POST}{KEYED}{te}{length}\r\n0\r\n\r\n{smuggled}");
    let spaced = format!("{POST}{KEYED}X-A : b\r\n{length}\r\nabcd{smuggled}");
    let chunks = "2;a=b\r\nab\r\n1\r\n\n\r\n0\r\n\r\n";
    vec![
        case("CL twice after an empty line", format!("\r\n{twice}"), Refused(&[400])),
        case("CL twice after a bare LF", format!("\n{twice}"), Refused(&[400])),
        case("CL and TE after empty lines", format!("\r\n\n{both}"), Refused(&[400])),
        case(
            "an empty line before a request",
            format!("\r\n{POST}{KEYED}{length}\r\nabcd"),
            ForwardedWith("x-organization-id: org_0"),
        ),
        post("CL twice, pipelined", length, &format!("abcd{twice}"), ThenRefused(&[400])),
        post("CL and TE, pipelined", length, &format!("abcd{both}"), ThenRefused(&[400])),
        post("CL twice behind chunks", te, &format!("{chunks}{twice}"), ThenRefused(&[400])),
        post("CL and TE behind chunks", te, &format!("{chunks}\r\n{both}"), ThenRefused(&[400])),
        post("malformed, pipelined", length, &format!("abcd{spaced}"), ThenRefused(&[400])),
    ]
}

fn heads() -> Vec<Case> {
    let length = "Content-Length: 4\r\n";
    vec![
        post("space before the colon", &format!("{length}X-A : b\r\n"), "abcd", Refused(&[400])),
        post("obs-fold", &format!("{length}X-A: b\r\n c\r\n"), "abcd", Refused(&[400])),
        post("bare CR in a value", &format!("{length}X-A: b\rc\r\n"), "abcd", Refused(&[400])),
        post("NUL in a value", &format!("{length}X-A: b\0c\r\n"), "abcd", Refused(&[400])),
        case(
            "no Host",
            format!("{POST}Authorization: Bearer {{key}}\r\n{length}\r\nabcd"),
            Refused(&[400]),
        ),
        post("two Hosts", &format!("Host: other\r\n{length}"), "abcd", Refused(&[400])),
        case(
            "Upgrade, pipelined",
            format!(
                "{POST}{KEYED}Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 0\r\n\r\n\
                 GET /api/v1/smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
            ),
            ThenAnswered(&[404]),
        ),
        post(
            "Upgrade h2c",
            &format!(
                "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n{length}"
            ),
            "abcd",
            ForwardedWithout(&["upgrade", "http2-settings", "connection: u"]),
        ),
        post(
            "Upgrade TLS/1.2",
            &format!("Connection: Upgrade\r\nUpgrade: TLS/1.2\r\n{length}"),
            "abcd",
            ForwardedWithout(&["upgrade", "http2-settings", "connection: u"]),
        ),
        case(
            "Upgrade on HTTP/1.0",
            format!(
                "{}{KEYED}Connection: Upgrade\r\nUpgrade: websocket\r\n{length}\r\nabcd",
                POST.replace("1.1", "1.0")
            ),
            ForwardedWithout(&["upgrade", "connection: u"]),
        ),
        post(
            "Connection names ours",
            &format!("Connection: X-Organization-ID, X-Request-ID\r\n{length}"),
            "abcd",
            ForwardedWith("x-organization-id: org_"),
        ),
        post(
            "forged X-Organization-ID",
            &format!("X-Organization-ID: org_forged\r\n{length}"),
            "abcd",
            ForwardedWith("x-organization-id: org_0"),
        ),
        post(
            "forged X-Api-Key-ID",
            &format!("X-Api-Key-ID: key_forged\r\nX_Api_Key_ID: key_forged\r\n{length}"),
            "abcd",
            ForwardedWith("x-api-key-id: key_0"),
        ),
        post(
            "forged X-Forwarded-For",
            &format!("X-Forwarded-For: 203.0.113.9\r\nX-Real-IP: 203.0.113.9\r\n{length}"),
            "abcd",
            ForwardedWith("x-forwarded-for: 127.0.0.1\r\n"),
        ),
        post(
            "malformed traceparent",
            &format!("traceparent: 00-zz-zz-01\r\n{length}"),
            "abcd",
            ForwardedWith("traceparent: 00-"),
        ),
    ]
}

/// Headers that a client may not send, and `Connection` lines that would remove important headers.
fn names() -> Vec<Case> {
    let with = |names: &[&str]| {
        let lines = names.iter().map(|name| format!("{name}: forged\r\n"));
        format!("{}Content-Length: 4\r\n", lines.collect::<String>())
    };
    let proxies = [
        "Forwarded",
        "X-Forwarded-Port",
        "X-Forwarded-Prefix",
        "X-Forwarded-Scheme",
        "X-Forwarded-Ssl",
        "X-Forwarded-Uri",
        "X-Forwarded-User",
        "X-Forwarded-Anything",
        "True-Client-IP",
        "X-Client-IP",
        "CF-Connecting-IP",
        "CF-Access-Authenticated-User-Email",
        "Remote-User",
        "X-Original-URL",
        "X-Rewrite-URL",
        "X-HTTP-Method-Override",
        "Proxy",
    ];
    let spelled = [
        "X.Organization.Id",
        "X_Organization.Id",
        "X.Api-Key_Id",
        "X_Forwarded_User",
        "Remote_User",
        "X.Original.URL",
        "Content_Length",
        "Transfer_Encoding",
    ];
    let connection = |name: &str| format!("Connection: {name}\r\nContent-Length: 4\r\n");
    let ours = ForwardedWith("x-organization-id: org_0");
    vec![
        post("forged headers of proxies", &with(&proxies), "abcd", ours),
        post("ours in other spellings", &with(&spelled), "abcd", ours),
        post("Connection names Content-Type", &connection("content-type"), "abcd", Refused(&[400])),
        post("Connection names Host", &connection("close, Host"), "abcd", Refused(&[400])),
        post("Connection names the length", &connection("Content-Length"), "abcd", Refused(&[400])),
        post("Connection names the key", &connection("Authorization"), "abcd", Refused(&[400])),
        post("Connection names nothing known", &connection("X-Any, TE"), "abcd", ours),
    ]
}

fn chunks() -> Vec<Case> {
    let te = "Transfer-Encoding: chunked\r\n";
    vec![
        post("chunk size 0x2", te, "0x2\r\nab\r\n0\r\n\r\n", RefusedOrAborted(&[400])),
        post("chunk ended by bare LF", te, "2\r\nab\n0\r\n\r\n", RefusedOrAborted(&[400])),
        post("LF in a chunk extension", te, "2;a\nb\r\nab\r\n0\r\n\r\n", RefusedOrAborted(&[400])),
        post(
            "chunk size overflows",
            te,
            "ffffffffffffffffff\r\nab\r\n0\r\n\r\n",
            RefusedOrAborted(&[400]),
        ),
        post("chunk size negative", te, "-1\r\nab\r\n0\r\n\r\n", RefusedOrAborted(&[400])),
    ]
}

fn targets() -> Vec<Case> {
    vec![
        get("%00 in the path", "/api/v1/anomalies/a%00b", Refused(&[400])),
        get("%2e%2e", "/api/v1/anomalies/%2e%2e/health", Refused(&[400])),
        get("..", "/api/v1/anomalies/../health", RefusedOr("/api/v1/health")),
        get("double slash", "/api//v1/health", RefusedOr("/api/v1/health")),
        get("semicolon", "/api/v1/anomalies/a;b=c", RefusedOr("/api/v1/anomalies/a;b=c")),
        get("%2f", "/api/v1/anomalies/a%2fb", RefusedOr("/api/v1/anomalies/a%2Fb")),
        get("backslash", "/api/v1\\health", Refused(&[400])),
        get("%5c", "/api/v1/anomalies/a%5cb", Refused(&[400])),
        case(
            "invalid UTF-8",
            [b"GET /api/v1/anomalies/\xff\xfe HTTP/1.1\r\n", KEYED.as_bytes(), b"\r\n"].concat(),
            Refused(&[400]),
        ),
        get("invalid percent-encoding", "/api/v1/anomalies/%zz", Refused(&[400])),
        get("%ff", "/api/v1/anomalies/%ff", Refused(&[400])),
        get("%3a", "/api/v1/anomalies/a%3ab", RefusedOr("/api/v1/anomalies/a:b")),
        get("plus", "/api/v1/anomalies/a+b", RefusedOr("/api/v1/anomalies/a%2Bb")),
        get("fragment", "/api/v1/anomalies#b", Refused(&[400])),
        get("fragment behind a query", "/api/v1/anomalies?a=b#c", Refused(&[400])),
        case(
            "fragment, pipelined",
            format!(
                "{POST}{KEYED}Content-Length: 4\r\n\r\nabcdGET /api/v1/health#smuggled HTTP/1.1\r\n\
                 {KEYED}\r\nGET /api/v1/smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
            ),
            ThenRefused(&[400]),
        ),
        get("absolute form", "http://other/api/v1/health", Refused(&[400])),
        case("OPTIONS *", format!("OPTIONS * HTTP/1.1\r\n{KEYED}\r\n"), Answered(&[400, 405])),
        case(
            "CONNECT",
            format!("CONNECT other:443 HTTP/1.1\r\n{KEYED}\r\n"),
            Answered(&[400, 405]),
        ),
        case(
            "TRACE",
            format!("TRACE /api/v1/health HTTP/1.1\r\n{KEYED}\r\n"),
            Answered(&[400, 405]),
        ),
        case("no HTTP", [b"\x16\x03\x01\x02\x00", BAD].concat(), Refused(&[400])),
    ]
}

fn bounds() -> Vec<Case> {
    let many: String = (0..101).map(|number| format!("X-{number}: 1\r\n")).collect();
    let large = format!("X-Large: {}\r\n", "x".repeat(64 << 10));
    let length = format!("Content-Length: {}\r\n", 32 << 20);
    // More than the limit and the socket buffers of both sides together.
    let body = "x".repeat(32 << 20);
    let chunks = format!("{:x}\r\n{}\r\n", 1 << 20, "x".repeat(1 << 20)).repeat(32);
    vec![
        post("101 header lines", &format!("{many}Content-Length: 0\r\n"), "", Answered(&[431])),
        post("a 64 KiB header", &format!("{large}Content-Length: 0\r\n"), "", Answered(&[431])),
        get("a 16 KiB target", &format!("/{}", "x".repeat(16 << 10)), Answered(&[414])),
        post("a declared body over the limit", &length, &body, Unread(&[413])),
        post(
            "a chunked body over the limit",
            "Transfer-Encoding: chunked\r\n",
            &chunks,
            Unread(&[413]),
        ),
    ]
}
