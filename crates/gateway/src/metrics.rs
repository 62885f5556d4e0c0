//! `/metrics` on the admin listener, in Prometheus' text format: the store and the work that waits
//! for it, the last reconciliation with Stripe, the clock, and, if there are any, the fleet's rate
//! limits and the journal. <https://prometheus.io/docs/instrumenting/exposition_formats/>

use std::fmt::Write;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use bytes::Bytes;
use driftlock_domain::denial::Denial;
use driftlock_domain::time::Timestamp;
use driftlock_domain::trusted_time::ClockStatus;
use http::header::{CONTENT_TYPE, HOST};
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Method, Response};

use crate::gateway::{Answer, Arrival, Gateway};
use crate::ports::{Admission, Clock, Platform, Upstream};

/// The results of the last reconciliation with Stripe, and the count of failed lease renewals.
#[derive(Debug, Default)]
pub(crate) struct Gauges {
    at_secs: AtomicI64,
    drift: AtomicI64,
    outstanding: AtomicI64,
    dead: AtomicI64,
    problems: AtomicI64,
    pub(crate) lease_failures: AtomicU64,
}

/// The results of one reconciliation, in units and counts.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Compared {
    /// By how many units Stripe's sums differ from the units that Stripe has confirmed, in either
    /// direction.
    pub(crate) drift: u64,
    /// Units that are not confirmed by Stripe yet.
    pub(crate) outstanding: u64,
    /// Units in reports that Stripe refuses.
    pub(crate) dead: u64,
    /// Problems that a person has to look at.
    pub(crate) problems: usize,
}

impl Gauges {
    pub(crate) fn set(&self, at: Timestamp, found: Compared) {
        let store = |gauge: &AtomicI64, value: u64| {
            gauge.store(i64::try_from(value).unwrap_or(i64::MAX), Ordering::Relaxed);
        };
        store(&self.drift, found.drift);
        store(&self.outstanding, found.outstanding);
        store(&self.dead, found.dead);
        store(&self.problems, found.problems as u64);
        self.at_secs.store(at.secs(), Ordering::Relaxed);
    }

    fn text(&self) -> String {
        let gauges = [
            (
                "driftlock_stripe_compared_timestamp_seconds",
                "Time of the last reconciliation with Stripe; 0 before the first one.",
                &self.at_secs,
            ),
            (
                "driftlock_stripe_usage_drift_units",
                "Units by which Stripe's sums differ from the units that Stripe has confirmed.",
                &self.drift,
            ),
            (
                "driftlock_stripe_usage_outstanding_units",
                "Units that Stripe has not confirmed yet.",
                &self.outstanding,
            ),
            (
                "driftlock_stripe_usage_refused_units",
                "Units in usage reports that Stripe refuses.",
                &self.dead,
            ),
            (
                "driftlock_stripe_problems",
                "Problems found by the last reconciliation; see `driftlock stripe reconcile`.",
                &self.problems,
            ),
        ];
        let mut text = String::new();
        for (name, help, value) in gauges {
            let value = value.load(Ordering::Relaxed);
            let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}\n");
        }
        text
    }
}

/// The state of the fleet's rate limits. All cores share it.
#[derive(Debug, Default)]
pub struct FleetGauges {
    up: AtomicBool,
    answers: AtomicU64,
    refusals: AtomicU64,
    fallbacks: AtomicU64,
}

impl FleetGauges {
    /// Sets whether the fleet's store answers.
    pub fn set_up(&self, up: bool) {
        self.up.store(up, Ordering::Relaxed);
    }

    pub(crate) fn answered(&self) {
        self.answers.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn refused(&self) {
        self.refusals.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn fell_back(&self) {
        self.fallbacks.fetch_add(1, Ordering::Relaxed);
    }

    fn text(&self) -> String {
        let numbers = [
            (
                "driftlock_fleet_limits_up",
                "gauge",
                "1 while the store of the fleet's rate limits answers, else 0.",
                u64::from(self.up.load(Ordering::Relaxed)),
            ),
            (
                "driftlock_fleet_limits_answers_total",
                "counter",
                "Requests that the store of the fleet's rate limits decided.",
                self.answers.load(Ordering::Relaxed),
            ),
            (
                "driftlock_fleet_limits_refusals_total",
                "counter",
                "Requests that the fleet's rate limits refused.",
                self.refusals.load(Ordering::Relaxed),
            ),
            (
                "driftlock_fleet_limits_fallbacks_total",
                "counter",
                "Requests admitted by this node's limits alone, since the store did not answer.",
                self.fallbacks.load(Ordering::Relaxed),
            ),
        ];
        let mut text = String::new();
        for (name, kind, help, value) in numbers {
            let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n");
        }
        text
    }
}

/// The state of the journal: a node's file of settlements while the store does not answer.
#[derive(Debug, Default)]
pub struct JournalGauges {
    bytes: AtomicU64,
    /// In microseconds; 0 while nothing waits.
    oldest_at: AtomicI64,
    refused: AtomicU64,
}

impl JournalGauges {
    /// Sets the size of the journal.
    pub fn set_bytes(&self, bytes: u64) {
        self.bytes.store(bytes, Ordering::Relaxed);
    }

    /// Sets the time of the oldest request in the journal, if there is one.
    pub fn set_oldest(&self, at: Option<Timestamp>) {
        self.oldest_at.store(at.map_or(0, Timestamp::micros), Ordering::Relaxed);
    }

    /// Adds entries that were moved to the file of refused ones, since the store will never take
    /// them.
    pub fn add_refused(&self, entries: u64) {
        self.refused.fetch_add(entries, Ordering::Relaxed);
    }

    /// In whole seconds; 0 also if the clock was set back.
    fn oldest_age_secs(&self, now: Timestamp) -> u64 {
        let at = self.oldest_at.load(Ordering::Relaxed);
        let age_micros = if at == 0 { 0 } else { now.micros().saturating_sub(at) };
        u64::try_from(age_micros / 1_000_000).unwrap_or(0)
    }

    fn text(&self, now: Timestamp) -> String {
        let gauges = [
            (
                "driftlock_journal_bytes",
                "Size of the journal, at most metering.journal_bytes_max; 0 once it is settled.",
                self.bytes.load(Ordering::Relaxed),
            ),
            (
                "driftlock_journal_oldest_age_seconds",
                "Age of the oldest request in the journal; 0 if the journal is empty.",
                self.oldest_age_secs(now),
            ),
            (
                "driftlock_journal_refused",
                "Journal entries that the store refused, in the file beside the journal.",
                self.refused.load(Ordering::Relaxed),
            ),
        ];
        let mut text = String::new();
        for (name, help, value) in gauges {
            let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}\n");
        }
        text
    }
}

pub(crate) async fn answer<P: Platform>(gateway: &Gateway<P>, arrival: &Arrival<P>) -> Answer<P> {
    if arrival.head.method != Method::GET && arrival.head.method != Method::HEAD {
        return Err(Denial::MethodNotAllowed(vec![Method::GET, Method::HEAD]).into());
    }
    if !is_own_name(&arrival.head.headers, &gateway.shared.config.admin.hosts) {
        return Err(Denial::HostUnknown.into());
    }
    let mut text = gateway.shared.gauges.text();
    let store_up = u64::from(gateway.readiness().await.is_ok());
    let (voids, rows) = (gateway.admission.voids_pending(), gateway.shared.audit.length());
    let failures = gateway.shared.gauges.lease_failures.load(Ordering::Relaxed);
    let numbers = [
        ("driftlock_store_up", "1 while the store takes writes, else 0.", "gauge", store_up),
        (
            "driftlock_voids_pending",
            "Settlements of unknown outcome that are not voided yet.",
            "gauge",
            voids as u64,
        ),
        (
            "driftlock_settlements_unvoided_total",
            "Settlements that stay charged although their clients got an error.",
            "counter",
            gateway.admission.unvoided(),
        ),
        (
            "driftlock_audit_rows_waiting",
            "Audit rows that are not written yet.",
            "gauge",
            rows as u64,
        ),
        (
            "driftlock_buffered_bytes",
            "Bytes of requests and answers that are buffered in memory.",
            "gauge",
            gateway.shared.buffers.used(),
        ),
        (
            "driftlock_buffered_bytes_max",
            "The budget for buffered bytes: limits.buffered_bytes_max.",
            "gauge",
            gateway.shared.buffers.bytes_max(),
        ),
        (
            "driftlock_buffered_bytes_refusals_total",
            "How often the budget was full, so that a request got 503 or an answer was not stored.",
            "counter",
            gateway.shared.buffers.refused(),
        ),
        (
            "driftlock_lease_failures_total",
            "Rounds of lease renewal that failed.",
            "counter",
            failures,
        ),
    ];
    for (name, help, kind, value) in numbers {
        let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n");
    }
    text.push_str(&clock_text(gateway.clock.status()));
    if let Some(fleet) = gateway.shared.fleet.get() {
        text.push_str(&fleet.text());
    }
    if let Some(journal) = gateway.shared.journal.get() {
        text.push_str(&journal.text(gateway.clock.now()));
    }
    let body = Bytes::from(text);
    let mut response = Response::new(P::Upstream::response_body(body));
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    Ok(response)
}

fn clock_text(status: ClockStatus) -> String {
    let ClockStatus { leaps, wall_ahead_micros, is_confirmed } = status;
    #[expect(clippy::cast_precision_loss, reason = "seconds for people")]
    let ahead_secs = wall_ahead_micros as f64 / 1e6;
    format!(
        "# HELP driftlock_clock_leaps_total Leaps of the system clock.\n\
         # TYPE driftlock_clock_leaps_total counter\n\
         driftlock_clock_leaps_total {leaps}\n\
         # HELP driftlock_clock_ahead_seconds How far the system clock is ahead.\n\
         # TYPE driftlock_clock_ahead_seconds gauge\n\
         driftlock_clock_ahead_seconds {ahead_secs}\n\
         # HELP driftlock_clock_confirmed 0 stops pruning and sealing: the clock may be wrong.\n\
         # TYPE driftlock_clock_confirmed gauge\n\
         driftlock_clock_confirmed {}\n",
        u8::from(is_confirmed),
    )
}

/// Whether `Host` is an address, `localhost`, or a configured name. A web page whose domain was
/// pointed at this listener (DNS rebinding) sends that domain, and is refused.
fn is_own_name(headers: &HeaderMap, configured: &[String]) -> bool {
    let Some(host) = headers.get(HOST) else { return true };
    let Ok(authority) = Authority::try_from(host.as_bytes()) else { return false };
    let name = authority.host().trim_start_matches('[').trim_end_matches(']');
    let is = |own: &str| name.eq_ignore_ascii_case(own);
    name.parse::<IpAddr>().is_ok() || is("localhost") || configured.iter().any(|own| is(own))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_host_names_are_answered() {
        let configured = ["metrics.internal".to_owned()];
        let is_own = |host: &'static str| {
            let headers = HeaderMap::from_iter([(HOST, HeaderValue::from_static(host))]);
            is_own_name(&headers, &configured)
        };
        for own in [
            "127.0.0.1:9090",
            "[::1]:9090",
            "localhost",
            "LOCALHOST:9090",
            "10.0.0.7",
            "metrics.internal:9090",
        ] {
            assert!(is_own(own), "{own}");
        }
        for other in ["attacker.example:9090", "localhost.attacker.example", "x@localhost/", ""] {
            assert!(!is_own(other), "{other}");
        }
        assert!(is_own_name(&HeaderMap::new(), &[]), "no web page sends no name");
    }

    #[test]
    fn the_journal_s_size_and_the_age_of_its_oldest_entry_are_shown() {
        let (journal, at) = (JournalGauges::default(), Timestamp::from_micros(5_000_000));
        let shown = |now_micros: i64| -> Vec<String> {
            let text = journal.text(Timestamp::from_micros(now_micros));
            let values = text.lines().filter(|line| !line.starts_with('#'));
            values.map(|line| line.trim_start_matches("driftlock_journal_").to_owned()).collect()
        };
        assert_eq!(shown(9_000_000), ["bytes 0", "oldest_age_seconds 0", "refused 0"]);
        journal.set_bytes(812);
        journal.set_oldest(Some(at));
        journal.add_refused(2);
        assert_eq!(shown(8_900_000), ["bytes 812", "oldest_age_seconds 3", "refused 2"]);
        assert_eq!(shown(1_000_000)[1], "oldest_age_seconds 0", "the clock was set back");
        journal.set_oldest(None);
        assert_eq!(shown(9_000_000)[1], "oldest_age_seconds 0");
    }
}
