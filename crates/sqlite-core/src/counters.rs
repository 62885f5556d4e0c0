//! Usage sums by hour and the meter outbox: collected over a group of settlements, written once
//! before the group's commit.

use std::collections::HashMap;

use driftlock_domain::denial::Fault;
use driftlock_domain::id::{KeyId, OrganizationId};
use driftlock_domain::period::PeriodId;
use driftlock_domain::time::Timestamp;
use driftlock_domain::usage::BUCKET_SECS;

use crate::ledger_cache::LedgerCache;
use crate::sql::Sql;

/// The changes of a group.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    usage: HashMap<Place, Sum>,
    settled: HashMap<PeriodId, Timestamp>,
}

/// The counter of one hour of a key on a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    pub(crate) organization: OrganizationId,
    pub(crate) period: PeriodId,
    pub(crate) hour: i64,
    pub(crate) key: KeyId,
    pub(crate) route: i64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Sum {
    units: i64,
    requests: i64,
}

/// How a settlement changes its counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// It is added.
    Add,
    /// It is subtracted.
    Take,
}

impl Counters {
    pub(crate) fn count(&mut self, place: Place, units: u32, change: Change) {
        let sum = self.usage.entry(place).or_default();
        let sign = match change {
            Change::Add => 1,
            Change::Take => -1,
        };
        sum.units += sign * i64::from(units);
        sum.requests += sign;
    }

    /// The period's last commit time.
    pub(crate) fn settled(&mut self, period: PeriodId, at: Timestamp) {
        let last = self.settled.entry(period).or_insert(at);
        *last = at.max(*last);
    }
}

/// The hour in which a settlement at an instant counts.
pub(crate) fn hour(at: Timestamp) -> i64 {
    at.floor_to(BUCKET_SECS).secs()
}

impl LedgerCache {
    pub(crate) fn write_counters(&mut self, sql: &impl Sql) -> Result<(), Fault> {
        let Counters { usage, settled } = std::mem::take(&mut self.counters);
        let counter = "INSERT INTO usage_counters \
                       (organization, period, hour, key, route, units, requests) \
                       VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) \
                       ON CONFLICT (organization, period, hour, key, route) DO UPDATE SET \
                       units = units + excluded.units, requests = requests + excluded.requests";
        let outbox = "INSERT INTO meter_outbox (organization, period, hour, units) \
                      VALUES (?1, ?2, ?3, ?4) \
                      ON CONFLICT (organization, period, hour) DO UPDATE SET \
                      units = units + excluded.units";
        for (place, sum) in usage {
            let Place { organization, period, hour, key, route } = place;
            let values = [
                organization.as_bytes().into(),
                period.0.into(),
                hour.into(),
                key.as_bytes().into(),
                route.into(),
                sum.units.into(),
                sum.requests.into(),
            ];
            sql.execute(counter, &values)?;
            let values =
                [organization.as_bytes().into(), period.0.into(), hour.into(), sum.units.into()];
            sql.execute(outbox, &values)?;
        }
        let last = "UPDATE billing_periods SET last_settled_at = max(last_settled_at, ?2) \
                    WHERE id = ?1";
        for (period, at) in settled {
            sql.execute(last, &[period.0.into(), at.micros().into()])?;
        }
        Ok(())
    }
}
