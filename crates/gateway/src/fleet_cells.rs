//! Admission by this node's cells and, if the node belongs to a fleet, by the fleet's rate limits.
//!
//! The cell decides first, so a request that it denies (rate limits, quota, no units to lease) does
//! not reach the fleet's store. A request that the cell admits is then checked by the fleet. If the
//! fleet refuses it, or the client disconnects during the check, the hold is released. If the
//! fleet does not answer, the cell's decision applies: there are always at least per-node limits.
//! Without a fleet the check costs nothing: its future is boxed, so other requests do not carry it.

use std::sync::Arc;

use driftlock_domain::cell::{Admitted, Charge, Hold};
use driftlock_domain::denial::Fault;
use driftlock_domain::fleet::Share;
use driftlock_domain::id::{NodeId, OrganizationId, UsageId};
use driftlock_domain::idempotency::IdempotencyKey;
use driftlock_domain::usage::{Settled, Settlement};

use crate::cells::LocalCells;
use crate::metrics::FleetGauges;
use crate::ports::{Admission, Clock, FleetLimits, Ledger, Refusal};

/// The cells of a node, and the fleet's rate limits if it belongs to one.
#[derive(Debug)]
pub struct FleetCells<L, C, F> {
    cells: LocalCells<L, C>,
    fleet: Option<(F, Arc<FleetGauges>)>,
}

impl<L, C, F> FleetCells<L, C, F> {
    /// Combines the cells of a node with the fleet's limits and their gauges, if it has a fleet.
    pub fn new(cells: LocalCells<L, C>, fleet: Option<(F, Arc<FleetGauges>)>) -> Self {
        Self { cells, fleet }
    }
}

impl<L: Ledger, C: Clock, F: FleetLimits> FleetCells<L, C, F> {
    async fn ask(
        &self,
        (fleet, gauges): &(F, Arc<FleetGauges>),
        organization: OrganizationId,
        charge: &Charge,
        admitted: Admitted,
    ) -> Result<Admitted, Refusal> {
        let claim = charge.hold.as_ref().and_then(|ask| ask.claim);
        let mut held = Held { cells: &self.cells, organization, hold: admitted.hold, claim };
        let asked = self.cells.now();
        let share = Share::of(charge);
        let answer = fleet.take(organization, &share).await;
        let Some(answer) = answer else {
            gauges.fell_back();
            held.keep();
            return Ok(admitted);
        };
        gauges.answered();
        let denial = answer.denial(&share);
        if denial.is_none() {
            held.keep();
        }
        // Release the hold before the limits are read: its units belong to the remaining quota.
        drop(held);
        let limits = self.cells.apply_fleet_answer(organization, charge, &answer, asked);
        match denial {
            None => Ok(Admitted { limits, ..admitted }),
            Some(denial) => {
                gauges.refused();
                Err(Refusal::Denied(denial, Some(limits)))
            }
        }
    }
}

impl<L: Ledger, C: Clock, F: FleetLimits> Admission for FleetCells<L, C, F> {
    async fn admit(
        &self,
        organization: OrganizationId,
        charge: &Charge,
    ) -> Result<Admitted, Refusal> {
        let admitted = self.cells.admit(organization, charge).await?;
        match &self.fleet {
            None => Ok(admitted),
            Some(fleet) => Box::pin(self.ask(fleet, organization, charge, admitted)).await,
        }
    }

    async fn settle(&self, settlement: Settlement) -> Result<Settled, Fault> {
        self.cells.settle(settlement).await
    }

    fn release(&self, organization: OrganizationId, hold: Hold, claim: Option<IdempotencyKey>) {
        self.cells.release(organization, hold, claim);
    }

    fn finish(&self, organization: OrganizationId, key: IdempotencyKey, usage: UsageId) {
        self.cells.finish(organization, key, usage);
    }

    async fn tend(&self) -> Result<(), Fault> {
        self.cells.tend().await
    }

    fn voids_pending(&self) -> usize {
        self.cells.voids_pending()
    }

    fn unvoided(&self) -> u64 {
        self.cells.unvoided()
    }

    fn node(&self) -> NodeId {
        self.cells.node()
    }
}

/// A hold that is released on drop, unless it is kept.
struct Held<'a, L: Ledger, C: Clock> {
    cells: &'a LocalCells<L, C>,
    organization: OrganizationId,
    hold: Option<Hold>,
    claim: Option<IdempotencyKey>,
}

impl<L: Ledger, C: Clock> Held<'_, L, C> {
    fn keep(&mut self) {
        self.hold = None;
    }
}

impl<L: Ledger, C: Clock> Drop for Held<'_, L, C> {
    fn drop(&mut self) {
        if let Some(hold) = self.hold {
            self.cells.release(self.organization, hold, self.claim);
        }
    }
}
