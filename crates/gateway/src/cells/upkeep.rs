//! Upkeep of cells: leases are renewed, idle units given back, and settlements whose outcome stayed
//! unknown are voided. What fails stops nothing else, and is tried again at the next round.

use std::sync::atomic::Ordering;

use driftlock_domain::denial::{Fault, FaultKind};
use driftlock_domain::id::{OrganizationId, UsageId};
use driftlock_domain::time::Timestamp;
use futures_util::StreamExt;
use futures_util::stream;

use super::{Asking, IDLE_KEPT, LocalCells, RENEWED_BEFORE, lock};
use crate::ports::{Clock, Ledger};

/// Unknown outcomes remembered: more than requests can be under way.
const VOIDS_MAX: usize = 1 << 20;
/// Leases asked for, and settlements voided, at once.
const AT_ONCE: usize = 16;
/// Settlements voided in one round.
const VOIDED_MAX: usize = 256;

impl<L: Ledger, C: Clock> LocalCells<L, C> {
    /// One round. The first fault, after everything was tried.
    pub(super) async fn look_after(&self) -> Result<(), Fault> {
        let due = self.due(self.clock.now());
        let renewed = stream::iter(due).map(|organization| self.renew(organization));
        let renewed = first_fault(renewed.buffer_unordered(AT_ONCE)).await;
        let portion: Vec<_> = {
            let mut voids = lock(&self.inner.voids);
            let portion = voids.len().min(VOIDED_MAX);
            voids.drain(..portion).collect()
        };
        // A round that is cut short forgets none: what is not done goes back.
        let mut portion = Portion { cells: self, left: portion };
        let voided = portion.void().await;
        renewed.and(voided)
    }

    /// Takes a settlement back, as [`Ledger::void`] does; its units can be admitted again.
    ///
    /// # Errors
    /// As [`Ledger::void`].
    pub async fn void(&self, organization: OrganizationId, usage: UsageId) -> Result<(), Fault> {
        self.ledger.void(organization, usage).await?;
        if let Some(slot) = lock(self.inner.shard(organization)).get_mut(&organization) {
            slot.cell.mark_stale();
        }
        Ok(())
    }

    pub(super) fn void_later(&self, organization: OrganizationId, usage: UsageId) {
        let mut voids = lock(&self.inner.voids);
        if voids.len() < VOIDS_MAX {
            voids.push_back((organization, usage));
        } else {
            self.inner.unvoided.fetch_add(1, Ordering::Relaxed);
            tracing::error!(%usage, "too many unknown settlements: this one has to be voided by hand");
        }
    }

    fn due(&self, now: Timestamp) -> Vec<OrganizationId> {
        let mut due = Vec::new();
        for shard in &self.inner.shards {
            let mut slots = lock(shard);
            if slots.len() > IDLE_KEPT {
                slots.retain(|_, slot| slot.asking || !slot.cell.is_idle(now));
            }
            let before = now.plus(RENEWED_BEFORE);
            let ending = slots
                .iter()
                .filter(|(_, slot)| !slot.asking && slot.cell.renewal(before, now).is_some());
            due.extend(ending.map(|(organization, _)| *organization));
        }
        due
    }

    async fn renew(&self, organization: OrganizationId) -> Result<(), Fault> {
        let asked = self.clock.now();
        let ask = self.with(organization, |slot| {
            let renewal = slot.cell.renewal(asked.plus(RENEWED_BEFORE), asked);
            let ask = renewal.filter(|_| !slot.asking)?;
            slot.ask(&ask);
            Some(ask)
        });
        let Some(ask) = ask else { return Ok(()) };
        Asking::of(self, organization, asked).lease(&ask).await
    }

    /// Voids a settlement, unless it never can be.
    async fn void_or_tell(
        &self,
        organization: OrganizationId,
        usage: UsageId,
    ) -> Result<(), Fault> {
        match self.void(organization, usage).await {
            Err(fault) if fault.kind == FaultKind::Conflict => {
                self.inner.unvoided.fetch_add(1, Ordering::Relaxed);
                let cause = fault.cause;
                tracing::error!(%usage, %organization, cause, "stays charged, although its client was told otherwise");
                Ok(())
            }
            voided => voided,
        }
    }
}

/// Settlements that are being voided; dropped, those that are left wait for the next round.
struct Portion<'a, L: Ledger, C: Clock> {
    cells: &'a LocalCells<L, C>,
    left: Vec<(OrganizationId, UsageId)>,
}

impl<L: Ledger, C: Clock> Portion<'_, L, C> {
    async fn void(&mut self) -> Result<(), Fault> {
        let cells = self.cells;
        let voids = stream::iter(self.left.clone()).map(|(organization, usage)| async move {
            (usage, cells.void_or_tell(organization, usage).await)
        });
        let mut voids = std::pin::pin!(voids.buffer_unordered(AT_ONCE));
        let mut outcome = Ok(());
        while let Some((usage, voided)) = voids.next().await {
            if voided.is_ok() {
                self.left.retain(|(_, left)| *left != usage);
            }
            outcome = outcome.and(voided);
        }
        outcome
    }
}

impl<L: Ledger, C: Clock> Drop for Portion<'_, L, C> {
    fn drop(&mut self) {
        lock(&self.cells.inner.voids).extend(self.left.drain(..));
    }
}

async fn first_fault(outcomes: impl stream::Stream<Item = Result<(), Fault>>) -> Result<(), Fault> {
    outcomes.fold(Ok(()), async |found: Result<(), Fault>, outcome| found.and(outcome)).await
}
