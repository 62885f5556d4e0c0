//! The authority over an organization's units: its book, opened from the database.

use std::time::Duration;

use driftlock_domain::denial::Fault;
use driftlock_domain::entitlement::Terms;
use driftlock_domain::id::{KeyId, NodeId, OrganizationId, UsageId};
use driftlock_domain::lease::{LeaseAsk, LeaseBook, LeaseGrant, Sharing};
use driftlock_domain::period::{Period, PeriodId};
use driftlock_domain::time::Timestamp;
use rusqlite::{OptionalExtension, params};

use super::counters::{Change, Place, hour};
use super::{Book, REMEMBERED_MAX, Writer};
use crate::rows::uint;

/// A usage id is made this long at most before its settlement commits.
const SETTLED_WITHIN: Duration = Duration::from_secs(86_400);

impl Writer {
    /// Renews, extends or gives back a lease.
    pub(crate) fn lease(
        &mut self,
        organization: OrganizationId,
        node: NodeId,
        ask: &LeaseAsk,
        now: Timestamp,
    ) -> rusqlite::Result<LeaseGrant> {
        self.terms.insert(organization, ask.terms);
        self.open_book(organization, ask.terms, now)?;
        let book = self.books.get_mut(&organization).expect("it was opened just now");
        Ok(book.lease.lease(node, ask, Sharing::Whole, now))
    }

    /// The book, turned to the period that holds `now`; `None` when no lease was ever asked for.
    pub(super) fn open_known(
        &mut self,
        organization: OrganizationId,
        now: Timestamp,
    ) -> rusqlite::Result<Result<(), Fault>> {
        let Some(terms) = self.terms.get(&organization).copied() else {
            return Ok(Err(Fault::store("a settlement for which no units were leased")));
        };
        let period = match self.books.get(&organization) {
            Some(book) => book.lease.period().provisional(now),
            None => terms.period.provisional(now),
        };
        self.open_book(organization, Terms { period, ..terms }, now)?;
        Ok(Ok(()))
    }

    fn open_book(
        &mut self,
        organization: OrganizationId,
        terms: Terms,
        now: Timestamp,
    ) -> rusqlite::Result<()> {
        if self.books.get(&organization).is_some_and(|book| book.lease.period() == terms.period) {
            return Ok(());
        }
        // Sums are read from the counters: what the group gathered has to be there.
        self.write_counters()?;
        let (id, last_at) = self.period(organization, terms.period)?;
        self.learn(organization, id, terms.period, now)?;
        let used = self.used(organization, id)?;
        if self.books.len() >= REMEMBERED_MAX {
            self.books.clear();
        }
        match self.books.get_mut(&organization) {
            Some(book) => book.lease.turn(id, terms.period, used),
            None => {
                let lease = LeaseBook::open(id, terms, used);
                self.books.insert(organization, Book { lease, last_at });
            }
        }
        Ok(())
    }

    fn period(
        &self,
        organization: OrganizationId,
        period: Period,
    ) -> rusqlite::Result<(PeriodId, Timestamp)> {
        let bounds = params![organization.as_bytes(), period.start.micros(), period.end.micros()];
        let insert = "INSERT OR IGNORE INTO billing_periods (organization, starts_at, ends_at) \
                      VALUES (?1, ?2, ?3)";
        self.connection.prepare_cached(insert)?.execute(bounds)?;
        let query = "SELECT id FROM billing_periods \
                     WHERE organization = ?1 AND starts_at = ?2 AND ends_at = ?3";
        let id = self.connection.prepare_cached(query)?.query_row(bounds, |row| row.get(0))?;
        let last = "SELECT max(last_settled_at) FROM billing_periods WHERE organization = ?1";
        let last_at: Option<i64> = self
            .connection
            .prepare_cached(last)?
            .query_row([organization.as_bytes()], |row| row.get(0))
            .optional()?
            .flatten();
        Ok((PeriodId(id), Timestamp::from_micros(last_at.unwrap_or(0))))
    }

    /// A period that was learned late takes over what was settled in it under another one, but for
    /// buckets that are sealed.
    fn learn(
        &mut self,
        organization: OrganizationId,
        id: PeriodId,
        period: Period,
        now: Timestamp,
    ) -> rusqlite::Result<()> {
        if now < period.start {
            return Ok(());
        }
        let others = "SELECT EXISTS (SELECT 1 FROM billing_periods WHERE organization = ?1 \
                      AND id <> ?2 AND starts_at < ?4 AND ends_at > ?3 AND last_settled_at >= ?3)";
        let bounds =
            params![organization.as_bytes(), id.0, period.start.micros(), period.end.micros()];
        let overlaps: bool =
            self.connection.prepare_cached(others)?.query_row(bounds, |row| row.get(0))?;
        if !overlaps {
            return Ok(());
        }
        for (usage, place, units) in self.misplaced(organization, id, period)? {
            self.counters.count(place, units, Change::Take);
            self.counters.count(Place { period: id, ..place }, units, Change::Add);
            let update = "UPDATE usage_events SET period = ?2 WHERE id = ?1";
            let row = params![usage.as_bytes(), id.0];
            self.connection.prepare_cached(update)?.execute(row)?;
        }
        self.write_counters()
    }

    fn misplaced(
        &self,
        organization: OrganizationId,
        id: PeriodId,
        period: Period,
    ) -> rusqlite::Result<Vec<(UsageId, Place, u32)>> {
        let query = "SELECT e.id, e.key, e.route, e.units, e.period, e.at FROM usage_events e \
                     WHERE e.id >= ?5 AND e.organization = ?1 AND e.period <> ?2 \
                     AND e.at >= ?3 AND e.at < ?4 AND e.voided = 0 AND NOT EXISTS \
                     (SELECT 1 FROM meter_outbox o WHERE o.organization = e.organization \
                     AND o.period = e.period AND o.hour = e.at / 3600000000 * 3600 \
                     AND o.sealed_at IS NOT NULL)";
        let first = UsageId::make(period.start.minus(SETTLED_WITHIN), [0; 10]);
        let mut statement = self.connection.prepare_cached(query)?;
        let rows = statement.query_map(
            params![
                organization.as_bytes(),
                id.0,
                period.start.micros(),
                period.end.micros(),
                first.as_bytes()
            ],
            |row| {
                let at = Timestamp::from_micros(row.get(5)?);
                let place = Place {
                    organization,
                    period: PeriodId(row.get(4)?),
                    hour: hour(at),
                    key: KeyId::from_bytes(row.get(1)?),
                    route: row.get(2)?,
                };
                Ok((UsageId::from_bytes(row.get(0)?), place, row.get(3)?))
            },
        )?;
        rows.collect()
    }

    fn used(&self, organization: OrganizationId, period: PeriodId) -> rusqlite::Result<u64> {
        let query = "SELECT coalesce(sum(units), 0) FROM usage_counters \
                     WHERE organization = ?1 AND period = ?2";
        let row = params![organization.as_bytes(), period.0];
        self.connection.prepare_cached(query)?.query_row(row, |row| row.get(0)).map(uint)
    }
}
