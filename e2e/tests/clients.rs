//! Real HTTP clients with their defaults: Java's `HttpClient` and `curl --http2`, which offer `h2c`
//! with their requests, and Python's `http.client`, which sends head and body apart.
//!
//! A test target that runs when it is asked for by name, since it needs the three:
//! `cargo xtask prove clients`.

mod support {
    #[expect(dead_code, reason = "this test's backend only answers")]
    pub(crate) mod backend;
    #[expect(dead_code, reason = "stores that are refused are another test's matter")]
    pub(crate) mod gateway;
    pub(crate) mod process;
}

use std::fs;
use std::process::Command;

use driftlock_e2e::admin::{DETECT, Organization};
use serde_json::json;
use support::backend::Backend;
use support::gateway::Gateway;

/// Prints the status of one request.
const JAVA: &str = r#"
import java.net.URI;
import java.net.http.*;
class Ask {
    public static void main(String[] given) throws Exception {
        var request = HttpRequest.newBuilder(URI.create(given[0]))
            .header("Authorization", "Bearer " + given[1])
            .header("Content-Type", "text/plain")
            .POST(HttpRequest.BodyPublishers.ofString("a line\n"))
            .build();
        var answer = HttpClient.newHttpClient().send(request, HttpResponse.BodyHandlers.ofString());
        System.out.print(answer.statusCode());
    }
}
"#;

/// Prints how many of 200 answers with the status 429 were read.
const PYTHON: &str = r#"
import http.client, sys
host, path, key = sys.argv[1:]
connection, read = http.client.HTTPConnection(host), 0
for _ in range(200):
    head = {"Authorization": "Bearer " + key, "Content-Type": "text/plain"}
    connection.request("POST", path, b"x" * 200_000, head)
    answer = connection.getresponse()
    answer.read()
    read += answer.status == 429
print(read, end="")
"#;

/// The output of a program.
fn printed(command: &mut Command) -> String {
    let output = command.output().expect("it is installed");
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{command:?}: {errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn clients_call_with_their_defaults_and_read_what_is_denied() {
    let backend = Backend::start();
    let gateway = Gateway::start("", &backend.url);
    let target = gateway.target();
    let organization = Organization::with(&target, json!({"quota": {"included": 2}}));
    let key = organization.key_with(json!({"scopes": ["*"], "requests_per_minute": 100_000}));
    let url = format!("http://{}{DETECT}", gateway.address());
    let folder = tempfile::tempdir().expect("a folder");
    let source = folder.path().join("Ask.java");
    fs::write(&source, JAVA).expect("written");

    let java = printed(Command::new("java").arg(source).args([&url, &key.secret]));
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--http2", "--output", "/dev/null", "--write-out", "%{http_code}"]);
    curl.args(["--header", &format!("Authorization: Bearer {}", key.secret)]);
    let curl = printed(curl.args(["--data-binary", "a line", &url]));
    assert_eq!(organization.units(), 2);
    let mut python = Command::new("python3");
    python.args(["-c", PYTHON, gateway.address(), DETECT, &key.secret]);
    let read = printed(&mut python);

    eprintln!("figure status for Java's HttpClient = {java}");
    eprintln!("figure status for curl --http2 = {curl}");
    eprintln!("figure denials of 200 that Python's http.client read = {read}");
    assert_eq!((&*java, &*curl, &*read), ("200", "200", "200"));
    for head in backend.seen() {
        let head = head.to_lowercase();
        assert!(!head.contains("upgrade") && !head.contains("http2-settings"), "{head}");
    }
}
