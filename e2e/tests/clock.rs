//! A system clock that leaps while a gateway runs. A preloaded library shifts the gateway's system
//! clock by the seconds in a file that the test writes.

mod support {
    #[expect(dead_code, reason = "this test's backend answers")]
    pub(crate) mod backend;
    #[expect(dead_code, reason = "stores that fail are another test's matter")]
    pub(crate) mod gateway;
    pub(crate) mod metrics;
    pub(crate) mod process;
}

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use driftlock_e2e::admin::{DETECT, Key, Organization, at, two_lines};
use driftlock_e2e::answer::Answer;
use driftlock_e2e::poll::eventually;
use serde_json::json;
use support::backend::Backend;
use support::gateway::Gateway;
use support::metrics::metrics;
use time::Duration;

const DAY_SECS: i64 = 86_400;

/// Adds the seconds in the file named by CLOCK_FILE to the system clock.
const SHIM: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
int clock_gettime(clockid_t id, struct timespec *t) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int done = real(id, t);
    const char *name = getenv("CLOCK_FILE");
    if (done == 0 && id == CLOCK_REALTIME && name) {
        long long secs = 0;
        FILE *file = fopen(name, "r");
        if (file) { if (fscanf(file, "%lld", &secs) != 1) secs = 0; fclose(file); }
        t->tv_sec += secs;
    }
    return done;
}
"#;

/// The shifted system clock of gateways.
struct Shift {
    folder: tempfile::TempDir,
}

impl Shift {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let source = folder.path().join("shim.c");
        fs::write(&source, SHIM).expect("written");
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-o"]).arg(folder.path().join("shim.so"));
        let made = compiler.arg(&source).arg("-ldl").status().expect("a C compiler is needed");
        assert!(made.success(), "the library between compiles");
        let shift = Self { folder };
        shift.set(0);
        shift
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Atomically: a reader sees the old or the new number.
    fn set(&self, secs: i64) {
        fs::write(self.path("next"), secs.to_string()).expect("written");
        fs::rename(self.path("next"), self.path("clock")).expect("renamed");
    }

    fn gateway(&self, backend: &str, database: &Path) -> Gateway {
        let text = |path: &Path| path.to_str().expect("text").to_owned();
        let (shim, clock) = (text(&self.path("shim.so")), text(&self.path("clock")));
        let database = format!("sqlite:{}", database.display());
        let environment = [
            ("LD_PRELOAD", shim.as_str()),
            ("CLOCK_FILE", clock.as_str()),
            ("ENV_DATABASE_URL", database.as_str()),
        ];
        Gateway::start_with("[audit]\nretention_days = 30\n", backend, &environment)
    }
}

fn number(gateway: &Gateway, name: &str) -> f64 {
    let text = metrics(&gateway.log());
    let line = text.lines().find_map(|line| line.strip_prefix(name)).expect("it is shown");
    line.trim().parse().expect("a number")
}

fn send(key: &Key<'_>, token: &str) -> Answer {
    key.call("POST", DETECT).header("idempotency-key", token).json(&two_lines()).send()
}

#[test]
fn a_leap_of_the_system_clock_ends_no_period_key_or_idempotency_key() {
    let (shift, backend) = (Shift::new(), Backend::start());
    let gateway = shift.gateway(&backend.url, &shift.path("a.db"));
    let target = gateway.target();
    let organization = Organization::with(&target, json!({"quota": {"included": 1_000}}));
    let expires_at = at(Duration::days(2));
    let key = organization.key_with(json!({"scopes": ["*"], "expires_at": expires_at}));
    let first = send(&key, "once");
    let (receipt, usage) = (first.expect(200).receipt(), organization.usage());
    let entries = organization.audit().len();
    for (leaps, days) in [(1.0, 40), (2.0, 800)] {
        shift.set(days * DAY_SECS);
        eventually("the leap is noticed", || {
            (number(&gateway, "driftlock_clock_leaps_total") >= leaps).then_some(())
        });
        assert!(number(&gateway, "driftlock_clock_ahead_seconds") > 30.0 * 86_400.0);
        assert_eq!(send(&key, "once").expect(200).receipt(), receipt, "replayed");
        let now = organization.usage();
        assert_eq!((&now["period"], &now["units"]), (&usage["period"], &usage["units"]));
        shift.set(0);
        eventually("it is right again", || {
            (number(&gateway, "driftlock_clock_ahead_seconds").abs() < 5.0).then_some(())
        });
    }
    send(&key, "twice").expect(200);
    assert_eq!(organization.units(), 2);
    assert!(organization.audit().len() > entries, "nothing was removed");
    assert!(gateway.log().contains("the system clock leapt"), "{}", gateway.log());
}

#[test]
fn a_system_clock_that_was_years_ahead_at_the_start_is_left_once_it_is_corrected() {
    let (shift, backend) = (Shift::new(), Backend::start());
    let database = shift.path("a.db");
    let gateway = shift.gateway(&backend.url, &database);
    let (id, secret) = {
        let target = gateway.target();
        let organization = Organization::with(&target, json!({"quota": {"included": 1_000}}));
        let key = organization.key();
        send(&key, "before").expect(200);
        (organization.id.clone(), key.secret)
    };
    drop(gateway);

    shift.set(700 * DAY_SECS);
    let gateway = shift.gateway(&backend.url, &database);
    assert!(gateway.log().contains("contradicts the store's last commit"), "{}", gateway.log());
    shift.set(0);
    eventually("the gateway begins anew", || {
        gateway.log().contains("restarting inside the process").then_some(())
    });
    let target = gateway.target();
    let ask = || target.keyed("POST", DETECT, &secret).json(&two_lines());
    let answer = eventually("it serves again", || {
        let is_ready = support::process::is_ready(gateway.address());
        (is_ready && number(&gateway, "driftlock_clock_confirmed") > 0.0).then(|| ask().send())
    });
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(number(&gateway, "driftlock_clock_ahead_seconds").abs() < 5.0);
    let verdict = target.admin("GET", &format!("/organizations/{id}/audit/verify")).send();
    let verdict = verdict.expect(200).json();
    assert_eq!(verdict["ok"], true, "{verdict}");
    // At the start retention checks every log: by the shifted clock all entries are too old.
    let checkpoint = verdict["checkpoint"].as_str().expect("text");
    assert!(checkpoint.starts_with("0:"), "entries were removed: {verdict}");
}
