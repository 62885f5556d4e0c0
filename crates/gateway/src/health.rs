//! `/healthz`: the process answers. `/readyz`: the process answers and its store takes writes.
//!
//! The store is probed at most once a second, however often `/readyz` is requested, so that a flood
//! of requests puts no load on it. If a probe gets no answer, the last answer expires.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use driftlock_domain::denial::{Denial, Fault};
use driftlock_domain::time::Timestamp;
use http::{Method, StatusCode};
use serde_json::json;

use crate::gateway::{Answer, Arrival, Gateway};
use crate::ports::{Clock, Directory, Platform};
use crate::shield::Count;
use crate::{proxy, reply};

/// The store is probed again after this long.
const PROBED_EVERY: Duration = Duration::from_secs(1);
/// The store's last answer is used for this long while a new probe runs.
const ANSWER_VALID: Duration = Duration::from_secs(5);

/// The store's last answer, and when the store was last probed.
#[derive(Debug, Default)]
pub(crate) struct Readiness(Mutex<LastProbe>);

#[derive(Debug, Default)]
struct LastProbe {
    asked: Option<Timestamp>,
    last: Option<(Timestamp, Result<(), Fault>)>,
}

impl Readiness {
    /// The store's last answer; `None` when the caller has to probe the store.
    fn known(&self, now: Timestamp) -> Option<Result<(), Fault>> {
        let mut last_probe = self.last_probe();
        let within = |at: Timestamp, time| now.since(at) < time;
        if last_probe.asked.is_none_or(|asked| !within(asked, PROBED_EVERY)) {
            last_probe.asked = Some(now);
            return None;
        }
        let last = last_probe.last.as_ref().filter(|(at, _)| within(*at, ANSWER_VALID));
        Some(
            last.map_or_else(
                || Err(Fault::store("the store does not answer")),
                |(_, it)| it.clone(),
            ),
        )
    }

    fn heard(&self, at: Timestamp, answer: Result<(), Fault>) {
        self.last_probe().last = Some((at, answer));
    }

    fn last_probe(&self) -> MutexGuard<'_, LastProbe> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<P: Platform> Gateway<P> {
    /// Whether the store takes writes, at most some seconds ago.
    pub(crate) async fn readiness(&self) -> Result<(), Fault> {
        let readiness = &self.shared.readiness;
        if let Some(known) = readiness.known(self.clock.now()) {
            return known;
        }
        let answer = self.directory.ready().await;
        readiness.heard(self.clock.now(), answer.clone());
        answer
    }
}

pub(crate) async fn answer<P: Platform>(gateway: &Gateway<P>, arrival: Arrival<P>) -> Answer<P> {
    // Health checks have a separate count, so that a flood of requests cannot make them fail.
    proxy::filter_uncounted(gateway, &arrival)?;
    gateway.shared.shields.of(arrival.listener).count(arrival.source, Count::Health, arrival.at)?;
    if arrival.head.method != Method::GET && arrival.head.method != Method::HEAD {
        return Err(Denial::MethodNotAllowed(vec![Method::GET, Method::HEAD]).into());
    }
    if arrival.head.uri.path() == "/readyz" {
        gateway.readiness().await?;
    }
    Ok(reply::json::<P>(StatusCode::OK, &json!({ "status": "ok" }))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_store_is_probed_once_a_second_and_is_not_ready_if_it_does_not_answer() {
        let at = |secs: i64| Timestamp::from_secs(1_800_000_000 + secs);
        let readiness = Readiness::default();
        assert_eq!(readiness.known(at(0)), None, "the first caller probes");
        assert!(readiness.known(at(0)).is_some_and(|known| known.is_err()), "no answer yet");
        readiness.heard(at(0), Ok(()));
        assert_eq!(readiness.known(at(0)), Some(Ok(())));
        assert_eq!(readiness.known(at(1)), None);
        assert_eq!(readiness.known(at(1)), Some(Ok(())), "the last answer");
        for secs in 2..5 {
            assert_eq!(readiness.known(at(secs)), None);
        }
        assert_eq!(readiness.known(at(5)), None);
        assert!(readiness.known(at(5)).is_some_and(|known| known.is_err()), "no answer for 5 s");
        readiness.heard(at(5), Err(Fault::store("full")));
        assert_eq!(readiness.known(at(5)), Some(Err(Fault::store("full"))));
    }
}
