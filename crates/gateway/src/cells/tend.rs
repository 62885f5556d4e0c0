//! Periodic work on cells: renews leases, gives unused units back, and voids settlements whose
//! outcome stayed unknown. A failure stops nothing else and is retried in the next round.

use std::sync::atomic::Ordering;

use driftlock_domain::denial::{Fault, FaultKind};
use driftlock_domain::id::{OrganizationId, UsageId};
use driftlock_domain::time::Timestamp;
use futures_util::StreamExt;
use futures_util::stream;

use super::{Asking, IDLE_KEPT, LocalCells, RENEWED_BEFORE, lock};
use crate::ports::{Clock, Ledger};

/// The most settlements that wait to be voided: more than there can be requests in progress.
const VOIDS_MAX: usize = 1 << 20;
/// How many leases are asked for, and settlements voided, at the same time.
const AT_ONCE: usize = 16;
/// How many settlements are voided in one round.
const VOIDED_MAX: usize = 256;

impl<L: Ledger, C: Clock> LocalCells<L, C> {
    /// Runs one round. Returns the first fault, after everything was tried.
    pub(super) async fn tend_once(&self) -> Result<(), Fault> {
        let due = self.due(self.clock.now());
        let renewed = stream::iter(due).map(|organization| self.renew(organization));
        let renewed = first_fault(renewed.buffer_unordered(AT_ONCE)).await;
        let portion: Vec<_> = {
            let mut voids = lock(&self.inner.voids);
            let portion = voids.len().min(VOIDED_MAX);
            voids.drain(..portion).collect()
        };
        // If the round is cancelled, the portion's rest returns to the queue when it is dropped.
        let mut portion = Portion { cells: self, left: portion };
        let voided = portion.void().await;
        renewed.and(voided)
    }

    /// Undoes a settlement, see [`Ledger::void`]. Its units can be used again.
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
            tracing::error!(
                %usage,
                "queue of settlements to void is full: this settlement stays charged"
            );
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

    /// Voids a settlement. If it can never be voided, counts and logs that, and returns `Ok`.
    async fn void_or_report(
        &self,
        organization: OrganizationId,
        usage: UsageId,
    ) -> Result<(), Fault> {
        match self.void(organization, usage).await {
            Err(fault) if fault.kind == FaultKind::Conflict => {
                self.inner.unvoided.fetch_add(1, Ordering::Relaxed);
                let error = fault.cause;
                tracing::error!(
                    %usage, %organization, error,
                    "could not void a settlement: it stays charged although its client got an error"
                );
                Ok(())
            }
            voided => voided,
        }
    }
}

/// Settlements that are being voided. When this is dropped, those that are left are queued again.
struct Portion<'a, L: Ledger, C: Clock> {
    cells: &'a LocalCells<L, C>,
    left: Vec<(OrganizationId, UsageId)>,
}

impl<L: Ledger, C: Clock> Portion<'_, L, C> {
    async fn void(&mut self) -> Result<(), Fault> {
        let cells = self.cells;
        let voids = stream::iter(self.left.clone()).map(|(organization, usage)| async move {
            (usage, cells.void_or_report(organization, usage).await)
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
