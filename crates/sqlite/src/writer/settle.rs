//! Settling: usage, audit row, idempotency record and outbox in one commit.

use driftlock_domain::audit::AuditRecord;
use driftlock_domain::denial::Fault;
use driftlock_domain::id::{KeyId, OrganizationId, UsageId};
use driftlock_domain::period::PeriodId;
use driftlock_domain::time::Timestamp;
use driftlock_domain::usage::{Settled, Settlement};
use rusqlite::{OptionalExtension, params};

use super::Writer;
use super::counters::{Change, Place, hour};

/// A row of the ledger.
struct Event {
    place: Place,
    units: u32,
    at: Timestamp,
    voided: bool,
}

impl Writer {
    /// Settles, once per usage id.
    pub(crate) fn settle(
        &mut self,
        settlement: Settlement,
        now: Timestamp,
    ) -> rusqlite::Result<Result<Settled, Fault>> {
        if let Some(event) = self.event(settlement.usage)? {
            let (at, period) = (event.at, event.place.period);
            let settled = Settled::Committed { at, period };
            return Ok(Ok(if event.voided { Settled::Refused } else { settled }));
        }
        let Settlement { usage, organization, key, route, units, .. } = &settlement;
        if let Some(claim) = &settlement.claim
            && self.held_by_another(claim, *usage, now)?
        {
            return Ok(Ok(Settled::Refused));
        }
        if let Err(fault) = self.open_known(*organization, now)? {
            return Ok(Err(fault));
        }
        let book = self.books.get_mut(organization).expect("it was opened just now");
        let at = now.max(book.last_at);
        if book.lease.settle(settlement.node, u64::from(*units), at).is_err() {
            return Ok(Ok(Settled::Refused));
        }
        book.last_at = at;
        let period = book.lease.period_id();
        let route = self.route(route)?;
        let insert = "INSERT INTO usage_events \
                      (id, organization, key, route, units, period, at, request_id) \
                      VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
        self.connection.prepare_cached(insert)?.execute(params![
            usage.as_bytes(),
            organization.as_bytes(),
            key.as_bytes(),
            route,
            units,
            period.0,
            at.micros(),
            settlement.request_id,
        ])?;
        let place = Place { organization: *organization, period, hour: hour(at), key: *key, route };
        self.counters.count(place, *units, Change::Add);
        self.counters.settled(period, at);
        if let Some(claim) = &settlement.claim {
            self.claim(claim, *usage, at)?;
        }
        self.append(*organization, settlement.audit)?;
        Ok(Ok(Settled::Committed { at, period }))
    }

    /// Takes a settlement back, unless Stripe may know of it already.
    pub(crate) fn void(
        &mut self,
        organization: OrganizationId,
        usage: UsageId,
    ) -> rusqlite::Result<Result<(), Fault>> {
        let event = self.event(usage)?.filter(|event| !event.voided);
        let Some(Event { place, units, at, .. }) = event else { return Ok(Ok(())) };
        if place.organization != organization {
            return Ok(Ok(()));
        }
        let sealed = "SELECT EXISTS (SELECT 1 FROM meter_outbox WHERE organization = ?1 \
                      AND period = ?2 AND hour = ?3 AND sealed_at IS NOT NULL)";
        let bucket = params![organization.as_bytes(), place.period.0, place.hour];
        if self.connection.prepare_cached(sealed)?.query_row(bucket, |row| row.get(0))? {
            return Ok(Err(Fault::store(format!("{usage} is in a sealed bucket"))));
        }
        let update = "UPDATE usage_events SET voided = 1 WHERE id = ?1";
        self.connection.prepare_cached(update)?.execute([usage.as_bytes()])?;
        let delete = "DELETE FROM idempotency_keys WHERE usage = ?1";
        self.connection.prepare_cached(delete)?.execute([usage.as_bytes()])?;
        self.counters.count(place, units, Change::Take);
        if let Some(book) = self.books.get_mut(&organization)
            && book.lease.period_id() == place.period
        {
            book.lease.unsettle(u64::from(units));
        }
        self.append(organization, voided(usage, at))?;
        Ok(Ok(()))
    }

    fn event(&self, usage: UsageId) -> rusqlite::Result<Option<Event>> {
        let query = "SELECT organization, key, route, units, period, at, voided \
                     FROM usage_events WHERE id = ?1";
        let read = |row: &rusqlite::Row<'_>| {
            let at = Timestamp::from_micros(row.get(5)?);
            let place = Place {
                organization: OrganizationId::from_bytes(row.get(0)?),
                key: KeyId::from_bytes(row.get(1)?),
                route: row.get(2)?,
                period: PeriodId(row.get(4)?),
                hour: hour(at),
            };
            Ok(Event { place, units: row.get(3)?, at, voided: row.get(6)? })
        };
        self.connection.prepare_cached(query)?.query_row([usage.as_bytes()], read).optional()
    }

    fn route(&mut self, label: &str) -> rusqlite::Result<i64> {
        if let Some(id) = self.routes.get(label) {
            return Ok(*id);
        }
        let insert = "INSERT OR IGNORE INTO routes (label) VALUES (?1)";
        self.connection.execute(insert, [label])?;
        let query = "SELECT id FROM routes WHERE label = ?1";
        let id = self.connection.query_row(query, [label], |row| row.get(0))?;
        self.routes.insert(label.to_owned(), id);
        Ok(id)
    }
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
