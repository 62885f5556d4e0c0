use std::num::NonZeroU32;
use std::time::Duration;

use super::*;
use crate::entitlement::Terms;
use crate::lease::LeaseGrant;
use crate::period::{Period, PeriodId};

fn at(secs: i64) -> Timestamp {
    Timestamp::from_secs(1_800_000_000 + secs)
}

fn terms(cap: u64) -> Terms {
    Terms::free(Period { start: at(-100), end: at(1_000) }, cap, Some(cap))
}

fn charge(cap: u64, number: u8) -> Charge {
    Charge {
        key: KeyId::from_bytes([1; 16]),
        key_requests_per_minute: NonZeroU32::MAX,
        organization_requests_per_minute: None,
        terms: terms(cap),
        hold: Some(HoldAsk {
            usage: UsageId::from_bytes([number; 16]),
            units: 1,
            lifetime: Duration::from_secs(60),
            claim: None,
        }),
    }
}

fn asked(cell: &mut Cell, charge: &Charge) -> LeaseAsk {
    let Err(NotAdmitted::NeedsLease(ask)) = cell.admit(charge, at(0)) else {
        panic!("it has to ask")
    };
    cell.asking(&ask);
    ask
}

/// Grants all units of the cap that are not used; asking again before the period's end is useless.
fn grant(cell: &mut Cell, ask: &LeaseAsk, used: u64) {
    let reserved = ask.terms.cap.map(|cap| cap - used);
    let ttl = Duration::from_secs(1_000);
    let grant =
        LeaseGrant { period: PeriodId(1), terms: ask.terms, reserved, used, ttl, retry_after: ttl };
    cell.granted(ask, &grant, at(0));
}

fn held(cell: &mut Cell, cap: u64, number: u8) -> Hold {
    cell.admit(&charge(cap, number), at(0)).expect("a unit is there").hold.expect("metered")
}

fn left(cell: &mut Cell, cap: u64) -> u64 {
    let admitted: Vec<_> =
        (100..=255).map_while(|number| cell.admit(&charge(cap, number), at(0)).ok()).collect();
    let count = admitted.len() as u64;
    for hold in admitted.into_iter().filter_map(|admitted| admitted.hold) {
        cell.end(&hold, HoldEnd::Returned);
    }
    count
}

/// A cell that held one of ten units when its included units became twenty, and whose request for
/// the new lease is in progress.
fn asking_with_one_held() -> (Cell, Hold, LeaseAsk, LeaseAsk) {
    let mut cell = Cell::default();
    let first = asked(&mut cell, &charge(10, 1));
    grant(&mut cell, &first, 0);
    let hold = held(&mut cell, 10, 1);
    let second = asked(&mut cell, &charge(20, 2));
    assert!(second.number > first.number);
    (cell, hold, first, second)
}

#[test]
fn what_settled_before_the_grant_and_is_reported_after_it_is_not_taken_twice() {
    let (mut cell, hold, first, second) = asking_with_one_held();
    grant(&mut cell, &second, 1);
    cell.end(&hold, HoldEnd::Used { lease: Some(first.number) });
    assert_eq!(cell.quota(&terms(20), at(0)).remaining, Some(19));
    assert_eq!(left(&mut cell, 20), 19);
}

#[test]
fn what_settled_and_was_reported_before_the_grant_is_not_taken_twice() {
    let (mut cell, hold, first, second) = asking_with_one_held();
    cell.end(&hold, HoldEnd::Used { lease: Some(first.number) });
    grant(&mut cell, &second, 1);
    assert_eq!(cell.quota(&terms(20), at(0)).remaining, Some(19));
    assert_eq!(left(&mut cell, 20), 19);
}

#[test]
fn what_settled_after_the_grant_and_was_reported_before_it_is_taken() {
    let (mut cell, hold, _, second) = asking_with_one_held();
    cell.end(&hold, HoldEnd::Used { lease: Some(second.number) });
    grant(&mut cell, &second, 0);
    assert_eq!(cell.quota(&terms(20), at(0)).remaining, Some(19));
    assert_eq!(left(&mut cell, 20), 19);
}

#[test]
fn a_settlement_that_is_tried_twice_counts_once_in_the_cell() {
    let mut cell = Cell::default();
    let ask = asked(&mut cell, &charge(10, 1));
    grant(&mut cell, &ask, 0);
    let hold = held(&mut cell, 10, 1);
    cell.end(&hold, HoldEnd::Used { lease: Some(ask.number) });
    cell.end(&hold, HoldEnd::UsedBefore);
    assert_eq!(cell.quota(&terms(10), at(0)).remaining, Some(9));
    assert_eq!(left(&mut cell, 10), 9);
}

#[test]
fn a_stale_cell_asks_before_it_denies() {
    let mut cell = Cell::default();
    let ask = asked(&mut cell, &charge(1, 1));
    grant(&mut cell, &ask, 0);
    held(&mut cell, 1, 1);
    let denied = cell.admit(&charge(1, 2), at(0));
    assert!(matches!(denied, Err(NotAdmitted::Denied(Denial::QuotaHeld, _))), "{denied:?}");
    cell.mark_stale();
    let again = asked(&mut cell, &charge(1, 2));
    assert_eq!(again.keep, 1);
    cell.not_granted(at(0));
    asked(&mut cell, &charge(1, 2));
}

#[test]
fn a_cell_reports_what_is_left_only_if_it_knows() {
    let mut cell = Cell::default();
    let free = Charge { hold: None, ..charge(10, 1) };
    let admitted = cell.admit(&free, at(0)).expect("free");
    assert_eq!(admitted.limits.quota.remaining, None);
    let ask = cell.quota_snapshot_ask(free.terms, at(0)).expect("it may ask");
    assert_eq!((ask.keep, ask.want), (0, 0));
    cell.asking(&ask);
    cell.not_granted(at(0));
    assert_eq!(cell.quota_snapshot_ask(free.terms, at(9)), None, "not with every request");
    let ask = cell.quota_snapshot_ask(free.terms, at(10)).expect("but again after a while");
    cell.asking(&ask);
    grant(&mut cell, &ask, 9);
    let remaining = cell.admit(&free, at(10)).expect("free").limits.quota.remaining;
    assert_eq!(remaining, Some(1));
    assert_eq!(cell.quota_snapshot_ask(free.terms, at(10)), None);
}
