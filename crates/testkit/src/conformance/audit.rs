//! I9: one hash chain per organization, for all writers.

use std::time::Duration;

use driftlock_domain::audit::{
    AuditEntry, AuditHead, AuditRecord, Problem, Pruned, Retention, Verdict, Verifier,
};
use driftlock_domain::id::OrganizationId;

use super::Store;
use crate::make::{ask, audit, node, now, organization, organization_id, settlement};

const DAY: Duration = Duration::from_secs(86_400);

async fn busy(store: &impl Store) -> Vec<AuditEntry> {
    let id = organization_id(1);
    store.create_organization(&organization(1), audit("organization.create")).await.expect("made");
    store.lease(id, node(1), &ask(None, 0, 1), now()).await.expect("leased");
    store.settle(settlement(1, 1), now()).await.expect("settled");
    let other = organization_id(2);
    let rows = vec![(id, audit("a")), (other, audit("b")), (id, audit("c"))];
    store.append(rows).await.expect("written");
    store.entries(id, 0, 100).await.expect("read")
}

fn verdict(entries: &[AuditEntry], stated: Option<AuditHead>) -> Verdict {
    verdict_from(AuditHead::empty(organization_id(1)), entries, stated)
}

fn verdict_from(from: AuditHead, entries: &[AuditEntry], stated: Option<AuditHead>) -> Verdict {
    let retention = Retention { days: 3, now: now().plus(DAY * 10) };
    let mut verifier = Verifier::new(organization_id(1), from, stated, Some(retention));
    entries.iter().for_each(|entry| verifier.step(entry));
    verifier.finish()
}

pub(super) async fn chains_hold_across_all_writers(store: impl Store) {
    let entries = busy(&store).await;
    let actions: Vec<&str> = entries.iter().map(|entry| &*entry.record.action).collect();
    assert_eq!(actions, ["organization.create", "request", "a", "c"]);
    let head = store.head(organization_id(1)).await.expect("read");
    let found = verdict(&entries, Some(head));
    assert!(found.ok && found.head == head, "{found:?}");
    let later = store.entries(organization_id(1), 2, 1).await.expect("read");
    assert_eq!(later, entries[2..3]);
    assert_eq!(store.head(organization_id(2)).await.expect("read").seq, 1);
}

pub(super) async fn tampering_is_found(store: impl Store) {
    let entries = busy(&store).await;
    let head = store.head(organization_id(1)).await.expect("read");
    let mut changed = entries.clone();
    changed[1].record = AuditRecord { outcome: "500".into(), ..changed[1].record.clone() };
    assert_eq!(verdict(&changed, None).first_bad_seq, Some(2));
    let mut dropped = entries.clone();
    dropped.remove(1);
    assert_eq!(verdict(&dropped, None).first_bad_seq, Some(3));
    let mut swapped = entries.clone();
    swapped.swap(1, 2);
    assert!(!verdict(&swapped, None).ok);
    assert!(verdict(&entries[..3], None).ok, "a cut tail is found against a head only");
    assert_eq!(verdict(&entries[..3], Some(head)).first_bad_seq, Some(4));
}

pub(super) async fn old_entries_are_removed_and_the_rest_verifies(store: impl Store) {
    let id = organization_id(1);
    let day = |days: u32| now().plus(DAY * days);
    let row = |days| (id, AuditRecord { at: day(days), ..audit("a") });
    store.append((0..6).map(row).collect()).await.expect("written");
    let other = organization_id(2);
    store.append(vec![(other, audit("b"))]).await.expect("written");
    let empty = AuditHead::empty(id);
    assert_eq!(store.checkpoint(id).await.expect("read"), empty);
    let unknown = organization_id(9);
    assert_eq!(store.head(unknown).await.expect("read"), AuditHead::empty(unknown));
    let early = store.prune(id, day(0), day(6)).await.expect("nothing to do");
    assert_eq!(early, 0, "everything is young enough");
    let whole = store.head(id).await.expect("read");

    assert_eq!(store.prune(id, day(3), day(6)).await.expect("pruned"), 3);
    assert_eq!(store.prune(id, day(3), day(6)).await.expect("pruned"), 0, "once");
    let checkpoint = store.checkpoint(id).await.expect("read");
    assert_eq!(checkpoint.seq, 3);
    let rest = store.entries(id, 0, 100).await.expect("read");
    assert_eq!(rest.iter().map(|entry| entry.seq).collect::<Vec<_>>(), [4, 5, 6, 7]);
    assert_eq!(&*rest[3].record.action, "audit.prune");
    let found = verdict_from(checkpoint, &rest, Some(whole));
    assert!(found.ok, "an export's head is still met: {found:?}");
    assert!(!verdict(&rest, None).ok);

    // All entries may be removed: the entry about the removal stays, and the chain continues.
    assert_eq!(store.prune(id, day(7), day(9)).await.expect("pruned"), 4);
    store.append(vec![row(9)]).await.expect("written");
    let rest = store.entries(id, 0, 100).await.expect("read");
    assert_eq!(rest.iter().map(|entry| entry.seq).collect::<Vec<_>>(), [8, 9]);
    let checkpoint = store.checkpoint(id).await.expect("read");
    assert!(verdict_from(checkpoint, &rest, None).ok);
    assert_eq!(store.entries(other, 0, 9).await.expect("read").len(), 1, "others keep theirs");
}

/// Someone with write access to the store swaps the logs of two organizations, or deletes the
/// oldest entries and appends an entry that claims that retention did.
pub(super) async fn forged_beginnings_are_found(store: impl Store) {
    let (id, other) = (organization_id(1), organization_id(2));
    let rows = |of: OrganizationId| {
        (0..6).map(move |days| (of, AuditRecord { at: now().plus(DAY * days), ..audit("a") }))
    };
    store.append(rows(id).chain(rows(other)).collect()).await.expect("written");
    let swapped = store.entries(other, 0, 100).await.expect("read");
    assert_eq!(verdict(&swapped, None).first_bad_seq, Some(1), "the first entry's organization");
    store.prune(other, now().plus(DAY * 3), now().plus(DAY * 6)).await.expect("pruned");
    let checkpoint = store.checkpoint(other).await.expect("read");
    let swapped = store.entries(other, 0, 100).await.expect("read");
    let found = verdict_from(checkpoint, &swapped, None);
    assert_eq!(found.problem, Some(Problem::BeginningMissing), "it is the other's to remove");

    let entries = store.entries(id, 0, 100).await.expect("read");
    let forged = Pruned::of(&entries, now().plus(DAY * 5)).expect("old enough to say so");
    let entry = forged.record(id, now().plus(DAY * 6));
    store.append(vec![(id, entry)]).await.expect("written");
    let rest = store.entries(id, forged.checkpoint.seq, 100).await.expect("read");
    for stated in [None, Some(forged.checkpoint)] {
        let found = verdict_from(forged.checkpoint, &rest, stated);
        assert_eq!(found.problem, Some(Problem::RemovedTooEarly), "kept for three days");
    }
}
