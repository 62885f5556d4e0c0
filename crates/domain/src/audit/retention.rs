//! Retention: old entries are removed, and the rest of the chain can still be verified.
//!
//! Retention always removes the oldest part of the chain. The number and hash of its last entry are
//! kept as a *checkpoint*, from which the rest is verified. An entry in the rest names the
//! checkpoint, the number of removed entries, and the time of the last removed one with the hashes
//! that prove this time. So the removal of entries that were too young is detected, even if the
//! entry about it was forged.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{AuditEntry, AuditHash, AuditHead, AuditRecord, content_hash, entry_hash};
use crate::id::OrganizationId;
use crate::time::Timestamp;

/// The action of the entry that names a checkpoint.
const ACTION: &str = "audit.prune";
/// Entries are removed in portions of at least a day, so that a busy log is not full of entries
/// about its own retention.
const PORTION: Duration = Duration::from_secs(86_400);
const DAY_SECS: u64 = 86_400;

/// The retention rule by which a removal is verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Days that entries are kept; 0 means that none may be removed.
    pub days: u32,
    /// The time of the verification: a removal with a later time was not made by retention.
    pub now: Timestamp,
}

impl Retention {
    pub(super) fn may_remove(&self, entry_at: Timestamp, removed_at: Timestamp) -> bool {
        let kept_for = Duration::from_secs(u64::from(self.days) * DAY_SECS);
        self.days > 0 && entry_at.plus(kept_for) <= removed_at
    }
}

/// A chain's oldest part, to be removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pruned {
    /// Its last entry.
    pub checkpoint: AuditHead,
    /// How many entries it has.
    pub entries: u64,
    last: Last,
}

/// What proves the time of the last entry that was removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Last {
    at_micros: i64,
    content: AuditHash,
    prev_hash: AuditHash,
}

/// The details of the entry about a removal; members sorted by name.
#[derive(Serialize, Deserialize)]
struct Details {
    checkpoint: AuditHead,
    entries: u64,
    last: Last,
}

/// A removal that an entry of the chain states.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Named {
    checkpoint: AuditHead,
    last: Last,
    /// The time of that entry.
    pub(super) at: Timestamp,
}

impl Named {
    /// Whether it names this checkpoint, and its hashes prove the stated time.
    pub(super) fn proves(&self, checkpoint: AuditHead) -> bool {
        let Last { content, prev_hash, .. } = self.last;
        let hash = entry_hash(checkpoint.seq, self.last_at(), &content, &prev_hash);
        self.checkpoint == checkpoint && hash == checkpoint.hash
    }

    /// The time of the last entry that was removed.
    pub(super) fn last_at(&self) -> Timestamp {
        Timestamp::from_micros(self.last.at_micros)
    }
}

impl Pruned {
    /// The part of these oldest entries of a chain that is from before `before` and may be removed;
    /// `None` while it spans less than a day.
    #[must_use]
    pub fn of(oldest: &[AuditEntry], before: Timestamp) -> Option<Self> {
        let first = oldest.first()?;
        if before.since(first.record.at) < PORTION {
            return None;
        }
        let old = oldest.iter().take_while(|entry| entry.record.at < before);
        let (entries, last) = old.fold((0, None), |(count, _), entry| (count + 1, Some(entry)));
        let last = last?;
        Some(Self {
            checkpoint: AuditHead { seq: last.seq, hash: last.hash },
            entries,
            last: Last {
                at_micros: last.record.at.micros(),
                content: content_hash(&last.record),
                prev_hash: last.prev_hash,
            },
        })
    }

    /// The entry that names the checkpoint.
    #[must_use]
    pub fn record(&self, organization: OrganizationId, at: Timestamp) -> AuditRecord {
        let Self { checkpoint, entries, last } = *self;
        let details = Details { checkpoint, entries, last };
        let details = serde_json::to_string(&details).unwrap_or_default();
        AuditRecord {
            at,
            actor: "system".into(),
            action: ACTION.into(),
            resource: organization.to_string().into(),
            outcome: "ok".into(),
            request_id: "".into(),
            ip: "".into(),
            details: details.into(),
        }
    }
}

/// The removal that a record states, if it is such a record and of this organization.
pub(super) fn named(record: &AuditRecord, organization: OrganizationId) -> Option<Named> {
    if &*record.action != ACTION || record.resource.parse() != Ok(organization) {
        return None;
    }
    let Details { checkpoint, last, .. } = serde_json::from_str(&record.details).ok()?;
    Some(Named { checkpoint, last, at: record.at })
}

#[cfg(test)]
mod tests {
    use super::super::{Problem, Verdict, Verifier};
    use super::*;

    const DAY: i64 = 86_400;
    const ORGANIZATION: OrganizationId = OrganizationId::from_bytes([1; 16]);

    fn day(days: i64) -> Timestamp {
        Timestamp::from_secs(days * DAY)
    }

    fn record(days: i64) -> AuditRecord {
        AuditRecord {
            at: day(days),
            actor: "admin".into(),
            action: "a".into(),
            resource: "r".into(),
            outcome: "ok".into(),
            request_id: "".into(),
            ip: "192.0.2.1".into(),
            details: "{}".into(),
        }
    }

    fn chain(organization: OrganizationId) -> (AuditHead, Vec<AuditEntry>) {
        let mut head = AuditHead::empty(organization);
        let entries = (0..10).map(|day| head.append(record(day))).collect();
        (head, entries)
    }

    /// What is left on day 10 after everything from before a day was removed.
    fn pruned(organization: OrganizationId, before: i64) -> (Pruned, Vec<AuditEntry>) {
        let (mut head, mut entries) = chain(organization);
        let pruned = Pruned::of(&entries, day(before)).expect("old enough");
        entries.push(head.append(pruned.record(organization, day(10))));
        let removed = usize::try_from(pruned.entries).expect("few");
        (pruned, entries.split_off(removed))
    }

    fn verdict(from: AuditHead, entries: &[AuditEntry], stated: Option<AuditHead>) -> Verdict {
        let retention = Retention { days: 6, now: day(11) };
        let mut verifier = Verifier::new(ORGANIZATION, from, stated, Some(retention));
        entries.iter().for_each(|entry| verifier.step(entry));
        verifier.finish()
    }

    #[test]
    fn the_oldest_part_is_removed_in_portions_of_days() {
        let (pruned, _) = pruned(ORGANIZATION, 4);
        assert_eq!((pruned.checkpoint.seq, pruned.entries), (4, 4));
        let (_, entries) = chain(ORGANIZATION);
        assert_eq!(Pruned::of(&entries, Timestamp::from_secs(DAY - 1)), None);
        assert_eq!(Pruned::of(&[], Timestamp::from_secs(DAY)), None);
    }

    #[test]
    fn the_rest_is_valid_from_its_checkpoint_and_from_no_other() {
        let (pruned, rest) = pruned(ORGANIZATION, 4);
        let found = verdict(pruned.checkpoint, &rest, None);
        assert!(found.ok && found.entries == 7, "{found:?}");
        let empty = AuditHead::empty(ORGANIZATION);
        assert!(!verdict(empty, &rest, None).ok, "the removed part is missed");
        let moved = AuditHead { seq: 5, hash: rest[0].hash };
        let found = verdict(moved, &rest[1..], None);
        assert_eq!(found.first_bad_seq, Some(5), "more was removed than is stated");
        assert_eq!(found.problem, Some(Problem::BeginningMissing));
        assert!(verdict(pruned.checkpoint, &rest, Some(pruned.checkpoint)).ok);
    }

    /// The attack: entries that are too young are deleted, and an entry is appended that states
    /// their removal.
    #[test]
    fn a_forged_removal_is_found_even_against_an_earlier_head() {
        let (_, entries) = chain(ORGANIZATION);
        for before in 6..10 {
            let (forged, rest) = pruned(ORGANIZATION, before);
            for stated in [None, Some(forged.checkpoint)] {
                let found = verdict(forged.checkpoint, &rest, stated);
                assert_eq!(found.problem, Some(Problem::RemovedTooEarly), "{before}");
            }
        }
        // An older time is claimed, or the removal is dated later.
        let forged = Pruned::of(&entries, day(8)).expect("old enough");
        let older = Pruned { last: Last { at_micros: 0, ..forged.last }, ..forged };
        for (forged, at, problem) in [
            (older, day(10), Problem::BeginningMissing),
            (forged, day(20), Problem::RemovedTooEarly),
        ] {
            let (mut head, mut rest) = chain(ORGANIZATION);
            rest.push(head.append(forged.record(ORGANIZATION, at)));
            let found = verdict(forged.checkpoint, &rest[8..], None);
            assert_eq!(found.problem, Some(problem));
        }
    }

    #[test]
    fn the_rest_of_another_organizations_log_is_found() {
        let (pruned, rest) = pruned(OrganizationId::from_bytes([2; 16]), 4);
        let found = verdict(pruned.checkpoint, &rest, None);
        assert_eq!(found.problem, Some(Problem::BeginningMissing));
    }

    #[test]
    fn without_retention_nothing_may_be_removed() {
        let (pruned, rest) = pruned(ORGANIZATION, 4);
        let never = Retention { days: 0, now: day(11) };
        let mut verifier = Verifier::new(ORGANIZATION, pruned.checkpoint, None, Some(never));
        rest.iter().for_each(|entry| verifier.step(entry));
        assert_eq!(verifier.finish().problem, Some(Problem::RemovedTooEarly));
    }
}
