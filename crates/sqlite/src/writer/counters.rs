//! Sums by hour, and the outbox for Stripe: gathered over a group, written once before its commit.

use std::collections::HashMap;

use driftlock_domain::id::{KeyId, OrganizationId};
use driftlock_domain::period::PeriodId;
use driftlock_domain::time::Timestamp;
use driftlock_domain::usage::BUCKET_SECS;
use rusqlite::params;

use super::Writer;

/// What a group adds.
#[derive(Default)]
pub(super) struct Counters {
    usage: HashMap<Place, Sum>,
    settled: HashMap<PeriodId, Timestamp>,
}

/// The counter of one hour of a key on a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Place {
    pub(super) organization: OrganizationId,
    pub(super) period: PeriodId,
    pub(super) hour: i64,
    pub(super) key: KeyId,
    pub(super) route: i64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Sum {
    units: i64,
    requests: i64,
}

/// Which way a row changes its counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// It counts.
    Add,
    /// It no longer does.
    Take,
}

impl Counters {
    pub(super) fn count(&mut self, place: Place, units: u32, change: Change) {
        let sum = self.usage.entry(place).or_default();
        let sign = match change {
            Change::Add => 1,
            Change::Take => -1,
        };
        sum.units += sign * i64::from(units);
        sum.requests += sign;
    }

    /// The period's last commit time.
    pub(super) fn settled(&mut self, period: PeriodId, at: Timestamp) {
        self.settled.insert(period, at);
    }
}

/// The hour that an instant counts in.
pub(super) fn hour(at: Timestamp) -> i64 {
    at.floor_to(BUCKET_SECS).secs()
}

impl Writer {
    /// Writes what the group gathered; inside its transaction, once.
    pub(super) fn write_counters(&mut self) -> rusqlite::Result<()> {
        let Counters { usage, settled } = std::mem::take(&mut self.counters);
        let counter = "INSERT INTO usage_counters \
                       (organization, period, hour, key, route, units, requests) \
                       VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) \
                       ON CONFLICT DO UPDATE SET \
                       units = units + excluded.units, requests = requests + excluded.requests";
        let outbox = "INSERT INTO meter_outbox (organization, period, hour, units) \
                      VALUES (?1, ?2, ?3, ?4) \
                      ON CONFLICT DO UPDATE SET units = units + excluded.units";
        for (place, sum) in usage {
            let Place { organization, period, hour, key, route } = place;
            let organization = organization.as_bytes();
            self.connection.prepare_cached(counter)?.execute(params![
                organization,
                period.0,
                hour,
                key.as_bytes(),
                route,
                sum.units,
                sum.requests
            ])?;
            let row = params![organization, period.0, hour, sum.units];
            self.connection.prepare_cached(outbox)?.execute(row)?;
        }
        let last = "UPDATE billing_periods SET last_settled_at = ?2 WHERE id = ?1";
        for (period, at) in settled {
            self.connection.prepare_cached(last)?.execute(params![period.0, at.micros()])?;
        }
        Ok(())
    }
}
