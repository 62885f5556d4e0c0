//! Runs cases concurrently and reports their outcomes.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use crate::target::Target;

/// One case.
pub struct Case {
    /// `file::function`.
    pub name: &'static str,
    /// Panics when the gateway does not.
    pub run: fn(&Target),
    /// When it runs.
    pub turn: Turn,
}

/// When a case runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Concurrently with all others.
    Together,
    /// After all others: it uses up a shared resource, such as an address's attempts.
    Last,
}

/// The outcome of a case.
pub struct Outcome {
    /// The case's name.
    pub name: &'static str,
    /// How long it took.
    pub took: Duration,
    /// The panic's message, if it failed.
    pub failure: Option<String>,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.took.as_secs_f64();
        match &self.failure {
            None => write!(f, "ok      {:<52} {seconds:>6.2} s", self.name),
            Some(failure) => write!(f, "FAILED  {:<52} {seconds:>6.2} s  {failure}", self.name),
        }
    }
}

/// Runs the cases; returns their outcomes in the given order.
#[must_use]
pub fn run(target: &Target, cases: &[&Case]) -> Vec<Outcome> {
    let together: Vec<&Case> = pick(cases, Turn::Together);
    let mut outcomes = side_by_side(target, &together);
    outcomes.extend(pick(cases, Turn::Last).into_iter().map(|case| attempt(target, case)));
    outcomes.sort_by_key(|outcome| cases.iter().position(|case| case.name == outcome.name));
    outcomes
}

/// `N passed, N failed`.
#[must_use]
pub fn summary(outcomes: &[Outcome]) -> String {
    let failed = outcomes.iter().filter(|outcome| outcome.failure.is_some()).count();
    format!("{} passed, {failed} failed", outcomes.len() - failed)
}

fn pick<'a>(cases: &[&'a Case], turn: Turn) -> Vec<&'a Case> {
    cases.iter().copied().filter(|case| case.turn == turn).collect()
}

fn side_by_side(target: &Target, cases: &[&Case]) -> Vec<Outcome> {
    let waiting = Mutex::new(cases.iter());
    let done = Mutex::new(Vec::new());
    let work = || {
        // The lock is held only while the next case is taken.
        while let Some(case) = waiting.lock().ok().and_then(|mut waiting| waiting.next()) {
            let outcome = attempt(target, case);
            if let Ok(mut done) = done.lock() {
                done.push(outcome);
            }
        }
    };
    thread::scope(|scope| {
        (0..THREADS).for_each(|_| {
            scope.spawn(work);
        });
    });
    done.into_inner().unwrap_or_default()
}

fn attempt(target: &Target, case: &Case) -> Outcome {
    let began = Instant::now();
    let result = catch_unwind(AssertUnwindSafe(|| (case.run)(target)));
    let failure = result.err().map(|panic| text(&*panic));
    Outcome { name: case.name, took: began.elapsed(), failure }
}

fn text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("panicked").to_owned()
}

/// Most cases wait for the gateway, not for a processor.
const THREADS: usize = 8;

/// Runs the cases and prints how many passed.
///
/// # Panics
/// When cases failed, with the message of each.
#[must_use]
pub fn check(target: &Target, cases: &[Case]) -> String {
    let outcomes = run(target, &cases.iter().collect::<Vec<_>>());
    let failed = outcomes.iter().filter(|outcome| outcome.failure.is_some());
    let failures: Vec<String> = failed.map(ToString::to_string).collect();
    assert!(failures.is_empty(), "{}\n{}", summary(&outcomes), failures.join("\n"));
    summary(&outcomes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(name: &'static str, run: fn(&Target), turn: Turn) -> Case {
        Case { name, run, turn }
    }

    #[test]
    fn a_failing_case_is_reported_and_stops_no_other() {
        let cases = [
            case("last", |_| {}, Turn::Last),
            case("bad", |_| panic!("wrong"), Turn::Together),
            case("good", |_| {}, Turn::Together),
        ];
        let target = Target::new("http://127.0.0.1:1/", "token");
        let outcomes = run(&target, &cases.iter().collect::<Vec<_>>());
        let reported: Vec<_> = outcomes.iter().map(|o| (o.name, o.failure.as_deref())).collect();
        assert_eq!(reported, [("last", None), ("bad", Some("wrong")), ("good", None)]);
        assert_eq!(summary(&outcomes), "2 passed, 1 failed");
    }
}
