//! Organizations and keys.

use std::time::Duration;

use driftlock_domain::denial::FaultKind;
use driftlock_domain::organization::{Organization, OrganizationPatch};
use driftlock_gateway::ports::Page;

use super::Store;
use crate::make::{audit, key, key_id, now, organization, organization_id};

pub(super) async fn organizations_are_made_once_and_patched(store: impl Store) {
    let made = Organization { requests_per_minute: Some(5), ..organization(1) };
    store.create_organization(&made, audit("organization.create")).await.expect("made");
    assert_eq!(store.organization(made.id).await, Ok(Some(made.clone())));
    let again = store.create_organization(&made, audit("organization.create")).await;
    assert_eq!(again.expect_err("it exists").kind, FaultKind::Conflict);

    let name = OrganizationPatch { name: Some("Other".into()), ..OrganizationPatch::default() };
    let patched = store.patch_organization(made.id, name, audit("organization.update")).await;
    let patched = patched.expect("written").expect("it exists");
    assert_eq!((patched.name.as_str(), patched.requests_per_minute), ("Other", Some(5)));
    let clear =
        OrganizationPatch { requests_per_minute: Some(None), ..OrganizationPatch::default() };
    store.patch_organization(made.id, clear, audit("organization.update")).await.expect("written");
    let found = store.organization(made.id).await.expect("read").expect("it exists");
    assert_eq!((found.name.as_str(), found.requests_per_minute), ("Other", None));

    let missing = store
        .patch_organization(organization_id(9), OrganizationPatch::default(), audit("x"))
        .await;
    assert_eq!(missing, Ok(None));
    assert_eq!(store.head(organization_id(9)).await.expect("read").seq, 0, "nothing was written");
}

pub(super) async fn organizations_come_in_pages(store: impl Store) {
    for number in [3, 1, 2] {
        store.create_organization(&organization(number), audit("x")).await.expect("made");
    }
    let ids = |rows: Vec<Organization>| rows.into_iter().map(|row| row.id).collect::<Vec<_>>();
    let first = store.organizations(Page { after: None, limit: 2 }).await.expect("read");
    assert_eq!(ids(first), [organization_id(1), organization_id(2)]);
    let page = Page { after: Some(organization_id(2)), limit: 2 };
    assert_eq!(ids(store.organizations(page).await.expect("read")), [organization_id(3)]);
}

pub(super) async fn keys_are_found_by_hash_and_listed(store: impl Store) {
    for number in [1, 2] {
        store.create_organization(&organization(number), audit("x")).await.expect("made");
    }
    let ((first, first_hash), (other, other_hash)) = (key(1, 1), key(2, 2));
    store.create_key(&first, &first_hash, audit("key.create")).await.expect("made");
    store.create_key(&other, &other_hash, audit("key.create")).await.expect("made");
    assert_eq!(store.key_by_hash(&first_hash).await, Ok(Some(first.clone())));
    assert_eq!(store.key(first.id).await, Ok(Some(first.clone())));
    let (found, owner) =
        store.key_with_owner(&first_hash).await.expect("read").expect("it is there");
    assert_eq!(found, first);
    assert!(owner.is_none_or(|owner| owner == organization(1)), "its own, if read along");
    assert_eq!(store.key_with_owner(&key(3, 1).1).await, Ok(None));
    assert_eq!(store.key_by_hash(&key(3, 1).1).await, Ok(None));
    let page = Page { after: None, limit: 10 };
    assert_eq!(store.keys(organization_id(1), page).await, Ok(vec![first]));
    let taken = store.create_key(&key(3, 1).0, &other_hash, audit("key.create")).await;
    assert_eq!(taken.expect_err("the hash is taken").kind, FaultKind::Conflict);
}

pub(super) async fn the_earlier_revocation_counts(store: impl Store) {
    store.create_organization(&organization(1), audit("x")).await.expect("made");
    let (record, hash) = key(1, 1);
    store.create_key(&record, &hash, audit("key.create")).await.expect("made");
    let later = now().plus(Duration::from_secs(60));
    for (at, wanted) in [(later, later), (now(), now()), (later, now())] {
        let revoked = store.revoke_key(record.id, at, audit("key.revoke")).await;
        assert_eq!(revoked.expect("written").expect("known").revoked_at, Some(wanted));
    }
    assert_eq!(store.revoke_key(key_id(9), now(), audit("key.revoke")).await, Ok(None));
}

pub(super) async fn a_rotation_is_one_change(store: impl Store) {
    store.create_organization(&organization(1), audit("x")).await.expect("made");
    let ((old, old_hash), (new, new_hash)) = (key(1, 1), key(2, 1));
    store.create_key(&old, &old_hash, audit("key.create")).await.expect("made");
    let at = now().plus(Duration::from_secs(60));
    let unknown = store.rotate_key(key_id(9), &new, &new_hash, at, audit("key.rotate")).await;
    assert_eq!(unknown, Ok(None));
    assert_eq!(store.key(new.id).await, Ok(None), "nothing of it was done");
    let replaced = store.rotate_key(old.id, &new, &new_hash, at, audit("key.rotate")).await;
    assert_eq!(replaced.expect("written").expect("known").revoked_at, Some(at));
    assert_eq!(store.key_by_hash(&new_hash).await, Ok(Some(new)));
    assert_eq!(store.head(organization_id(1)).await.expect("read").seq, 3);
}

pub(super) async fn uses_are_noted_forward_only(store: impl Store) {
    store.create_organization(&organization(1), audit("x")).await.expect("made");
    let (record, hash) = key(1, 1);
    store.create_key(&record, &hash, audit("key.create")).await.expect("made");
    let later = now().plus(Duration::from_secs(60));
    for at in [later, now()] {
        store.touch_keys(&[(record.id, at), (key_id(9), at)]).await.expect("written");
        let found = store.key(record.id).await.expect("read").expect("known");
        assert_eq!(found.last_used_at, Some(later));
    }
}
