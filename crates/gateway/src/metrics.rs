//! `/metrics` on the operator's listener: the store, what waits for it, the last comparison with
//! Stripe, and the fleet's rate limits and the journal where there are such, in Prometheus' text
//! format. <https://prometheus.io/docs/instrumenting/exposition_formats/>

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

/// What the last comparison with Stripe found.
#[derive(Debug, Default)]
pub(crate) struct Gauges {
    at_secs: AtomicI64,
    drift: AtomicI64,
    outstanding: AtomicI64,
    dead: AtomicI64,
    problems: AtomicI64,
    pub(crate) lease_failures: AtomicU64,
}

/// One comparison, in units and counts.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Compared {
    /// Units by which Stripe's sums differ from what it acknowledged, whichever way.
    pub(crate) drift: u64,
    /// Units that are on their way.
    pub(crate) outstanding: u64,
    /// Units that Stripe refuses.
    pub(crate) dead: u64,
    /// What a person has to look at.
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
                "When everything was compared with Stripe last; 0 before that.",
                &self.at_secs,
            ),
            (
                "driftlock_stripe_usage_drift_units",
                "Units by which Stripe's sums differ from what it acknowledged.",
                &self.drift,
            ),
            (
                "driftlock_stripe_usage_outstanding_units",
                "Units that Stripe is still to be told of.",
                &self.outstanding,
            ),
            ("driftlock_stripe_usage_refused_units", "Units that Stripe refuses.", &self.dead),
            (
                "driftlock_stripe_problems",
                "What `driftlock stripe reconcile` names for a person to look at.",
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

/// How the fleet's rate limits do. Cores share it.
#[derive(Debug, Default)]
pub struct FleetGauges {
    up: AtomicBool,
    answers: AtomicU64,
    refusals: AtomicU64,
    fallbacks: AtomicU64,
}

impl FleetGauges {
    /// Whether the fleet's store answers, from now on.
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
                "1 while the store of the fleet's rate limits answers.",
                u64::from(self.up.load(Ordering::Relaxed)),
            ),
            (
                "driftlock_fleet_limits_answers_total",
                "counter",
                "Requests that the fleet's rate limits were asked about, and answered.",
                self.answers.load(Ordering::Relaxed),
            ),
            (
                "driftlock_fleet_limits_refusals_total",
                "counter",
                "Those of them that were refused.",
                self.refusals.load(Ordering::Relaxed),
            ),
            (
                "driftlock_fleet_limits_fallbacks_total",
                "counter",
                "Requests that this node's own limits alone let pass, for want of an answer.",
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

/// What waits in the journal of an outage, and what became of it.
#[derive(Debug, Default)]
pub struct JournalGauges {
    bytes: AtomicU64,
    /// In microseconds; 0 while nothing waits.
    oldest_at: AtomicI64,
    refused: AtomicU64,
}

impl JournalGauges {
    /// So many bytes are in the journal.
    pub fn set_bytes(&self, bytes: u64) {
        self.bytes.store(bytes, Ordering::Relaxed);
    }

    /// When the request was that has waited longest, if any does.
    pub fn set_oldest(&self, at: Option<Timestamp>) {
        self.oldest_at.store(at.map_or(0, Timestamp::micros), Ordering::Relaxed);
    }

    /// So many more entries were put aside, since the store refuses them for good.
    pub fn add_refused(&self, entries: u64) {
        self.refused.fetch_add(entries, Ordering::Relaxed);
    }

    /// Whole seconds; 0 also where the clock was set back since.
    fn oldest_age_secs(&self, now: Timestamp) -> u64 {
        let at = self.oldest_at.load(Ordering::Relaxed);
        let age_micros = if at == 0 { 0 } else { now.micros().saturating_sub(at) };
        u64::try_from(age_micros / 1_000_000).unwrap_or(0)
    }

    fn text(&self, now: Timestamp) -> String {
        let gauges = [
            (
                "driftlock_journal_bytes",
                "Bytes of the journal, which metering.journal_bytes_max bounds; 0 once all in it is settled.",
                self.bytes.load(Ordering::Relaxed),
            ),
            (
                "driftlock_journal_oldest_age_seconds",
                "How long ago the oldest request was that the journal still holds; 0 if it holds none.",
                self.oldest_age_secs(now),
            ),
            (
                "driftlock_journal_refused",
                "Acknowledged units in the file beside the journal, which the store refuses.",
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
        ("driftlock_store_up", "1 while the store takes writes.", "gauge", store_up),
        (
            "driftlock_voids_pending",
            "Settlements of unknown outcome that are still to be voided.",
            "gauge",
            voids as u64,
        ),
        (
            "driftlock_settlements_unvoided_total",
            "Settlements that stay charged although their clients were told otherwise.",
            "counter",
            gateway.admission.unvoided(),
        ),
        (
            "driftlock_audit_rows_waiting",
            "Audit rows that are still to be written.",
            "gauge",
            rows as u64,
        ),
        (
            "driftlock_buffered_bytes",
            "Bytes of requests and answers that wait in memory until they are whole.",
            "gauge",
            gateway.shared.buffers.used(),
        ),
        (
            "driftlock_buffered_bytes_max",
            "The budget for them: limits.buffered_bytes_max.",
            "gauge",
            gateway.shared.buffers.bytes_max(),
        ),
        (
            "driftlock_buffered_bytes_refusals_total",
            "How often the budget had no room, and a request got 503 or an answer was not kept.",
            "counter",
            gateway.shared.buffers.refused(),
        ),
        (
            "driftlock_lease_failures_total",
            "Rounds of lease upkeep that failed.",
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
         # HELP driftlock_clock_ahead_seconds How far the system clock is ahead of the gateway's time.\n\
         # TYPE driftlock_clock_ahead_seconds gauge\n\
         driftlock_clock_ahead_seconds {ahead_secs}\n\
         # HELP driftlock_clock_confirmed 0 while nothing is removed or sealed, since the clock may be wrong.\n\
         # TYPE driftlock_clock_confirmed gauge\n\
         driftlock_clock_confirmed {}\n",
        u8::from(is_confirmed),
    )
}

/// Whether `Host` is an address, a name of this machine itself, or one that is configured. A web page
/// whose domain was pointed at this listener (DNS rebinding) sends its own name.
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
    fn only_own_names_are_answered() {
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
    fn the_journal_tells_its_bytes_and_the_age_of_its_oldest_entry() {
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
