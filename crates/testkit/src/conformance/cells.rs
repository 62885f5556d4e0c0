//! The cells of two nodes over one ledger: I4 with leases of chunks, and I1 for every receipt.

use std::time::Duration;

use driftlock_domain::cell::Charge;
use driftlock_domain::denial::{Denial, Fault};
use driftlock_domain::id::{NodeId, OrganizationId, UsageId};
use driftlock_domain::lease::{LeaseAsk, LeaseGrant};
use driftlock_domain::period::Period;
use driftlock_domain::time::Timestamp;
use driftlock_domain::usage::{Grouping, Settled, Settlement};
use driftlock_gateway::LocalCells;
use driftlock_gateway::ports::{Admission, Ledger, Refusal};
use futures_util::future::join_all;

use super::Store;
use crate::clock::VirtualClock;
use crate::make::{charge, node, now, organization_id, settlement, usage};

const CAP: u64 = 120;
/// Concurrent requests.
const AT_ONCE: u64 = 16;
/// Longer than the lifetime of a lease.
const LATER: Duration = Duration::from_secs(3);
/// Extra rounds, in which only units of expired leases become free.
const ROUNDS_MAX: usize = 40;

/// A store that two nodes' cells share.
struct Shared<'a, S>(&'a S);

impl<S> Clone for Shared<'_, S> {
    fn clone(&self) -> Self {
        Self(self.0)
    }
}

impl<S: Ledger> Ledger for Shared<'_, S> {
    async fn lease(
        &self,
        organization: OrganizationId,
        node: NodeId,
        ask: &LeaseAsk,
        now: Timestamp,
    ) -> Result<LeaseGrant, Fault> {
        self.0.lease(organization, node, ask, now).await
    }

    async fn settle(&self, settlement: Settlement, now: Timestamp) -> Result<Settled, Fault> {
        self.0.settle(settlement, now).await
    }

    async fn void(&self, organization: OrganizationId, usage: UsageId) -> Result<(), Fault> {
        self.0.void(organization, usage).await
    }
}

type Cells<'a, S> = LocalCells<Shared<'a, S>, VirtualClock>;

/// One request; returns its id if it was settled. Every seventh request fails and releases its
/// unit.
async fn request<S: Store>(cells: &Cells<'_, S>, number: u64) -> Result<Option<UsageId>, Denial> {
    let (organization, id) = (organization_id(1), usage(now(), number));
    let admitted = match cells.admit(organization, &charge(Some(CAP), id, None)).await {
        Ok(admitted) => admitted,
        Err(Refusal::Denied(denial, _)) => return Err(denial),
        Err(Refusal::Fault(fault)) => panic!("the store answers: {fault}"),
    };
    let hold = admitted.hold.expect("metered");
    if number.is_multiple_of(7) {
        cells.release(organization, hold, None);
        return Ok(None);
    }
    let one = Settlement { usage: id, node: cells.node(), ..settlement(1, number) };
    match cells.settle(one).await.expect("the store answers") {
        Settled::Committed { .. } => Ok(Some(id)),
        not => panic!("what was admitted is settled, once: {not:?}"),
    }
}

pub(super) async fn a_node_that_just_started_says_what_is_left(store: impl Store) {
    let clock = VirtualClock::at(now());
    let free = Charge { hold: None, ..charge(Some(CAP), usage(now(), 0), None) };
    let remaining = async || {
        let cells = LocalCells::new(Shared(&store), clock.clone(), node(1));
        let admitted = cells.admit(organization_id(1), &free).await.expect("it is free");
        let again = cells.admit(organization_id(1), &free).await.expect("it is free");
        assert_eq!(again.limits.quota, admitted.limits.quota);
        let metered = charge(Some(CAP), usage(now(), 9), None);
        cells.admit(organization_id(1), &metered).await.expect("and the units are there");
        admitted.limits.quota.remaining
    };
    assert_eq!(remaining().await, Some(CAP));
    let cells = LocalCells::new(Shared(&store), clock.clone(), node(1));
    assert!(request(&cells, 1).await.expect("a unit is there").is_some());
    assert_eq!(remaining().await, Some(CAP - 1), "although nothing was leased to it");
}

pub(super) async fn two_nodes_on_one_ledger_settle_exactly_the_cap(store: impl Store) {
    let clock = VirtualClock::at(now());
    let nodes = [1, 2].map(|number| LocalCells::new(Shared(&store), clock.clone(), node(number)));
    let (mut settled, mut number, mut denied) = (Vec::new(), 0, None);
    for _ in 0..ROUNDS_MAX {
        let requests = (number..number + AT_ONCE)
            .map(|number| request(&nodes[usize::from(number % 2 == 0)], number));
        number += AT_ONCE;
        let answers = join_all(requests).await;
        settled.extend(answers.iter().filter_map(|answer| answer.as_ref().ok().copied().flatten()));
        assert!(settled.len() as u64 <= CAP, "{} of {CAP}", settled.len());
        if answers.iter().all(Result::is_err) {
            denied = answers.into_iter().find_map(Result::err);
            if matches!(denied, Some(Denial::QuotaExceeded { .. })) {
                break;
            }
            // The units that a node still leases become free when its lease ends.
            clock.advance(LATER);
            for cells in &nodes {
                cells.tend().await.expect("the store answers");
            }
        }
    }
    assert!(matches!(denied, Some(Denial::QuotaExceeded { .. })), "{denied:?}");
    assert_eq!(settled.len() as u64, CAP);
    for usage in settled {
        let receipt = store.receipt(usage).await.expect("read");
        assert!(receipt.is_some_and(|receipt| receipt.units == 1), "{usage}");
    }
    let month = Period::calendar_month(now());
    let shown = store.usage(organization_id(1), now(), month, Grouping::Day).await;
    assert_eq!(shown.expect("read").map(|usage| usage.units), Some(CAP));
}
