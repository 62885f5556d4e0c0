//! Which kind of ledger counts an organization's units, where a store knows two: leases of native
//! nodes, or the organization's Durable Object. One at a time, so that no cap is granted twice.
//!
//! A handover is agreed on beforehand and happens at an instant, mostly the end of a billing period,
//! so that no period is counted by two. Both sides read it from the directory and need no other word.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// How long before it happens a handover is known at least.
pub const NOTICE: Duration = Duration::from_secs(60);

/// How long before it happens a handover is known where hosts serve what they remember of an
/// organization for so long (`keys.max_stale_secs`): nobody may act on what was true before it.
#[must_use]
pub fn notice(max_stale: Duration) -> Duration {
    NOTICE.max(max_stale)
}

/// A kind of ledger.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LedgerKind {
    /// Native nodes, by leases of their store.
    #[default]
    Leases,
    /// Cloudflare Workers, by the organization's Durable Object.
    Objects,
}

/// Text that names no kind of ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no kind of ledger; there are leases (native nodes) and objects (Workers)")]
pub struct UnknownLedgerKind;

/// Who counts, and who will.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerHost {
    /// Who counts until the handover.
    pub kind: LedgerKind,
    /// The handover that was agreed on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Handover>,
}

/// From when on somebody else counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handover {
    /// Who.
    pub kind: LedgerKind,
    /// From when on.
    pub from: Timestamp,
}

impl LedgerHost {
    /// One kind, for good.
    #[must_use]
    pub const fn of(kind: LedgerKind) -> Self {
        Self { kind, next: None }
    }

    /// Who counts at an instant.
    #[must_use]
    pub fn at(self, now: Timestamp) -> LedgerKind {
        match self.next {
            Some(next) if now >= next.from => next.kind,
            Some(_) | None => self.kind,
        }
    }

    /// What it is once `to` is to count from the end of the period on, and not before the notice is
    /// over. Whoever counts already goes on, and a handover that was agreed on otherwise is off.
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
        assert_eq!(off, before, "it is off");
        let after = agreed.handed_to(LedgerKind::Objects, at(9_500), at(20_000), NOTICE);
        assert_eq!(after, LedgerHost::of(LedgerKind::Objects), "it is done");
        let soon = before.handed_to(LedgerKind::Objects, at(8_990), at(9_000), NOTICE);
        assert_eq!(soon.at(at(9_049)), LedgerKind::Leases, "everybody must know first");
        assert_eq!(soon.at(at(9_050)), LedgerKind::Objects);
    }

    #[test]
    fn nobody_acts_on_what_was_true_before_the_handover() {
        let at = Timestamp::from_secs;
        for stale_secs in [10, 60, 3_600] {
            let max_stale = Duration::from_secs(stale_secs);
            let agreed = LedgerHost::of(LedgerKind::Leases).handed_to(
                LedgerKind::Objects,
                at(8_990),
                at(9_000),
                notice(max_stale),
            );
            // A host that read the organization just before it was agreed on.
            let serves_until = at(8_990).plus(max_stale);
            let from = agreed.next.expect("agreed on").from;
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
