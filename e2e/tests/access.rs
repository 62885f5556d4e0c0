//! A valid key or token passes, even if many others failed from the same address.

mod support {
    #[expect(dead_code, reason = "this test's backend only answers")]
    pub(crate) mod backend;
    pub(crate) mod process;
}

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use driftlock_domain::key::ApiKeySecret;
use driftlock_e2e::admin::{LIST, Organization};
use driftlock_e2e::poll::eventually;
use driftlock_e2e::target::Target;
use serde_json::json;
use support::backend::Backend;
use support::process::{build, free_address, is_ready};

const TOKEN: &str = "an-admin-token-for-tests-0123456789abcdef";
const WRONG: &str = "Bearer a-wrong-admin-token-0123456789abcdefghij";
const ORGANIZATIONS: &str = "/admin/v1/organizations";

/// A gateway with two known listeners, which can be restarted on its store.
struct Gateway {
    process: Child,
    public: String,
    admin: String,
}

impl Gateway {
    fn start(folder: &Path, config: &str, backend: &str) -> Self {
        fs::write(folder.join("gateway.toml"), config).expect("a configuration");
        let (public, admin) = (free_address(), free_address());
        let process = Command::new(build())
            .args(["serve", "--listen", &public, "--admin-listen", &admin])
            .current_dir(folder)
            .env_remove("RUST_LOG")
            .env("ENV_DATABASE_URL", "sqlite:a.db")
            .env("ENV_GO_BACKEND_URL", backend)
            .env("ENV_ADMIN_TOKEN", TOKEN)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(folder.join("log")).expect("a log"))
            .spawn()
            .expect("it starts");
        eventually("the gateway is ready", || is_ready(&public).then_some(()));
        Self { process, public, admin }
    }

    fn public(&self) -> Target {
        Target::new(&format!("http://{}", self.public), TOKEN)
    }

    fn admin(&self) -> Target {
        Target::new(&format!("http://{}", self.admin), TOKEN)
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn status(target: &Target, path: &str, bearer: &str) -> u16 {
    target.request("GET", path).header("authorization", bearer).send().status
}

#[test]
fn wrong_admin_tokens_lock_no_operator_out_and_each_listener_counts_by_itself() {
    let (folder, backend) = (tempfile::tempdir().expect("a folder"), Backend::start());
    let gateway = Gateway::start(folder.path(), "", &backend.url);
    let (public, admin) = (gateway.public(), gateway.admin());
    let right = format!("Bearer {TOKEN}");
    let wrong: Vec<u16> = (0..15).map(|_| status(&public, ORGANIZATIONS, WRONG)).collect();
    assert_eq!(&wrong[..10], [401; 10], "{wrong:?}");
    assert!(wrong[11..].iter().all(|status| *status == 429), "{wrong:?}");
    assert_eq!(status(&admin, ORGANIZATIONS, WRONG), 401, "a count of its own");
    for target in [&public, &admin] {
        assert_eq!(status(target, ORGANIZATIONS, &right), 200);
    }
    assert_eq!(status(&public, ORGANIZATIONS, WRONG), 429, "failures are still delayed");
}

/// Invalid keys of every kind, also with valid checksums, from the address that customers share.
#[test]
fn junk_from_a_shared_address_locks_no_customer_out_also_after_a_restart() {
    let (folder, backend) = (tempfile::tempdir().expect("a folder"), Backend::start());
    let config = "[limits]\naddress_requests_per_minute = 5\naddress_ceiling_per_minute = 20\n";
    let gateway = Gateway::start(folder.path(), config, &backend.url);
    let target = gateway.public();
    let organization = Organization::with(&target, json!({"quota": {"included": 1_000}}));
    let known = organization.key_with(json!({"scopes": ["*"], "requests_per_minute": 10_000}));
    let new = organization.key_with(json!({"scopes": ["*"], "requests_per_minute": 10_000}));
    known.get(LIST).expect(200);
    let (known, new) = (known.secret.clone(), new.secret.clone());
    let junk = |target: &Target, round: u8| {
        let mut statuses = Vec::new();
        for one in 0..40 {
            statuses.push(target.request("GET", "/index.php").send().status);
            let unknown = ApiKeySecret::mint([round ^ one; 32]);
            let bearer = format!("Bearer {}", unknown.expose());
            statuses.push(status(target, LIST, &bearer));
        }
        assert_eq!(statuses.last(), Some(&429), "{statuses:?}");
    };
    junk(&target, 0);
    for key in [&known, &new] {
        target.keyed("GET", LIST, key).send().expect(200);
    }
    target.request("GET", "/readyz").send().expect(200);

    drop(gateway);
    let gateway = Gateway::start(folder.path(), config, &backend.url);
    let target = gateway.public();
    junk(&target, 64);
    target.keyed("GET", LIST, &known).send().expect(200);
    target.request("GET", "/healthz").send().expect(200);
}

#[test]
fn that_all_requests_come_from_one_address_is_said_once_with_the_setting() {
    let (folder, backend) = (tempfile::tempdir().expect("a folder"), Backend::start());
    let config = "[limits]\naddress_requests_per_minute = 5\n";
    let gateway = Gateway::start(folder.path(), config, &backend.url);
    let target = gateway.public();
    for _ in 0..1_100 {
        let call = target.request("GET", "/nothing").header("x-forwarded-for", "198.51.100.7");
        assert!(matches!(call.send().status, 404 | 429));
    }
    let log = fs::read_to_string(folder.path().join("log")).expect("a log");
    assert_eq!(log.matches("filter.trusted_proxies").count(), 1, "{log}");
    assert!(log.contains("127.0.0.1") && log.contains("forwarding_header=true"), "{log}");
}
