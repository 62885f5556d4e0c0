//! Verification of a chain: whether every link is valid, and whether a missing beginning was
//! removed by retention.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::retention::{self, Named, Retention};
use super::{AuditEntry, AuditHead, content_hash, entry_hash};
use crate::id::OrganizationId;

/// The clocks of the writer and the verifier differ by less than this.
const SKEW: Duration = Duration::from_secs(86_400);

/// The result of the verification.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// Whether the chain is valid.
    pub ok: bool,
    /// The number of verified entries.
    pub entries: u64,
    /// The last entry.
    pub head: AuditHead,
    /// Where the verification began: after the last removed entry, or before the first entry.
    pub checkpoint: AuditHead,
    /// The first entry that does not follow from the one before it.
    pub first_bad_seq: Option<u64>,
    /// What is wrong.
    pub problem: Option<Problem>,
}

/// What is wrong with a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Problem {
    /// An entry was changed, dropped or moved, or is another organization's.
    BrokenLink,
    /// The beginning is missing, and no entry of this organization proves that it was removed.
    BeginningMissing,
    /// The beginning was removed before it was as old as retention requires.
    RemovedTooEarly,
    /// The stated head is not in the chain.
    HeadNotFound,
}

/// Verifies a chain entry by entry, so that a log of any length needs constant memory.
#[derive(Debug)]
pub struct Verifier {
    organization: OrganizationId,
    checkpoint: AuditHead,
    /// The removal that the entries stated last.
    named: Option<Named>,
    head: AuditHead,
    entries: u64,
    first_bad_seq: Option<u64>,
    stated: Option<AuditHead>,
    stated_met: bool,
    retention: Option<Retention>,
}

impl Verifier {
    /// Starts after `from` ([`AuditHead::empty`], or a retention checkpoint). A `stated` head must
    /// be in the chain. Without `retention`, the age of removed entries is not checked.
    #[must_use]
    pub fn new(
        organization: OrganizationId,
        from: AuditHead,
        stated: Option<AuditHead>,
        retention: Option<Retention>,
    ) -> Self {
        let stated_met = stated.is_none_or(|head| head == from);
        Self {
            organization,
            checkpoint: from,
            named: None,
            head: from,
            entries: 0,
            first_bad_seq: None,
            stated,
            stated_met,
            retention,
        }
    }

    /// Verifies the next entry, in order of number.
    pub fn step(&mut self, entry: &AuditEntry) {
        self.entries += 1;
        let (at, content) = (entry.record.at, content_hash(&entry.record));
        let follows = entry.seq == self.head.seq + 1
            && entry.prev_hash == self.head.hash
            && entry.hash == entry_hash(entry.seq, at, &content, &entry.prev_hash);
        if !follows && self.first_bad_seq.is_none() {
            self.first_bad_seq = Some(entry.seq);
        }
        self.named = retention::named(&entry.record, self.organization).or(self.named);
        self.head = AuditHead { seq: entry.seq, hash: entry.hash };
        if self.stated == Some(self.head) {
            self.stated_met = true;
        }
    }

    /// The verdict after the last entry.
    #[must_use]
    pub fn finish(self) -> Verdict {
        let broken = self.first_bad_seq.map(|seq| (seq, Problem::BrokenLink));
        let moved = self.beginning().map(|problem| (self.checkpoint.seq, problem));
        let missing = self.stated.filter(|_| !self.stated_met);
        let missing = missing.map(|stated| (stated.seq, Problem::HeadNotFound));
        let found = broken.or(moved).or(missing);
        let (first_bad_seq, problem) = (found.map(|(seq, _)| seq), found.map(|(_, why)| why));
        let (ok, Self { checkpoint, entries, head, .. }) = (found.is_none(), self);
        Verdict { ok, entries, head, checkpoint, first_bad_seq, problem }
    }

    /// What is wrong with the place where the verification began.
    fn beginning(&self) -> Option<Problem> {
        if self.checkpoint == AuditHead::empty(self.organization) {
            return None;
        }
        let Some(named) = self.named.filter(|named| named.proves(self.checkpoint)) else {
            return Some(Problem::BeginningMissing);
        };
        let retention = self.retention?;
        let is_past = named.at <= retention.now.plus(SKEW);
        let is_old = retention.may_remove(named.last_at(), named.at);
        (!is_past || !is_old).then_some(Problem::RemovedTooEarly)
    }
}

#[cfg(test)]
mod tests {
    use super::super::AuditRecord;
    use super::*;
    use crate::time::Timestamp;

    const ORGANIZATION: OrganizationId = OrganizationId::from_bytes([1; 16]);

    fn record(outcome: &str) -> AuditRecord {
        AuditRecord {
            at: Timestamp::from_secs(1),
            actor: "admin".into(),
            action: "key.create".into(),
            resource: "key_1".into(),
            outcome: outcome.into(),
            request_id: "r".into(),
            ip: "".into(),
            details: "{}".into(),
        }
    }

    fn chain(organization: OrganizationId, length: usize) -> Vec<AuditEntry> {
        let mut head = AuditHead::empty(organization);
        (0..length).map(|i| head.append(record(&i.to_string()))).collect()
    }

    fn verify(entries: &[AuditEntry], stated: Option<AuditHead>) -> Verdict {
        let empty = AuditHead::empty(ORGANIZATION);
        let mut verifier = Verifier::new(ORGANIZATION, empty, stated, None);
        entries.iter().for_each(|entry| verifier.step(entry));
        verifier.finish()
    }

    #[test]
    fn an_unchanged_chain_is_valid() {
        let entries = chain(ORGANIZATION, 5);
        let verdict = verify(&entries, None);
        assert!(verdict.ok && verdict.problem.is_none());
        assert_eq!((verdict.entries, verdict.head.seq), (5, 5));
        let head = format!("{}:{}", verdict.head.seq, verdict.head.hash);
        assert_eq!(head.parse(), Ok(verdict.head));
    }

    #[test]
    fn changing_dropping_and_reordering_are_found() {
        let mut changed = chain(ORGANIZATION, 5);
        changed[2].record.outcome = "denied".into();
        assert_eq!(verify(&changed, None).first_bad_seq, Some(3));
        let mut moved = chain(ORGANIZATION, 5);
        moved[2].record.at = Timestamp::from_secs(2);
        assert_eq!(verify(&moved, None).first_bad_seq, Some(3));
        let mut dropped = chain(ORGANIZATION, 5);
        dropped.remove(1);
        assert_eq!(verify(&dropped, None).first_bad_seq, Some(3));
        let mut swapped = chain(ORGANIZATION, 5);
        swapped.swap(1, 2);
        assert_eq!(verify(&swapped, None).first_bad_seq, Some(3));
    }

    #[test]
    fn the_chain_of_another_organization_is_found() {
        let other = chain(OrganizationId::from_bytes([2; 16]), 5);
        let found = verify(&other, None);
        assert_eq!((found.first_bad_seq, found.problem), (Some(1), Some(Problem::BrokenLink)));
    }

    #[test]
    fn a_cut_or_rewritten_log_is_found_against_a_stated_head() {
        let entries = chain(ORGANIZATION, 5);
        let head = verify(&entries, None).head;
        let cut = verify(&entries[..4], Some(head));
        assert_eq!(cut.problem, Some(Problem::HeadNotFound));
        let mut rewritten = AuditHead::empty(ORGANIZATION);
        let forged: Vec<_> = (0..5).map(|_| rewritten.append(record("forged"))).collect();
        assert!(verify(&forged, None).ok, "a whole rewrite is consistent in itself");
        assert!(!verify(&forged, Some(head)).ok, "but does not meet the stated head");
        assert!(verify(&entries, Some(head)).ok);
    }
}
