//! I3: an idempotency key is charged at most once.

use std::sync::Arc;
use std::time::Duration;

use driftlock_domain::id::UsageId;
use driftlock_domain::idempotency::{
    Claim, Claimed, Fingerprint, IdempotencyKey, KEPT_SECS, KeptAnswer,
};
use driftlock_domain::time::Timestamp;
use driftlock_domain::usage::{Settled, Settlement};

use super::Store;
use crate::make::{ask, node, now, organization_id, settlement, usage};

/// The maximum lifetime of a claim.
const LIFETIME: Duration = Duration::from_secs(60);
const CLAIM: Claim = Claim { key: IdempotencyKey([7; 32]), fingerprint: Fingerprint([8; 32]) };

async fn claimed(store: &impl Store, number: u64) -> (Settlement, Settled) {
    let organization = organization_id(1);
    store.lease(organization, node(1), &ask(None, 0, 1), now()).await.expect("leased");
    let one = Settlement { claim: Some(CLAIM), ..settlement(1, number) };
    let settled = store.settle(one.clone(), now()).await.expect("the store answers");
    (one, settled)
}

pub(super) async fn a_key_belongs_to_one_settlement(store: impl Store) {
    let (first, settled) = claimed(&store, 1).await;
    assert!(matches!(settled, Settled::Committed { .. }));
    let (_, again) = claimed(&store, 2).await;
    assert_eq!(again, Settled::Refused);
    let kept = store.kept(organization_id(1), &CLAIM.key, now()).await.expect("read");
    let kept = kept.expect("it is kept");
    assert_eq!((kept.usage, kept.fingerprint, kept.answer), (first.usage, CLAIM.fingerprint, None));
}

fn answer() -> KeptAnswer {
    let headers = vec![("content-type".to_owned(), b"text/plain".to_vec())];
    KeptAnswer { status: 200, headers, body: b"hello\0\xff".to_vec() }
}

pub(super) async fn a_charge_and_its_answer_are_one_commit(store: impl Store) {
    let organization = organization_id(1);
    store.lease(organization, node(1), &ask(None, 0, 2), now()).await.expect("leased");
    assert_eq!(claim(&store, usage(now(), 1), now()).await, Claimed::Own);
    let one =
        Settlement { claim: Some(CLAIM), answer: Some(Arc::new(answer())), ..settlement(1, 1) };
    let settled = store.settle(one.clone(), now()).await.expect("settled");
    assert!(matches!(settled, Settled::Committed { .. }));
    let Claimed::Kept(kept) = claim(&store, usage(now(), 2), now()).await else {
        panic!("it is kept")
    };
    assert_eq!((kept.usage, kept.answer), (one.usage, Some(answer())));
    // Sent again, since the outcome of the commit was unknown.
    let again = store.settle(one.clone(), now()).await.expect("settled");
    assert!(matches!(again, Settled::Repeated { .. }));
    // A settlement of another request that lost its claim changes nothing.
    let other = KeptAnswer { body: b"other".to_vec(), ..answer() };
    let other =
        Settlement { answer: Some(Arc::new(other)), claim: Some(CLAIM), ..settlement(1, 2) };
    assert_eq!(store.settle(other, now()).await, Ok(Settled::Refused));
    let kept = store.kept(organization, &CLAIM.key, now()).await.expect("read");
    assert_eq!(kept.and_then(|kept| kept.answer), Some(answer()));
    // The next request with the key finds nothing of the one before.
    let after = now().plus(Duration::from_secs(KEPT_SECS + 1));
    let late = Settlement { claim: Some(CLAIM), ..settlement(1, 3) };
    assert!(matches!(store.settle(late, after).await, Ok(Settled::Committed { .. })));
    let kept = store.kept(organization, &CLAIM.key, after).await.expect("read");
    assert_eq!(kept.expect("it is kept").answer, None);
}

pub(super) async fn an_answer_is_kept_for_24_hours(store: impl Store) {
    let (organization, answer) = (organization_id(1), answer());
    store.lease(organization, node(1), &ask(None, 0, 1), now()).await.expect("leased");
    let kept = Some(Arc::new(answer.clone()));
    let one = Settlement { claim: Some(CLAIM), answer: kept, ..settlement(1, 1) };
    store.settle(one, now()).await.expect("settled");
    let last = now().plus(Duration::from_secs(KEPT_SECS));
    let kept = store.kept(organization, &CLAIM.key, last).await.expect("read");
    assert_eq!(kept.expect("still there").answer, Some(answer));
    let after = last.plus(Duration::from_secs(1));
    assert_eq!(store.kept(organization, &CLAIM.key, after).await, Ok(None));
    assert_eq!(store.purge_kept(last).await, Ok(0));
    assert_eq!(store.purge_kept(after).await, Ok(1));
}

pub(super) async fn a_record_without_an_answer_is_kept(store: impl Store) {
    let organization = organization_id(1);
    assert_eq!(claim(&store, usage(now(), 1), now()).await, Claimed::Own);
    let (one, settled) = claimed(&store, 1).await;
    assert!(matches!(settled, Settled::Committed { .. }));
    // Sent again, since the outcome of the commit was unknown: an answer now is too late.
    let late = Settlement { answer: Some(Arc::new(answer())), ..one.clone() };
    assert!(matches!(store.settle(late, now()).await, Ok(Settled::Repeated { .. })));
    let last = now().plus(Duration::from_secs(KEPT_SECS));
    for at in [now(), last] {
        let Claimed::Kept(kept) = claim(&store, usage(now(), 2), at).await else {
            panic!("it is kept")
        };
        let found = store.kept(organization, &CLAIM.key, at).await.expect("read");
        assert_eq!(found.as_ref(), Some(&kept));
        assert_eq!((kept.usage, kept.answer), (one.usage, None), "the receipt of the first");
    }
    let after = last.plus(Duration::from_secs(1));
    assert_eq!(store.kept(organization, &CLAIM.key, after).await, Ok(None));
}

pub(super) async fn voiding_frees_the_key(store: impl Store) {
    let (one, _) = claimed(&store, 1).await;
    store.void(one.organization, one.usage).await.expect("voided");
    assert_eq!(store.kept(one.organization, &CLAIM.key, now()).await, Ok(None));
    assert!(matches!(claimed(&store, 2).await.1, Settled::Committed { .. }));
}

async fn claim(store: &impl Store, usage: UsageId, at: Timestamp) -> Claimed {
    let claimed = store.claim(organization_id(1), &CLAIM, usage, LIFETIME, at).await;
    claimed.expect("the store answers")
}

pub(super) async fn claiming_finds_what_was_kept(store: impl Store) {
    let (one, other) = (usage(now(), 1), usage(now(), 2));
    assert_eq!(claim(&store, one, now()).await, Claimed::Own);
    let (settled, _) = claimed(&store, 1).await;
    assert_eq!(settled.usage, one);
    let Claimed::Kept(kept) = claim(&store, other, now()).await else { panic!("it is kept") };
    assert_eq!((kept.usage, kept.fingerprint, kept.answer), (one, CLAIM.fingerprint, None));
    store.unclaim(organization_id(1), &CLAIM.key, one).await.expect("done");
    assert!(matches!(claim(&store, other, now()).await, Claimed::Kept(_)), "it stays kept");
}

pub(super) async fn a_key_is_one_requests_at_a_time(store: impl Store) {
    let (one, other) = (usage(now(), 1), usage(now(), 2));
    let in_flight = Claimed::InFlight(one, CLAIM.fingerprint);
    assert_eq!(claim(&store, one, now()).await, Claimed::Own);
    assert_eq!(claim(&store, other, now()).await, in_flight);
    assert_eq!(claim(&store, one, now()).await, Claimed::Own, "asked twice");
    let free = async |usage| store.unclaim(organization_id(1), &CLAIM.key, usage).await;
    free(other).await.expect("done");
    assert_eq!(claim(&store, other, now()).await, in_flight, "it was not the other's");
    free(one).await.expect("done");
    assert_eq!(claim(&store, other, now()).await, Claimed::Own);
}

pub(super) async fn a_claim_ends_by_itself(store: impl Store) {
    let (one, other) = (usage(now(), 1), usage(now(), 2));
    assert_eq!(claim(&store, one, now()).await, Claimed::Own);
    let last = now().plus(LIFETIME).minus(Duration::from_micros(1));
    assert_eq!(claim(&store, other, last).await, Claimed::InFlight(one, CLAIM.fingerprint));
    let over = now().plus(LIFETIME);
    store.purge_kept(over).await.expect("purged");
    assert_eq!(claim(&store, other, over).await, Claimed::Own);
}
