//! Usage, receipts and idempotency records in memory.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use driftlock_domain::alert::{crossed, reached};
use driftlock_domain::audit::AuditRecord;
use driftlock_domain::denial::{Fault, FaultKind};
use driftlock_domain::entitlement::Terms;
use driftlock_domain::id::{KeyId, NodeId, OrganizationId, UsageId};
use driftlock_domain::idempotency::{Claim, Claimed, IdempotencyKey, KEPT_SECS, Kept};
use driftlock_domain::lease::{LeaseAsk, LeaseGrant, LeaseGrantor};
use driftlock_domain::period::{Period, PeriodId};
use driftlock_domain::receipt::Receipt;
use driftlock_domain::time::Timestamp;
use driftlock_domain::usage::{
    BUCKET_SECS, Grouping, Settled, Settlement, UsageBucket, UsageSummary,
};

use super::{Event, MemoryStore, OpenLedger, State};
use crate::ports::{Ledger, UsageRecords};

const DAY_SECS: i64 = 86_400;
/// The period of usage ids that were voided before they were settled.
const UNKNOWN: PeriodId = PeriodId(0);

impl Ledger for MemoryStore {
    async fn lease(
        &self,
        organization: OrganizationId,
        node: NodeId,
        ask: &LeaseAsk,
        now: Timestamp,
    ) -> Result<LeaseGrant, Fault> {
        let mut state = self.state();
        let ledger = state.open(organization, ask.terms);
        let news = ledger.lease.apply_terms(ask.terms);
        let grant = ledger.lease.lease(node, ask, self.sharing, now);
        let id = ledger.lease.period_id();
        state.frozen.insert(id, ask.terms.frozen());
        for alert in news.into_iter().flat_map(|used| reached(organization, ask.terms, used, now)) {
            state.outbox.raise(alert);
        }
        Ok(grant)
    }

    async fn settle(&self, settlement: Settlement, now: Timestamp) -> Result<Settled, Fault> {
        let mut state = self.state();
        if let Some(event) = state.events.get(&settlement.usage) {
            let (at, period) = (event.receipt.at, event.period);
            let settled = Settled::Repeated { at, period };
            return Ok(if event.voided { Settled::Refused } else { settled });
        }
        if let Some(claim) = &settlement.claim
            && state.kept.get(&claim.key).is_some_and(|(_, at)| *at >= oldest(now))
        {
            return Ok(Settled::Refused);
        }
        state.settle(settlement, now)
    }

    async fn void(&self, organization: OrganizationId, usage: UsageId) -> Result<(), Fault> {
        let mut state = self.state();
        let state = &mut *state;
        let event = state.events.entry(usage).or_insert_with(|| unknown(organization, usage));
        if event.voided || event.receipt.organization_id != organization {
            return Ok(());
        }
        let at = event.receipt.at;
        if state.outbox.is_sealed(organization, event.period, at) {
            let cause = format!("{usage} is in a sealed bucket");
            return Err(Fault::new(FaultKind::Conflict, cause));
        }
        event.voided = true;
        let (units, period, at) = (event.receipt.units, event.period, event.receipt.at);
        if let Some(ledger) = state.ledgers.get_mut(&organization)
            && ledger.lease.period_id() == period
        {
            ledger.lease.unsettle(u64::from(units));
        }
        state.kept.retain(|_, (kept, _)| kept.usage != usage);
        state.append(organization, voided(usage, at));
        Ok(())
    }
}

impl UsageRecords for MemoryStore {
    async fn usage(
        &self,
        organization: OrganizationId,
        at: Timestamp,
        in_force: Period,
        grouping: Grouping,
    ) -> Result<Option<UsageSummary>, Fault> {
        let state = self.state();
        let mut counted: Vec<&Receipt> = Vec::new();
        let period = if state.is_coming(organization, at, in_force) {
            let known = state.periods.iter().position(|known| *known == (organization, in_force));
            let id = known.map_or(UNKNOWN, number);
            counted.extend(state.misplaced(organization, id, in_force));
            counted.extend(state.counted(organization, id));
            in_force
        } else {
            let Some((id, period)) = state.period_at(organization, at, in_force) else {
                return Ok(None);
            };
            counted.extend(state.counted(organization, id));
            period
        };
        let mut buckets: BTreeMap<String, UsageBucket> = BTreeMap::new();
        for Receipt { units, key_id, route, at, .. } in counted {
            let start = match grouping {
                Grouping::Hour => Some(at.floor_to(BUCKET_SECS)),
                Grouping::Day => Some(at.floor_to(DAY_SECS)),
                Grouping::Key | Grouping::Route => None,
            };
            let key_id = (grouping == Grouping::Key).then_some(*key_id);
            let route = (grouping == Grouping::Route).then(|| route.clone());
            let place = format!("{start:?}{key_id:?}{route:?}");
            let bucket = UsageBucket { start, key_id, route, units: 0, requests: 0 };
            let bucket = buckets.entry(place).or_insert(bucket);
            bucket.units += u64::from(*units);
            bucket.requests += 1;
        }
        let buckets: Vec<UsageBucket> = buckets.into_values().collect();
        let units = buckets.iter().map(|bucket| bucket.units).sum();
        let place = state.periods.iter().position(|known| *known == (organization, period));
        let terms = place.and_then(|place| state.frozen.get(&number(place)).copied());
        Ok(Some(UsageSummary { period, terms, units, buckets }))
    }

    async fn receipt(&self, usage: UsageId) -> Result<Option<Receipt>, Fault> {
        let state = self.state();
        let event = state.events.get(&usage).filter(|event| !event.voided);
        Ok(event.map(|event| event.receipt.clone()))
    }

    async fn kept(
        &self,
        _organization: OrganizationId,
        key: &IdempotencyKey,
        now: Timestamp,
    ) -> Result<Option<Kept>, Fault> {
        let state = self.state();
        let kept = state.kept.get(key).filter(|(_, at)| *at >= oldest(now));
        Ok(kept.map(|(kept, _)| kept.clone()))
    }

    async fn claim(
        &self,
        organization: OrganizationId,
        claim: &Claim,
        usage: UsageId,
        lifetime: Duration,
        now: Timestamp,
    ) -> Result<Claimed, Fault> {
        if let Some(kept) = self.kept(organization, &claim.key, now).await? {
            return Ok(Claimed::Kept(kept));
        }
        Ok(self.state().claims.claim(claim, usage, now.plus(lifetime), now))
    }

    async fn unclaim(
        &self,
        _organization: OrganizationId,
        key: &IdempotencyKey,
        usage: UsageId,
    ) -> Result<(), Fault> {
        self.state().claims.end(key, usage);
        Ok(())
    }

    async fn purge_kept(&self, now: Timestamp) -> Result<u64, Fault> {
        let mut state = self.state();
        let before = state.kept.len();
        state.kept.retain(|_, (_, at)| *at >= oldest(now));
        state.claims.purge(now);
        let unknown_since = UsageId::make(oldest(now), [0; 10]);
        state.events.retain(|id, event| event.period != UNKNOWN || *id >= unknown_since);
        Ok((before - state.kept.len()) as u64)
    }
}

impl State {
    fn settle(&mut self, settlement: Settlement, now: Timestamp) -> Result<Settled, Fault> {
        let organization = settlement.organization;
        let known = self.ledgers.get(&organization);
        let known = known.ok_or_else(|| Fault::store("a settlement without a lease"))?;
        if known.lease.period().end <= now {
            let period = known.lease.period().provisional(now);
            let (id, used) = self.period(organization, period);
            let ledger = self.ledgers.get_mut(&organization).expect("it was there");
            ledger.lease.change_period(id, period, used);
            self.frozen.insert(id, ledger.lease.terms().frozen());
        }
        let ledger = self.ledgers.get_mut(&organization).expect("it was there");
        let at = now.max(ledger.last_at);
        let units = u64::from(settlement.units);
        let Ok(lease) = ledger.lease.settle(settlement.node, units, at) else {
            return Ok(Settled::Refused);
        };
        ledger.last_at = at;
        let period = ledger.lease.period_id();
        let (used, terms) = (ledger.lease.used(), ledger.lease.terms());
        let before = used.saturating_sub(units);
        for alert in crossed(organization, terms, before, used, at) {
            self.outbox.raise(alert);
        }
        if let Some(claim) = settlement.claim {
            let (fingerprint, usage) = (claim.fingerprint, settlement.usage);
            let answer = settlement.answer.map(Arc::unwrap_or_clone);
            self.claims.end(&claim.key, usage);
            self.kept.insert(claim.key, (Kept { fingerprint, usage, answer }, at));
        }
        let receipt = Receipt {
            id: settlement.usage,
            organization_id: organization,
            key_id: settlement.key,
            route: settlement.route.to_string(),
            units: settlement.units,
            request_id: settlement.request_id.to_string(),
            at,
        };
        self.events.insert(settlement.usage, Event { receipt, period, voided: false });
        self.append(organization, settlement.audit);
        Ok(Settled::Committed { at, period, lease })
    }

    fn open(&mut self, organization: OrganizationId, terms: Terms) -> &mut OpenLedger {
        let known = self.ledgers.get(&organization);
        if known.is_none_or(|ledger| ledger.lease.period() != terms.period) {
            let (id, used) = self.period(organization, terms.period);
            match self.ledgers.get_mut(&organization) {
                Some(ledger) => ledger.lease.change_period(id, terms.period, used),
                None => {
                    let lease = LeaseGrantor::open(id, terms, used);
                    self.ledgers
                        .insert(organization, OpenLedger { lease, last_at: Timestamp::default() });
                }
            }
        }
        self.ledgers.get_mut(&organization).expect("it is there now")
    }

    /// A period's number and the units used in it. A period that was learned late takes over the
    /// usage that was settled within its time under another period.
    fn period(&mut self, organization: OrganizationId, period: Period) -> (PeriodId, u64) {
        let wanted = (organization, period);
        let place = self.periods.iter().position(|known| *known == wanted).unwrap_or_else(|| {
            self.periods.push(wanted);
            self.periods.len() - 1
        });
        let id = number(place);
        let moved: Vec<UsageId> =
            self.misplaced(organization, id, period).map(|receipt| receipt.id).collect();
        for usage in moved {
            self.events.entry(usage).and_modify(|event| event.period = id);
        }
        let used = self.counted(organization, id).map(|receipt| u64::from(receipt.units)).sum();
        (id, used)
    }

    /// The receipts within a period's time that count in another period and are not sealed.
    fn misplaced(
        &self,
        organization: OrganizationId,
        id: PeriodId,
        period: Period,
    ) -> impl Iterator<Item = &Receipt> {
        let is_misplaced = move |event: &&Event| {
            let at = event.receipt.at;
            let own = event.receipt.organization_id == organization && !event.voided;
            own && event.period != id
                && period.contains(at)
                && !self.outbox.is_sealed(organization, event.period, at)
        };
        self.events.values().filter(is_misplaced).map(|event| &event.receipt)
    }

    /// Whether the ledger has not changed to the period in force at an instant yet.
    fn is_coming(&self, organization: OrganizationId, at: Timestamp, in_force: Period) -> bool {
        let ledger = self.ledgers.get(&organization).map(|ledger| ledger.lease.period());
        in_force.contains(at)
            && ledger.is_some_and(|ledger| ledger.start <= at && ledger != in_force)
    }

    fn period_at(
        &self,
        organization: OrganizationId,
        at: Timestamp,
        in_force: Period,
    ) -> Option<(PeriodId, Period)> {
        let known = self.periods.iter().enumerate().filter_map(|(place, (of, period))| {
            (*of == organization && period.contains(at)).then_some((number(place), *period))
        });
        known.max_by_key(|(id, period)| {
            let counts = self.counted(organization, *id).next().is_some();
            (*period == in_force, counts, *id)
        })
    }

    pub(super) fn counted(
        &self,
        organization: OrganizationId,
        period: PeriodId,
    ) -> impl Iterator<Item = &Receipt> {
        self.events
            .values()
            .filter(move |event| !event.voided && event.period == period)
            .map(|event| &event.receipt)
            .filter(move |receipt| receipt.organization_id == organization)
    }
}

/// The number of the period at a place.
fn number(place: usize) -> PeriodId {
    PeriodId(i64::try_from(place).unwrap_or(i64::MAX - 1) + 1)
}

/// The record for a usage id that is voided before it was settled, so that it never is settled.
fn unknown(organization_id: OrganizationId, id: UsageId) -> Event {
    let receipt = Receipt {
        id,
        organization_id,
        key_id: KeyId::from_bytes([0; 16]),
        route: String::new(),
        units: 0,
        request_id: String::new(),
        at: Timestamp::default(),
    };
    Event { receipt, period: UNKNOWN, voided: true }
}

fn oldest(now: Timestamp) -> Timestamp {
    now.minus(Duration::from_secs(KEPT_SECS))
}

fn voided(usage: UsageId, at: Timestamp) -> AuditRecord {
    AuditRecord {
        at,
        actor: "system".into(),
        action: "usage.void".into(),
        resource: usage.to_string().into(),
        outcome: "ok".into(),
        request_id: "".into(),
        ip: "".into(),
        details: r#"{"reason":"the settlement's outcome was unknown to the client"}"#.into(),
    }
}
