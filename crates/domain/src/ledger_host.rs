//! Which kind of ledger counts an organization's units, where one directory serves two kinds:
//! leases of native nodes, or the organization's Durable Object. Only one kind counts at a time, so
//! that no cap is granted twice.
//!
//! A handover is planned in advance and happens at one instant, normally the end of a billing
//! period, so that no period is counted by two ledgers. Both hosts read the handover from the
//! directory; no other coordination is needed.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// The least time between planning a handover and the handover itself.
pub const NOTICE: Duration = Duration::from_secs(60);

/// The time between planning a handover and the handover itself, where hosts use cached records for
/// up to `max_stale` (`keys.max_stale_secs`): every host has read the plan before it takes effect.
#[must_use]
pub fn notice(max_stale: Duration) -> Duration {
    NOTICE.max(max_stale)
}

/// A kind of ledger.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LedgerKind {
    /// Native nodes meter, under leases of their store.
    #[default]
    Leases,
    /// Cloudflare Workers meter, in the organization's Durable Object.
    Objects,
}

/// Text that names no kind of ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a kind of ledger; the kinds are `leases` (native nodes) and `objects` (Workers)")]
pub struct UnknownLedgerKind;

/// The kind of ledger that counts, and the planned handover to the other kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerHost {
    /// The kind that counts until the handover.
    pub kind: LedgerKind,
    /// The planned handover.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Handover>,
}

/// A planned change of the kind of ledger that counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handover {
    /// The kind that counts afterwards.
    pub kind: LedgerKind,
    /// The instant from which it counts.
    pub from: Timestamp,
}

impl LedgerHost {
    /// One kind, without a planned handover.
    #[must_use]
    pub const fn of(kind: LedgerKind) -> Self {
        Self { kind, next: None }
    }

    /// The kind that counts at an instant.
    #[must_use]
    pub fn at(self, now: Timestamp) -> LedgerKind {
        match self.next {
            Some(next) if now >= next.from => next.kind,
            Some(_) | None => self.kind,
        }
    }

    /// Plans a handover to `to` at the period's end, but not before `notice` has passed. If `to`
    /// counts already, there is no handover, and one that was planned to the other kind is
    /// cancelled.
    #[must_use]
    pub fn handed_to(
        self,
        to: LedgerKind,
        now: Timestamp,
        period_end: Timestamp,
        notice: Duration,
    ) -> Self {
        let kind = self.at(now);
        if kind == to {
            return Self::of(kind);
        }
        let from = period_end.max(now.plus(notice));
        Self { kind, next: Some(Handover { kind: to, from }) }
    }
}

impl LedgerKind {
    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Leases => "leases",
            Self::Objects => "objects",
        }
    }
}

impl fmt::Display for LedgerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for LedgerKind {
    type Err = UnknownLedgerKind;

    fn from_str(text: &str) -> Result<Self, UnknownLedgerKind> {
        match text {
            "leases" => Ok(Self::Leases),
            "objects" => Ok(Self::Objects),
            _ => Err(UnknownLedgerKind),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_kind_counts_at_a_time_and_a_handover_waits_for_the_period() {
        let at = Timestamp::from_secs;
        let before = LedgerHost::of(LedgerKind::Leases);
        let agreed = before.handed_to(LedgerKind::Objects, at(1_000), at(9_000), NOTICE);
        assert_eq!(agreed.at(at(8_999)), LedgerKind::Leases);
        assert_eq!(agreed.at(at(9_000)), LedgerKind::Objects);
        let off = agreed.handed_to(LedgerKind::Leases, at(2_000), at(9_000), NOTICE);
        assert_eq!(off, before, "the handover is cancelled");
        let after = agreed.handed_to(LedgerKind::Objects, at(9_500), at(20_000), NOTICE);
        assert_eq!(after, LedgerHost::of(LedgerKind::Objects), "the handover has happened");
        let soon = before.handed_to(LedgerKind::Objects, at(8_990), at(9_000), NOTICE);
        assert_eq!(soon.at(at(9_049)), LedgerKind::Leases, "every host must have read it first");
        assert_eq!(soon.at(at(9_050)), LedgerKind::Objects);
    }

    #[test]
    fn no_cached_record_from_before_the_plan_is_used_after_the_handover() {
        let at = Timestamp::from_secs;
        for stale_secs in [10, 60, 3_600] {
            let max_stale = Duration::from_secs(stale_secs);
            let agreed = LedgerHost::of(LedgerKind::Leases).handed_to(
                LedgerKind::Objects,
                at(8_990),
                at(9_000),
                notice(max_stale),
            );
            // A host that read the organization just before the handover was planned.
            let serves_until = at(8_990).plus(max_stale);
            let from = agreed.next.expect("a handover is planned").from;
            assert!(from >= serves_until, "{stale_secs} s");
            assert!(from >= at(8_990).plus(NOTICE));
        }
    }

    #[test]
    fn its_text_forms() {
        let agreed = LedgerHost::default().handed_to(
            LedgerKind::Objects,
            Timestamp::from_secs(0),
            Timestamp::from_secs(86_400),
            NOTICE,
        );
        let text = serde_json::to_string(&agreed).expect("it can be written");
        let wanted = r#"{"kind":"leases","next":{"kind":"objects","from":"1970-01-02T00:00:00Z"}}"#;
        assert_eq!(text, wanted);
        assert_eq!(serde_json::from_str::<LedgerHost>(&text).expect("it can be read"), agreed);
        assert_eq!("objects".parse(), Ok(LedgerKind::Objects));
        assert_eq!("d1".parse::<LedgerKind>(), Err(UnknownLedgerKind));
    }
}
