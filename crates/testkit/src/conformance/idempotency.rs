//! I3: an idempotency key is charged at most once.

use std::time::Duration;

use driftlock_domain::idempotency::{Claim, Fingerprint, IdempotencyKey, KEPT_SECS, KeptAnswer};
use driftlock_domain::usage::{Settled, Settlement};

use super::Store;
use crate::make::{ask, node, now, organization_id, settlement};

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

pub(super) async fn an_answer_is_kept_for_24_hours(store: impl Store) {
    claimed(&store, 1).await;
    let headers = vec![("content-type".to_owned(), b"text/plain".to_vec())];
    let answer = KeptAnswer { status: 200, headers, body: b"hello".to_vec() };
    let organization = organization_id(1);
    store.keep_answer(organization, &CLAIM.key, &answer).await.expect("kept");
    let last = now().plus(Duration::from_secs(KEPT_SECS));
    let kept = store.kept(organization, &CLAIM.key, last).await.expect("read");
    assert_eq!(kept.expect("still there").answer, Some(answer));
    let after = last.plus(Duration::from_secs(1));
    assert_eq!(store.kept(organization, &CLAIM.key, after).await, Ok(None));
    assert_eq!(store.purge_kept(last).await, Ok(0));
    assert_eq!(store.purge_kept(after).await, Ok(1));
}

pub(super) async fn voiding_frees_the_key(store: impl Store) {
    let (one, _) = claimed(&store, 1).await;
    store.void(one.organization, one.usage).await.expect("voided");
    assert_eq!(store.kept(one.organization, &CLAIM.key, now()).await, Ok(None));
    assert!(matches!(claimed(&store, 2).await.1, Settled::Committed { .. }));
}
