//! Concurrent requests of many clients, and the time of each.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::support::metered::{Client, Outcome};

/// The results of a load.
pub(crate) struct Answered {
    sorted: Vec<Duration>,
    took: Duration,
}

impl Answered {
    fn of(mut times: Vec<Duration>, took: Duration) -> Self {
        assert!(!times.is_empty(), "nothing was answered");
        times.sort_unstable();
        Self { sorted: times, took }
    }

    pub(crate) fn count(&self) -> usize {
        self.sorted.len()
    }

    pub(crate) fn per_second(&self) -> f64 {
        self.sorted.len() as f64 / self.took.as_secs_f64()
    }

    /// In milliseconds.
    pub(crate) fn at(&self, percent: usize) -> f64 {
        let place = (self.sorted.len() * percent).div_ceil(100).max(1) - 1;
        self.sorted[place].as_secs_f64() * 1e3
    }
}

impl fmt::Display for Answered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (rate, p50, p99) = (self.per_second(), self.at(50), self.at(99));
        write!(f, "{rate:>7.0} /s  p50 {p50:>6.2} ms  p99 {p99:>6.2} ms")
    }
}

/// Runs so many clients for so long, each over its own connection; every request must succeed.
pub(crate) fn during(
    length: Duration,
    clients: usize,
    client: impl Fn() -> Client + Sync,
) -> Answered {
    let over = AtomicBool::new(false);
    let began = Instant::now();
    let times = thread::scope(|scope| {
        let one = || {
            let (mut client, mut times) = (client(), Vec::new());
            while !over.load(Ordering::Relaxed) {
                times.push(timed(&mut client));
            }
            times
        };
        let all: Vec<_> = (0..clients).map(|_| scope.spawn(one)).collect();
        // Clients that end may wake this thread.
        while began.elapsed() < length {
            thread::park_timeout(length.saturating_sub(began.elapsed()));
        }
        over.store(true, Ordering::Relaxed);
        all.into_iter().flat_map(|one| one.join().expect("no client fails")).collect()
    });
    Answered::of(times, began.elapsed())
}

/// Sends one request after the other, each of another client.
pub(crate) fn one_by_one(clients: impl Iterator<Item = Client>) -> Answered {
    let began = Instant::now();
    let times = clients.map(|mut client| timed(&mut client)).collect();
    Answered::of(times, began.elapsed())
}

fn timed(client: &mut Client) -> Duration {
    let sent = Instant::now();
    let outcome = client.send();
    assert!(matches!(outcome, Outcome::Success(_)), "{outcome:?}");
    sent.elapsed()
}
