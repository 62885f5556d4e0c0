//! Settlement: usage, audit entry, idempotency record and outbox in one commit.

use driftlock_domain::alert::crossed;
use driftlock_domain::audit::AuditRecord;
use driftlock_domain::denial::{Fault, FaultKind};
use driftlock_domain::id::{KeyId, OrganizationId, UsageId};
use driftlock_domain::period::PeriodId;
use driftlock_domain::time::Timestamp;
use driftlock_domain::usage::{Settled, Settlement};

use crate::alerts;
use crate::counters::{Change, Place, hour};
use crate::idempotency;
use crate::ledger_cache::LedgerCache;
use crate::sql::Sql;

/// A settlement as stored.
struct Event {
    place: Place,
    units: u32,
    at: Timestamp,
    voided: bool,
}

impl LedgerCache {
    /// Settles a request, once per usage id. The inner fault means that no units were ever leased
    /// to the organization; nothing was written then.
    ///
    /// # Errors
    /// When the database fails; the transaction must be rolled back.
    pub fn settle(
        &mut self,
        sql: &impl Sql,
        settlement: Settlement,
        now: Timestamp,
    ) -> Result<Result<Settled, Fault>, Fault> {
        let Settlement { usage, organization, key, route, units, .. } = &settlement;
        if let Some(claim) = &settlement.claim
            && idempotency::held_by_another(sql, claim, *usage, now)?
        {
            return Ok(Ok(Settled::Refused));
        }
        let route = self.route(sql, route)?;
        let Some(ledger) = self.open_known(sql, *organization, now)? else {
            let unleased = Fault::store("a settlement for which no units were leased");
            return Ok(earlier(sql, *usage)?.ok_or(unleased));
        };
        let at = now.max(ledger.last_at);
        let period = ledger.lease.period_id();
        let insert = "INSERT INTO usage_events \
                      (id, organization, key, route, units, period, at, request_id) \
                      VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT (id) DO NOTHING";
        let values = [
            usage.as_bytes().into(),
            organization.as_bytes().into(),
            key.as_bytes().into(),
            route.into(),
            (*units).into(),
            period.0.into(),
            at.micros().into(),
            (&*settlement.request_id).into(),
        ];
        // Nearly all settlements are new: insert first, and look up the id only on a conflict.
        if sql.execute(insert, &values)? == 0 {
            return Ok(Ok(earlier(sql, *usage)?.unwrap_or(Settled::Refused)));
        }
        let Ok(lease) = ledger.lease.settle(settlement.node, u64::from(*units), at) else {
            sql.execute("DELETE FROM usage_events WHERE id = ?1", &[usage.as_bytes().into()])?;
            return Ok(Ok(Settled::Refused));
        };
        ledger.last_at = at;
        let (used, terms) = (ledger.lease.used(), ledger.lease.terms());
        let place = Place { organization: *organization, period, hour: hour(at), key: *key, route };
        self.counters.count(place, *units, Change::Add);
        self.counters.settled(period, at);
        self.group.settlements += 1;
        self.group.units += u64::from(*units);
        if let Some(claim) = &settlement.claim {
            idempotency::store(sql, claim, *usage, settlement.answer.as_deref(), at)?;
        }
        let before = used.saturating_sub(u64::from(*units));
        alerts::raise_all(sql, crossed(*organization, terms, before, used, at))?;
        self.append(sql, *organization, settlement.audit)?;
        Ok(Ok(Settled::Committed { at, period, lease }))
    }

    /// Voids a settlement. An unknown one is refused when it arrives later. The inner fault means
    /// that Stripe may already have its report; nothing was written then.
    ///
    /// # Errors
    /// When the database fails; the transaction must be rolled back.
    pub fn void(
        &mut self,
        sql: &impl Sql,
        organization: OrganizationId,
        usage: UsageId,
    ) -> Result<Result<(), Fault>, Fault> {
        let Some(Event { place, units, at, voided }) = event(sql, usage)? else {
            return refuse(sql, organization, usage).map(Ok);
        };
        if voided || place.organization != organization {
            return Ok(Ok(()));
        }
        let sealed = "SELECT EXISTS (SELECT 1 FROM meter_outbox WHERE organization = ?1 \
                      AND period = ?2 AND hour = ?3 AND sealed_at IS NOT NULL)";
        let bucket = [organization.as_bytes().into(), place.period.0.into(), place.hour.into()];
        if sql.first(sealed, &bucket, |row| row.int(0))? == Some(1) {
            let cause = format!("{usage} is in a sealed bucket");
            return Ok(Err(Fault::new(FaultKind::Conflict, cause)));
        }
        let number = [usage.as_bytes().into()];
        sql.execute("UPDATE usage_events SET voided = 1 WHERE id = ?1", &number)?;
        sql.execute("DELETE FROM idempotency_keys WHERE usage = ?1", &number)?;
        self.counters.count(place, units, Change::Take);
        if let Some(ledger) = self.ledgers.get_mut(&organization)
            && ledger.lease.period_id() == place.period
        {
            ledger.lease.unsettle(u64::from(units));
        }
        self.append(sql, organization, record_of_void(usage, at)).map(Ok)
    }

    fn route(&mut self, sql: &impl Sql, label: &str) -> Result<i64, Fault> {
        if let Some(id) = self.routes.get(label) {
            return Ok(*id);
        }
        let insert = "INSERT INTO routes (label) VALUES (?1) ON CONFLICT (label) DO NOTHING";
        sql.execute(insert, &[label.into()])?;
        let id =
            sql.first("SELECT id FROM routes WHERE label = ?1", &[label.into()], |row| row.int(0))?;
        let id = id.ok_or_else(|| Fault::store("a route that was made is not there"))?;
        self.routes.insert(label.to_owned(), id);
        Ok(id)
    }
}

/// Stores the usage id as voided, so that a settlement that arrives later is refused.
fn refuse(sql: &impl Sql, organization: OrganizationId, usage: UsageId) -> Result<(), Fault> {
    let insert = "INSERT INTO usage_events \
                  (id, organization, key, route, units, period, at, request_id, voided) \
                  VALUES (?1, ?2, ?3, 0, 0, 0, 0, '', 1)";
    let no_key = KeyId::from_bytes([0; 16]);
    let values =
        [usage.as_bytes().into(), organization.as_bytes().into(), no_key.as_bytes().into()];
    sql.execute(insert, &values).map(drop)
}

/// Deletes ids that were voided before their settlement arrived and were made before an instant: no
/// settlement arrives so late.
///
/// # Errors
/// When the database fails.
pub(crate) fn purge_refused(sql: &impl Sql, before: Timestamp) -> Result<(), Fault> {
    let delete = "DELETE FROM usage_events WHERE period = 0 AND id < ?1";
    let first = UsageId::make(before, [0; 10]);
    sql.execute(delete, &[first.as_bytes().into()]).map(drop)
}

/// The outcome of an earlier settlement with the same usage id.
fn earlier(sql: &impl Sql, usage: UsageId) -> Result<Option<Settled>, Fault> {
    let known = event(sql, usage)?.map(|event| {
        let (at, period) = (event.at, event.place.period);
        if event.voided { Settled::Refused } else { Settled::Repeated { at, period } }
    });
    Ok(known)
}

fn event(sql: &impl Sql, usage: UsageId) -> Result<Option<Event>, Fault> {
    let query = "SELECT organization, key, route, units, period, at, voided \
                 FROM usage_events WHERE id = ?1";
    sql.first(query, &[usage.as_bytes().into()], |row| {
        let at = Timestamp::from_micros(row.int(5)?);
        let place = Place {
            organization: OrganizationId::from_bytes(row.bytes(0)?),
            key: KeyId::from_bytes(row.bytes(1)?),
            route: row.int(2)?,
            period: PeriodId(row.int(4)?),
            hour: hour(at),
        };
        Ok(Event { place, units: row.number(3)?, at, voided: row.int(6)? != 0 })
    })
}

fn record_of_void(usage: UsageId, at: Timestamp) -> AuditRecord {
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
