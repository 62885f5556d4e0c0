//! An organization's ledger: it is opened from the database, grants leases and changes periods.

use std::time::Duration;

use driftlock_domain::alert::reached;
use driftlock_domain::denial::Fault;
use driftlock_domain::entitlement::{FrozenTerms, Terms};
use driftlock_domain::id::{KeyId, NodeId, OrganizationId, UsageId};
use driftlock_domain::lease::{LeaseAsk, LeaseGrant, LeaseGrantor, Sharing};
use driftlock_domain::period::{Period, PeriodId};
use driftlock_domain::time::Timestamp;

use crate::alerts;
use crate::counters::{Change, Place, hour};
use crate::ledger_cache::{CachedLedger, LedgerCache, REMEMBERED_MAX};
use crate::shipment;
use crate::sql::{Sql, Value};

/// The maximum time between the creation of a usage id and the commit of its settlement.
pub(crate) const SETTLED_WITHIN: Duration = Duration::from_secs(86_400);

impl LedgerCache {
    /// Renews, extends or gives back a lease.
    ///
    /// # Errors
    /// When the database fails.
    pub fn lease(
        &mut self,
        sql: &impl Sql,
        organization: OrganizationId,
        node: NodeId,
        ask: &LeaseAsk,
        now: Timestamp,
    ) -> Result<LeaseGrant, Fault> {
        self.know(organization, ask.terms);
        self.open_ledger(sql, organization, ask.terms, now)?;
        let ledger = self.ledgers.get_mut(&organization).expect("it was opened just now");
        if ledger.lease.terms() != ask.terms {
            freeze(sql, ledger.lease.period_id(), ask.terms)?;
        }
        let news = ledger.lease.apply_terms(ask.terms);
        let grant = ledger.lease.lease(node, ask, Sharing::Whole, now);
        let alerts = news.into_iter().flat_map(|used| reached(organization, ask.terms, used, now));
        alerts::raise_all(sql, alerts)?;
        Ok(grant)
    }

    /// Remembers the terms of an organization's settlements, if none are known yet.
    pub fn know_if_new(&mut self, organization: OrganizationId, terms: Terms) {
        if !self.terms.contains_key(&organization) {
            self.know(organization, terms);
        }
    }

    fn know(&mut self, organization: OrganizationId, terms: Terms) {
        self.terms.insert(organization, terms);
    }

    /// The ledger, changed to the period that contains `now`; `None` if the organization's terms
    /// are unknown, since no lease was requested yet.
    pub(crate) fn open_known(
        &mut self,
        sql: &impl Sql,
        organization: OrganizationId,
        now: Timestamp,
    ) -> Result<Option<&mut CachedLedger>, Fault> {
        let Some(terms) = self.terms.get(&organization).copied() else { return Ok(None) };
        let period = match self.ledgers.get(&organization) {
            Some(ledger) => ledger.lease.period().provisional(now),
            None => terms.period.provisional(now),
        };
        self.open_ledger(sql, organization, Terms { period, ..terms }, now)?;
        Ok(self.ledgers.get_mut(&organization))
    }

    fn open_ledger(
        &mut self,
        sql: &impl Sql,
        organization: OrganizationId,
        terms: Terms,
        now: Timestamp,
    ) -> Result<(), Fault> {
        if self
            .ledgers
            .get(&organization)
            .is_some_and(|ledger| ledger.lease.period() == terms.period)
        {
            return Ok(());
        }
        // Sums are read from the counters, so write the group's changes first.
        self.write_counters(sql)?;
        let (id, last_at) = period(sql, organization, terms.period)?;
        freeze(sql, id, terms)?;
        self.take_over(sql, organization, id, terms.period, now)?;
        let used = used(sql, organization, id)?;
        if self.ledgers.len() >= REMEMBERED_MAX {
            self.ledgers.clear();
        }
        match self.ledgers.get_mut(&organization) {
            Some(ledger) => ledger.lease.change_period(id, terms.period, used),
            None => {
                let lease = LeaseGrantor::open(id, terms, used);
                self.ledgers.insert(organization, CachedLedger { lease, last_at });
            }
        }
        Ok(())
    }

    /// Moves settlements within the bounds of a period that became known late from other periods to
    /// this one, except those in sealed buckets.
    fn take_over(
        &mut self,
        sql: &impl Sql,
        organization: OrganizationId,
        id: PeriodId,
        period: Period,
        now: Timestamp,
    ) -> Result<(), Fault> {
        if now < period.start {
            return Ok(());
        }
        let others = "SELECT EXISTS (SELECT 1 FROM billing_periods WHERE organization = ?1 \
                      AND id <> ?2 AND starts_at < ?4 AND ends_at > ?3 AND last_settled_at >= ?3)";
        let (start, end) = (period.start.micros(), period.end.micros());
        let values = [organization.as_bytes().into(), id.0.into(), start.into(), end.into()];
        if sql.first(others, &values, |row| row.int(0))? != Some(1) {
            return Ok(());
        }
        let misplaced = misplaced(sql, organization, id, period)?;
        let hour = misplaced.iter().map(|(_, place, ..)| place.hour).min();
        let usage = misplaced.iter().map(|(usage, ..)| *usage).min();
        if let (Some(hour), Some(usage)) = (hour, usage) {
            shipment::mirror_again(sql, Timestamp::from_secs(hour), usage)?;
        }
        for (usage, place, units, at) in misplaced {
            self.counters.count(place, units, Change::Take);
            self.counters.count(Place { period: id, ..place }, units, Change::Add);
            // A period that becomes known later may take them over again: it must find this period.
            self.counters.settled(id, at);
            let update = "UPDATE usage_events SET period = ?2 WHERE id = ?1";
            sql.execute(update, &[usage.as_bytes().into(), id.0.into()])?;
        }
        self.write_counters(sql)?;
        record_settled_until(sql, organization, id, period)
    }
}

/// Records the end of a complete takeover in the periods' `last_settled_at`, so that later period
/// changes do not search the other periods again. Periods with sealed buckets are not changed,
/// since sealed usage does not move.
fn record_settled_until(
    sql: &impl Sql,
    organization: OrganizationId,
    id: PeriodId,
    period: Period,
) -> Result<(), Fault> {
    let others = "organization = ?1 AND id <> ?2 AND starts_at < ?4 AND ends_at > ?3 \
                  AND last_settled_at >= ?3 AND last_settled_at < ?4 AND NOT EXISTS (SELECT 1 \
                  FROM meter_outbox o WHERE o.organization = ?1 AND o.period = p.id \
                  AND o.sealed_at IS NOT NULL AND (o.hour + 3600) * 1000000 > ?3)";
    let (start, end) = (period.start.micros(), period.end.micros());
    let values = [organization.as_bytes().into(), id.0.into(), start.into(), end.into()];
    let takes = format!(
        "UPDATE billing_periods SET last_settled_at = max(last_settled_at, coalesce(\
         (SELECT max(last_settled_at) FROM billing_periods p WHERE {others}), 0)) WHERE id = ?2"
    );
    sql.execute(&takes, &values)?;
    let leaves = format!("UPDATE billing_periods AS p SET last_settled_at = ?3 - 1 WHERE {others}");
    sql.execute(&leaves, &values).map(drop)
}

/// Records the terms of a period's leases; the closed period is shown with these terms.
fn freeze(sql: &impl Sql, id: PeriodId, terms: Terms) -> Result<(), Fault> {
    let update = "UPDATE billing_periods SET included = ?2, base_micros = ?3, overage_micros = ?4 \
                  WHERE id = ?1";
    let FrozenTerms { included, price } = terms.frozen();
    let values = [
        id.0.into(),
        included.into(),
        price.base_micros.into(),
        price.overage_micros.map_or(Value::Null, Value::from),
    ];
    sql.execute(update, &values).map(drop)
}

/// The period's id, created if needed, and the time of the organization's last settlement.
fn period(
    sql: &impl Sql,
    organization: OrganizationId,
    period: Period,
) -> Result<(PeriodId, Timestamp), Fault> {
    let (start, end) = (period.start.micros(), period.end.micros());
    let bounds = [organization.as_bytes().into(), start.into(), end.into()];
    let insert = "INSERT INTO billing_periods (organization, starts_at, ends_at) \
                  VALUES (?1, ?2, ?3) ON CONFLICT (organization, starts_at, ends_at) DO NOTHING";
    sql.execute(insert, &bounds)?;
    let query = "SELECT id, (SELECT max(last_settled_at) FROM billing_periods \
                 WHERE organization = ?1) FROM billing_periods \
                 WHERE organization = ?1 AND starts_at = ?2 AND ends_at = ?3";
    let found = sql.first(query, &bounds, |row| {
        let last_at = row.maybe_int(1)?.unwrap_or(0);
        Ok((PeriodId(row.int(0)?), Timestamp::from_micros(last_at)))
    })?;
    found.ok_or_else(|| Fault::store("a period that was made is not there"))
}

fn misplaced(
    sql: &impl Sql,
    organization: OrganizationId,
    id: PeriodId,
    period: Period,
) -> Result<Vec<(UsageId, Place, u32, Timestamp)>, Fault> {
    let query = "SELECT e.id, e.key, e.route, e.units, e.period, e.at FROM usage_events e \
                 WHERE e.id >= ?5 AND e.organization = ?1 AND e.period <> ?2 \
                 AND e.at >= ?3 AND e.at < ?4 AND e.voided = 0 AND NOT EXISTS \
                 (SELECT 1 FROM meter_outbox o WHERE o.organization = e.organization \
                 AND o.period = e.period AND o.hour = e.at / 3600000000 * 3600 \
                 AND o.sealed_at IS NOT NULL)";
    let first = UsageId::make(period.start.minus(SETTLED_WITHIN), [0; 10]);
    let values = [
        organization.as_bytes().into(),
        id.0.into(),
        period.start.micros().into(),
        period.end.micros().into(),
        first.as_bytes().into(),
    ];
    sql.query(query, &values, |row| {
        let at = Timestamp::from_micros(row.int(5)?);
        let place = Place {
            organization,
            period: PeriodId(row.int(4)?),
            hour: hour(at),
            key: KeyId::from_bytes(row.bytes(1)?),
            route: row.int(2)?,
        };
        Ok((UsageId::from_bytes(row.bytes(0)?), place, row.number(3)?, at))
    })
}

fn used(sql: &impl Sql, organization: OrganizationId, period: PeriodId) -> Result<u64, Fault> {
    let query = "SELECT coalesce(sum(units), 0) FROM usage_counters \
                 WHERE organization = ?1 AND period = ?2";
    let values = [organization.as_bytes().into(), period.0.into()];
    Ok(sql.first(query, &values, |row| row.number(0))?.unwrap_or(0))
}
