//! Period changes: late periods, and changes forth and back. In any order a store counts, shows,
//! seals and voids as the reference store does.

use std::time::Duration;

use driftlock_domain::entitlement::Terms;
use driftlock_domain::id::OrganizationId;
use driftlock_domain::lease::{LeaseAsk, Sharing};
use driftlock_domain::period::Period;
use driftlock_domain::stripe::meter::{PeriodSums, ReportMode, SealRule};
use driftlock_domain::time::Timestamp;
use driftlock_domain::usage::{Grouping, Settlement, UsageSummary};
use driftlock_gateway::memory::MemoryStore;
use driftlock_gateway::ports::{Ledger, UsageRecords, UsageReports};

use super::Store;
use crate::make::{ask, key_id, node, now, organization_id, settlement, terms, usage};

/// In the tenth life an hour is split twice by overlapping bounds, and the part of the first split
/// is taken over again.
const LIVES: u8 = 16;
const STEPS: u64 = 40;
const MINUTE: Duration = Duration::from_secs(60);
const ALWAYS: Period = Period { start: Timestamp::from_micros(0), end: Timestamp::MAX };
const TOTAL: SealRule =
    SealRule { mode: ReportMode::Total, included: 0, service: ALWAYS, in_force: None };

/// Periods around the middle of a month, with bounds within hours, at the ends of hours, and at the
/// instant of a settlement.
fn periods() -> [Period; 8] {
    let minutes = |from: u32, to: u32| Period {
        start: now().plus(from * MINUTE),
        end: now().plus(to * MINUTE),
    };
    let month = terms(None).period;
    let day = Period { start: now().minus(1_440 * MINUTE), end: now().plus(28_800 * MINUTE) };
    let [now_on, later, hour] = [minutes(0, 43_200), minutes(17, 43_217), minutes(35, 95)];
    [month, day, now_on, later, hour, minutes(5, 25), minutes(10, 20), minutes(100, 130)]
}

struct Dice(u64);

impl Dice {
    fn throw(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % sides
    }

    /// A period that contains an instant.
    fn period(&mut self, at: Timestamp) -> Period {
        let all: Vec<Period> = periods().into_iter().filter(|period| period.contains(at)).collect();
        let place = usize::try_from(self.throw(all.len() as u64)).expect("few");
        all[place]
    }
}

pub(super) async fn periods_change_as_in_the_reference(store: impl Store) {
    for life in 1..=LIVES {
        let reference = MemoryStore::new(Sharing::Whole);
        live(&store, &reference, life).await;
    }
}

async fn live(store: &impl Store, reference: &MemoryStore, life: u8) {
    let id = organization_id(life);
    let mut dice = Dice((u64::from(life) + 40) * 7_919);
    let (mut at, mut made) = (now(), Vec::new());
    same(store, reference, id, terms(None).period, at).await;
    for step in 0..STEPS {
        let context = format!("life {life}, step {step}, {at}");
        at = at.plus(Duration::from_secs(dice.throw(420)));
        match dice.throw(16) {
            0..=3 => {
                let period = dice.period(at);
                same(store, reference, id, period, at).await;
            }
            4..=6 if !made.is_empty() => {
                let place = usize::try_from(dice.throw(made.len() as u64)).expect("few");
                let (ours, theirs) = (store.void(id, made[place]), reference.void(id, made[place]));
                assert_eq!(ours.await.is_ok(), theirs.await.is_ok(), "{context}: voided");
            }
            7 => {
                let (ours, theirs) = (store.seal(id, TOTAL, at), reference.seal(id, TOTAL, at));
                assert_eq!(ours.await, theirs.await, "{context}: sealed");
            }
            _ => {
                let number = u64::from(life) * 1_000 + step;
                let one = Settlement {
                    usage: usage(at, number),
                    units: u32::try_from(1 + dice.throw(4)).expect("small"),
                    key: key_id(1 + u8::try_from(dice.throw(3)).expect("small")),
                    ..settlement(life, number)
                };
                made.push(one.usage);
                let (ours, theirs) = (store.settle(one.clone(), at), reference.settle(one, at));
                let is_settled = (ours.await.is_ok(), theirs.await.is_ok());
                assert_eq!(is_settled, (true, true), "{context}: settled");
            }
        }
        let in_force = dice.period(at);
        let grouping = [Grouping::Hour, Grouping::Key][usize::from(step % 2 == 0)];
        let shown = store.usage(id, at, in_force, grouping).await.expect("read");
        let wanted = reference.usage(id, at, in_force, grouping).await.expect("read");
        assert_eq!(sorted(shown), sorted(wanted), "{context}: shown of {in_force:?}");
        assert_eq!(sums(store, id).await, sums(reference, id).await, "{context}: sums");
    }
}

/// Both stores change to a period and report the same usage in it.
async fn same(
    store: &impl Store,
    reference: &MemoryStore,
    id: OrganizationId,
    period: Period,
    at: Timestamp,
) {
    let learned = LeaseAsk { terms: Terms { period, ..terms(None) }, ..ask(None, 0, 1) };
    let ours = store.lease(id, node(1), &learned, at).await.expect("leased");
    let theirs = reference.lease(id, node(1), &learned, at).await.expect("leased");
    assert_eq!(ours.used, theirs.used, "{id}, {at}: used of {period:?}");
}

fn sorted(shown: Option<UsageSummary>) -> Option<UsageSummary> {
    shown.map(|mut shown| {
        shown.buckets.sort_by_key(|bucket| (bucket.start, bucket.key_id));
        shown
    })
}

/// The sums of periods that have or had usage.
async fn sums(store: &impl Store, id: OrganizationId) -> Vec<PeriodSums> {
    let mut sums = store.report_sums(id, 99).await.expect("read");
    sums.retain(|sums| sums.settled + sums.sealed > 0);
    sums.sort_by_key(|sums| sums.period);
    sums
}
