//! A core's connection to a real server: shared limits, and what happens to requests when the
//! server stops, does not answer, loses the script or refuses.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use driftlock_domain::fleet::{FleetAnswer, Share, Verdict};
use driftlock_domain::limit::Limit;
use driftlock_gateway::ports::FleetLimits;
use driftlock_redis::{FleetRedis, Lane, RedisUrl, Refused};
use driftlock_testkit::make::{key_id, organization_id};
use driftlock_testkit::redis::{Redis, on_each_server};
use futures_util::FutureExt;
use tokio::runtime::{Builder, LocalOptions};

/// Longer than a server needs on a busy machine.
const ANSWER_MAX: Duration = Duration::from_secs(3);
const PATIENCE: Duration = Duration::from_secs(20);

fn run<T>(work: impl Future<Output = T>) -> T {
    let mut runtime = Builder::new_current_thread();
    let runtime = runtime.enable_all().build_local(LocalOptions::default());
    runtime.expect("a runtime").block_on(work)
}

async fn open(url: &str) -> Result<FleetRedis, Refused> {
    FleetRedis::open(RedisUrl::parse(url).expect("a URL"), ANSWER_MAX).await
}

async fn lane(redis: &Redis) -> Lane {
    open(&redis.url()).await.expect("it accepts all users").lane()
}

fn share(key: u8, key_limit: u32, organization_limit: u32) -> Share {
    Share {
        key: key_id(key),
        key_limit: Limit::per_minute(key_limit),
        organization_limit: Some(Limit::per_minute(organization_limit)),
    }
}

async fn take(lane: &Lane) -> Option<FleetAnswer> {
    lane.take(organization_id(1), &share(1, 1_000_000, 1_000_000)).await
}

/// Waits until `answered` accepts the answer.
async fn until(lane: &Lane, answered: fn(&Option<FleetAnswer>) -> bool) {
    let began = Instant::now();
    while !answered(&take(lane).await) {
        assert!(began.elapsed() < PATIENCE, "the answer does not change");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[test]
fn lanes_share_a_limit_and_buckets_expire() {
    on_each_server(|| {
        let redis = Redis::start();
        run(async {
            let lanes = [lane(&redis).await, lane(&redis).await];
            let mut taken = 0;
            for round in 0..60 {
                // Two keys of one organization that has 30.
                let share = share(1 + round % 2, 20, 30);
                let answer = lanes[usize::from(round) % 2].take(organization_id(1), &share).await;
                taken += usize::from(answer.expect("it answers").verdict == Verdict::Taken);
            }
            assert_eq!(taken, 30);
        });
        let names = redis.ask(&["keys", "driftlock:rate:{org_*"]);
        let mut buckets = 0;
        for name in names.lines() {
            let life: i64 = redis.ask(&["pttl", name]).parse().expect("milliseconds");
            assert!((1..=60_000).contains(&life), "{name}: {life}");
            buckets += 1;
        }
        assert!(buckets >= 3, "two keys and their organization: {names}");
    });
}

#[test]
fn a_forgotten_script_is_sent_again() {
    on_each_server(|| {
        let redis = Redis::start();
        run(async {
            let lane = lane(&redis).await;
            take(&lane).await.expect("it answers");
            assert_eq!(redis.ask(&["script", "flush"]), "OK");
            take(&lane).await.expect("it answers");
            let evaluated = redis.ask(&["info", "commandstats"]);
            assert!(evaluated.contains("cmdstat_eval:calls=1,"), "{evaluated}");
            take(&lane).await.expect("it answers");
        });
    });
}

#[test]
fn after_a_servers_crash_no_request_waits_and_the_lane_reconnects() {
    on_each_server(|| {
        let mut redis = Redis::start();
        run(async {
            let lane = lane(&redis).await;
            take(&lane).await.expect("it answers");
            redis.kill();
            until(&lane, Option::is_none).await;
            assert_eq!(take(&lane).now_or_never(), Some(None), "no request waits");
            redis.boot();
            until(&lane, Option::is_some).await;
        });
    });
}

#[test]
fn a_server_that_does_not_answer_costs_one_bounded_wait() {
    on_each_server(|| {
        let redis = Redis::start();
        run(async {
            let lane = lane(&redis).await;
            take(&lane).await.expect("it answers");
            redis.freeze();
            let began = Instant::now();
            assert!(take(&lane).await.is_none());
            assert!(began.elapsed() >= ANSWER_MAX, "{:?}", began.elapsed());
            assert_eq!(take(&lane).now_or_never(), Some(None), "no other request waits");
            redis.thaw();
            until(&lane, Option::is_some).await;
        });
    });
}

#[test]
fn a_server_that_is_unavailable_at_the_start_is_not_an_error() {
    on_each_server(|| {
        let mut redis = Redis::start();
        redis.kill();
        run(async {
            let lane = lane(&redis).await;
            assert!(take(&lane).await.is_none());
            redis.boot();
            until(&lane, Option::is_some).await;
        });
    });
}

#[test]
fn wrong_credentials_are_an_error_that_does_not_show_them() {
    on_each_server(|| {
        let redis = Redis::start_with(&["--requirepass", "correct-horse"]);
        let with = |credentials: &str| format!("redis://{credentials}{}", redis.address());
        run(async {
            for url in [with(":hunter2@"), with("stranger:hunter2@"), with("")] {
                let refused = open(&url).await.expect_err("wrong credentials").to_string();
                assert!(refused.starts_with(&redis.address()), "{refused}");
                assert!(!refused.contains("hunter2"), "{refused}");
            }
            let fleet = open(&with(":correct-horse@")).await.expect("the right ones");
            take(&fleet.lane()).await.expect("it answers");
        });
        let open_server = Redis::start();
        run(async {
            let url = format!("redis://:hunter2@{}", open_server.address());
            let refused = open(&url).await.expect_err("it has no password").to_string();
            assert!(!refused.contains("hunter2"), "{refused}");
        });
    });
}

#[test]
fn a_user_with_too_few_permissions_is_an_error() {
    on_each_server(|| {
        let redis = Redis::start();
        let acl = |rules: &[&str]| {
            let command = [&["acl", "setuser", "gateway", "on", ">secret"][..], rules].concat();
            assert_eq!(redis.ask(&command), "OK");
        };
        let url = format!("redis://gateway:secret@{}", redis.address());
        run(async {
            acl(&["~*", "+ping"]);
            let refused = open(&url).await.expect_err("it may not run scripts").to_string();
            assert!(refused.contains("NOPERM"), "{refused}");
            // The permissions that the documentation lists.
            acl(&["resetkeys", "~driftlock:rate:*", "-@all"]);
            acl(&["+evalsha", "+eval", "+script|load", "+time", "+mget", "+set"]);
            let fleet = open(&url).await.expect("it may");
            take(&fleet.lane()).await.expect("it answers");
        });
    });
}

#[test]
fn a_node_of_a_cluster_is_an_error() {
    on_each_server(|| {
        let node = Redis::start_with(&["--cluster-enabled", "yes"]);
        run(async {
            let refused = open(&node.url()).await.expect_err("it has some slots only").to_string();
            assert!(refused.contains("proxy"), "{refused}");
        });
    });
}

#[test]
fn a_read_only_server_is_unavailable() {
    on_each_server(|| {
        let first = Redis::start();
        let replica = Redis::start();
        let (host, port) = first
            .address()
            .split_once(':')
            .map(|(h, p)| (h.to_owned(), p.to_owned()))
            .expect("both");
        assert_eq!(replica.ask(&["replicaof", &host, &port]), "OK");
        run(async {
            let lane = lane(&replica).await;
            assert!(take(&lane).await.is_none());
            assert_eq!(replica.ask(&["replicaof", "no", "one"]), "OK");
            until(&lane, Option::is_some).await;
        });
    });
}

/// A server that does not know `HELLO` and reports this version by `INFO`.
fn old_server(version: &'static str) -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let address = listener.local_addr().expect("bound");
    std::thread::spawn(move || {
        // Connections are served one after the other, each until its client closes it.
        for stream in listener.incoming().map_while(Result::ok) {
            let mut reader = BufReader::new(stream.try_clone().expect("a handle"));
            while let Some(command) = command(&mut reader) {
                let info = format!("# Server\r\nredis_version:{version}\r\n");
                let answer = match command.as_str() {
                    "INFO" => format!("${}\r\n{info}\r\n", info.len()),
                    _ => format!("-ERR unknown command `{command}`\r\n"),
                };
                if (&stream).write_all(answer.as_bytes()).is_err() {
                    break;
                }
            }
        }
    });
    format!("redis://{address}")
}

/// The name of the next command.
fn command(reader: &mut impl BufRead) -> Option<String> {
    let mut line = || {
        let mut line = String::new();
        (reader.read_line(&mut line).ok()? > 0).then(|| line.trim().to_owned())
    };
    let words: usize = line()?.strip_prefix('*')?.parse().ok()?;
    let mut all = Vec::new();
    for _ in 0..words {
        line()?;
        all.push(line()?);
    }
    Some(all.first()?.to_uppercase())
}

#[test]
fn a_server_that_is_too_old_is_an_error_that_names_its_version() {
    run(async {
        let refused = open(&old_server("5.0.14")).await.expect_err("it is too old").to_string();
        assert!(refused.contains("Redis 5.0.14; Redis 6 or later"), "{refused}");
    });
}

#[test]
fn product_and_version_of_the_server_are_known() {
    on_each_server(|| {
        let redis = Redis::start();
        run(async {
            let fleet = open(&redis.url()).await.expect("it accepts all users");
            let answer = fleet.server().expect("it answers");
            let (name, version) = answer.split_once(' ').expect("both");
            assert!(matches!(name, "Redis" | "Valkey"), "{answer}");
            assert!(version.starts_with(|first: char| first.is_ascii_digit()), "{answer}");
        });
    });
}
