//! Retention: old entries go, and the chain still holds.
//!
//! What is removed is always the chain's oldest part. Its last entry's number and hash stay behind
//! as a *checkpoint*, from which the rest is verified; an entry in the rest names the same
//! checkpoint, so that moving it is found like any other change.

use std::time::Duration;

use super::{AuditEntry, AuditHead, AuditRecord};
use crate::id::OrganizationId;
use crate::time::Timestamp;

/// The action of the entry that names a checkpoint.
const ACTION: &str = "audit.prune";
/// Entries are removed in portions of at least a day, so that a busy log is not full of entries
/// about its own retention.
const PORTION: Duration = Duration::from_secs(86_400);

/// A chain's oldest part, to be removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pruned {
    /// Its last entry.
    pub checkpoint: AuditHead,
    /// How many entries it has.
    pub entries: u64,
}

impl Pruned {
    /// What goes of these entries, the chain's oldest, once nothing from before `before` is to be
    /// kept; `None` while that is less than a day's.
    #[must_use]
    pub fn of(oldest: &[AuditEntry], before: Timestamp) -> Option<Self> {
        let first = oldest.first()?;
        if before.since(first.record.at) < PORTION {
            return None;
        }
        let old = oldest.iter().take_while(|entry| entry.record.at < before);
        let (mut entries, mut checkpoint) = (0, None);
        for entry in old {
            entries += 1;
            checkpoint = Some(AuditHead { seq: entry.seq, hash: entry.hash });
        }
        checkpoint.map(|checkpoint| Self { checkpoint, entries })
    }

    /// The entry that names the checkpoint.
    #[must_use]
    pub fn record(&self, organization: OrganizationId, at: Timestamp) -> AuditRecord {
        let Self { checkpoint, entries } = self;
        AuditRecord {
            at,
            actor: "system".into(),
            action: ACTION.into(),
            resource: organization.to_string().into(),
            outcome: "ok".into(),
            request_id: "".into(),
            ip: "".into(),
            details: format!(r#"{{"checkpoint":"{checkpoint}","entries":{entries}}}"#).into(),
        }
    }
}

/// The checkpoint that a record names, if it is of that kind.
pub(super) fn named(record: &AuditRecord) -> Option<AuditHead> {
    if &*record.action != ACTION {
        return None;
    }
    let details: serde_json::Value = serde_json::from_str(&record.details).ok()?;
    details.get("checkpoint")?.as_str()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::super::{Verdict, Verifier};
    use super::*;

    const DAY: i64 = 86_400;

    fn chain(days: std::ops::Range<i64>) -> (AuditHead, Vec<AuditEntry>) {
        let mut head = AuditHead::EMPTY;
        let none = Pruned { checkpoint: head, entries: 0 };
        let record = |day| AuditRecord {
            action: "a".into(),
            ..none.record(OrganizationId::from_bytes([1; 16]), Timestamp::from_secs(day * DAY))
        };
        let entries = days.map(|day| head.append(record(day))).collect();
        (head, entries)
    }

    fn pruned() -> (Pruned, Vec<AuditEntry>) {
        let (mut head, mut entries) = chain(0..10);
        let pruned = Pruned::of(&entries, Timestamp::from_secs(4 * DAY)).expect("old enough");
        let now = Timestamp::from_secs(10 * DAY);
        entries.push(head.append(pruned.record(OrganizationId::from_bytes([1; 16]), now)));
        (pruned, entries.split_off(4))
    }

    fn verdict(from: AuditHead, entries: &[AuditEntry], stated: Option<AuditHead>) -> Verdict {
        let mut verifier = Verifier::new(from, stated);
        entries.iter().for_each(|entry| verifier.step(entry));
        verifier.finish()
    }

    #[test]
    fn the_oldest_part_goes_in_portions_of_days() {
        let (pruned, _) = pruned();
        assert_eq!((pruned.checkpoint.seq, pruned.entries), (4, 4));
        let (_, entries) = chain(0..10);
        assert_eq!(Pruned::of(&entries, Timestamp::from_secs(DAY - 1)), None);
        assert_eq!(Pruned::of(&[], Timestamp::from_secs(DAY)), None);
    }

    #[test]
    fn the_rest_holds_from_its_checkpoint_and_from_no_other() {
        let (pruned, rest) = pruned();
        let found = verdict(pruned.checkpoint, &rest, None);
        assert!(found.ok && found.entries == 7, "{found:?}");
        assert!(!verdict(AuditHead::EMPTY, &rest, None).ok, "the removed part is missed");
        let moved = AuditHead { seq: 5, hash: rest[0].hash };
        let found = verdict(moved, &rest[1..], None);
        assert_eq!(found.first_bad_seq, Some(5), "more was removed than was entered");
        assert!(verdict(pruned.checkpoint, &rest, Some(pruned.checkpoint)).ok);
    }
}
