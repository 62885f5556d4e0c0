//! Compares the script with the code in `domain`: both must yield the same decisions, states and
//! waits for random requests.

use std::cell::Cell;
use std::num::NonZeroU32;

use driftlock_domain::cell::{self, Charge, LimitsNow, NotAdmitted};
use driftlock_domain::denial::Denial;
use driftlock_domain::time::Timestamp;
use driftlock_testkit::make::{charge, key_id, now, organization_id};
use driftlock_testkit::redis::{Redis, on_each_server};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tokio::runtime::{Builder, Runtime};

use super::*;

/// The script with a clock that the test sets. Its buckets do not expire by the server's clock.
struct Subject {
    runtime: Runtime,
    connection: MultiplexedConnection,
    script: Loaded,
    _server: Redis,
}

impl Subject {
    fn start() -> Self {
        let server = Redis::start();
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let client = redis::Client::open(server.url()).expect("a URL");
        let text = replaced(SCRIPT, "redis.call('TIME')", "{0, redis.call('GET', 'clock')}");
        let text = replaced(&text, ", 'PX', life)", ")");
        let (connection, script) = runtime.block_on(async {
            let mut connection = client.get_multiplexed_async_connection().await.expect("connects");
            let mut load = redis::cmd("SCRIPT");
            load.arg("LOAD").arg(text);
            let script: String = load.query_async(&mut connection).await.expect("it compiles");
            (connection, Loaded(script))
        });
        Self { runtime, connection, script, _server: server }
    }

    fn take(&self, organization: OrganizationId, share: &Share, at: Timestamp) -> FleetAnswer {
        let (connection, script) = (&mut self.connection.clone(), &self.script);
        self.runtime.block_on(async {
            let clock = redis::cmd("SET").arg("clock").arg(at.micros()).to_owned();
            clock.exec_async(connection).await.expect("it is set");
            take(connection, script, organization, share).await.expect("it runs")
        })
    }
}

impl Subject {
    /// Takes a request after another program wrote this value into both buckets.
    fn after_writing(
        &self,
        bucket: &str,
        value: &str,
        organization: OrganizationId,
        share: &Share,
    ) -> FleetAnswer {
        let mut write = redis::cmd("MSET");
        write.arg(bucket).arg(value).arg(format!("{bucket}:{}", share.key)).arg(value);
        let mut connection = self.connection.clone();
        self.runtime.block_on(write.exec_async(&mut connection)).expect("it is written");
        self.take(organization, share, now())
    }
}

/// The text with `part` replaced, which must occur exactly once: otherwise the script was changed
/// and this test has to follow.
fn replaced(text: &str, part: &str, by: &str) -> String {
    assert_eq!(text.matches(part).count(), 1, "{part}");
    text.replace(part, by)
}

/// A free request with a key that has this many requests per minute.
fn request(key: u8, per_minute: u32, organization_per_minute: Option<u32>) -> Charge {
    Charge {
        key: key_id(key),
        key_requests_per_minute: NonZeroU32::new(per_minute).expect("not 0"),
        organization_requests_per_minute: organization_per_minute.and_then(NonZeroU32::new),
        hold: None,
        ..charge(None, driftlock_testkit::make::usage(now(), 1), None)
    }
}

type Seen = (Option<Denial>, LimitsNow);

fn by_cell(cell: &mut cell::Cell, charge: &Charge, at: Timestamp) -> Seen {
    match cell.admit(charge, at) {
        Ok(admitted) => (None, admitted.limits),
        Err(NotAdmitted::Denied(denial, limits)) => (Some(denial), limits.expect("rates")),
        Err(NotAdmitted::NeedsLease(_)) => panic!("a free request needs no lease"),
    }
}

#[test]
fn the_script_decides_as_the_cell_does() {
    on_each_server(|| {
        let rates = || prop_oneof![1_u32..20, 50_u32..400, Just(7), Just(1_000_000)];
        let gaps = prop_oneof![Just(0_i64), 1_i64..2_000, 1_i64..400_000, 1_i64..70_000_000];
        let step = (1_u8..4, gaps, prop::bool::weighted(0.1));
        let steps = prop::collection::vec(step, 1..120);
        let inputs = (rates(), rates(), prop::option::of(rates()), steps);
        let subject = Subject::start();
        let (denied, taken) = (Cell::new(0_u128), Cell::new(0_u128));
        let mut runner = TestRunner::new(Config { cases: 96, ..Config::default() });
        let outcome = runner.run(&inputs, |(first, second, organization_rate, steps)| {
            let organization =
                OrganizationId::from_bytes((denied.get() + taken.get()).to_be_bytes());
            let (mut cell, mut at, mut rate) = (cell::Cell::default(), now(), first);
            for (key, gap, turn) in steps {
                at = at.plus(Duration::from_micros(gap.unsigned_abs()));
                // A limit may change at any time: the bucket stays.
                rate = if turn { second } else { rate };
                let charge = request(key, rate, organization_rate);
                let share = Share::of(&charge);
                let answer = subject.take(organization, &share, at);
                let (denial, limits) = by_cell(&mut cell, &charge, at);
                let count = if denial.is_some() { &denied } else { &taken };
                count.set(count.get() + 1);
                prop_assert_eq!(answer.denial(&share), denial);
                prop_assert_eq!(answer.limits(&share, limits.quota), limits);
            }
            Ok(())
        });
        outcome.expect("the same");
        assert!(denied.get() > 100 && taken.get() > 100, "{denied:?} denied, {taken:?} taken");
    });
}

#[test]
fn a_clock_that_is_set_back_does_not_deny_all_requests() {
    on_each_server(|| {
        let subject = Subject::start();
        let (organization, share) = (organization_id(1), Share::of(&request(1, 60, None)));
        for _ in 0..60 {
            let answer = subject.take(organization, &share, now());
            assert_eq!(answer.verdict, Verdict::Taken);
        }
        assert_eq!(subject.take(organization, &share, now()).verdict, Verdict::KeyUsedUp);
        let before = now().minus(Duration::from_secs(3_600));
        let answer = subject.take(organization, &share, before);
        assert_eq!((answer.verdict, answer.key_ahead), (Verdict::Taken, Duration::from_secs(60)));
        assert_eq!(subject.take(organization, &share, before).verdict, Verdict::KeyUsedUp);
        let later = before.plus(Duration::from_secs(1));
        assert_eq!(subject.take(organization, &share, later).verdict, Verdict::Taken);
    });
}

#[test]
fn a_foreign_value_in_a_bucket_does_not_deny_all_requests() {
    on_each_server(|| {
        let subject = Subject::start();
        let share = Share::of(&request(1, 60, Some(60)));
        let organization = organization_id(1);
        let bucket = format!("driftlock:rate:{{{organization}}}");
        let second = Duration::from_secs(1);
        for rubbish in ["rubbish", "-inf", "1e", "{}"] {
            let answer = subject.after_writing(&bucket, rubbish, organization, &share);
            assert_eq!(
                (answer.key_ahead, answer.organization_ahead),
                (second, second),
                "{rubbish}"
            );
        }
        // A value that Lua reads as a number counts as a limit that is used up.
        for number in ["nan", "inf", "1e300"] {
            let answer = subject.after_writing(&bucket, number, organization, &share);
            assert_eq!(
                (answer.verdict, answer.key_ahead),
                (Verdict::Taken, second * 60),
                "{number}"
            );
            let verdict = subject.take(organization, &share, now()).verdict;
            assert_eq!(verdict, Verdict::KeyUsedUp, "{number}");
        }
    });
}
