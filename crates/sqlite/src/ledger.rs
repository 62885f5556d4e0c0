//! Usage, receipts and idempotency records.

use driftlock_domain::denial::Fault;
use driftlock_domain::id::{KeyId, NodeId, OrganizationId, UsageId};
use driftlock_domain::idempotency::{Fingerprint, IdempotencyKey, Kept, KeptAnswer};
use driftlock_domain::lease::{LeaseAsk, LeaseGrant};
use driftlock_domain::period::Period;
use driftlock_domain::receipt::Receipt;
use driftlock_domain::time::Timestamp;
use driftlock_domain::usage::{Grouping, Settled, Settlement, UsageBucket, UsageSummary};
use driftlock_gateway::ports::{Ledger, UsageRecords};
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::rows::{json, of_json, uint};
use crate::store::SqliteStore;
use crate::writer::kept::oldest;

impl Ledger for SqliteStore {
    async fn lease(
        &self,
        organization: OrganizationId,
        node: NodeId,
        ask: &LeaseAsk,
        now: Timestamp,
    ) -> Result<LeaseGrant, Fault> {
        let ask = ask.clone();
        self.writer().write(move |writer| writer.lease(organization, node, &ask, now)).await
    }

    async fn settle(&self, settlement: Settlement, now: Timestamp) -> Result<Settled, Fault> {
        self.writer().write(move |writer| writer.settle(settlement, now)).await?
    }

    async fn void(&self, organization: OrganizationId, usage: UsageId) -> Result<(), Fault> {
        self.writer().write(move |writer| writer.void(organization, usage)).await?
    }
}

impl UsageRecords for SqliteStore {
    async fn usage(
        &self,
        organization: OrganizationId,
        at: Timestamp,
        grouping: Grouping,
    ) -> Result<Option<UsageSummary>, Fault> {
        self.readers()
            .read(move |connection| {
                let Some((id, period)) = period_at(connection, organization, at)? else {
                    return Ok(None);
                };
                let buckets = buckets(connection, organization, id, grouping)?;
                let units = buckets.iter().map(|bucket| bucket.units).sum();
                Ok(Some(UsageSummary { period, units, buckets }))
            })
            .await
    }

    async fn receipt(&self, usage: UsageId) -> Result<Option<Receipt>, Fault> {
        self.readers()
            .read(move |connection| {
                let query = "SELECT e.id, e.organization, e.key, r.label, e.units, e.request_id, \
                             e.at FROM usage_events e JOIN routes r ON r.id = e.route \
                             WHERE e.id = ?1 AND e.voided = 0";
                let mut statement = connection.prepare_cached(query)?;
                statement.query_row([usage.as_bytes()], receipt).optional()
            })
            .await
    }

    async fn kept(
        &self,
        _organization: OrganizationId,
        key: &IdempotencyKey,
        now: Timestamp,
    ) -> Result<Option<Kept>, Fault> {
        let key = key.0;
        self.readers()
            .read(move |connection| {
                let query = "SELECT fingerprint, usage, answer_status, answer_headers, answer_body \
                             FROM idempotency_keys WHERE key = ?1 AND at >= ?2";
                let mut statement = connection.prepare_cached(query)?;
                statement.query_row(params![key, oldest(now).micros()], kept).optional()
            })
            .await
    }

    async fn keep_answer(
        &self,
        _organization: OrganizationId,
        key: &IdempotencyKey,
        answer: &KeptAnswer,
    ) -> Result<(), Fault> {
        let (key, answer) = (*key, answer.clone());
        self.writer()
            .write(move |writer| writer.keep_answer(&key, &answer, &json(&answer.headers)?))
            .await
    }

    async fn purge_kept(&self, now: Timestamp) -> Result<u64, Fault> {
        self.writer().write(move |writer| writer.purge_kept(now)).await
    }

    async fn outbox_units(
        &self,
        organization: OrganizationId,
        at: Timestamp,
    ) -> Result<u64, Fault> {
        self.readers()
            .read(move |connection| {
                let Some((id, _)) = period_at(connection, organization, at)? else { return Ok(0) };
                let query = "SELECT coalesce(sum(units), 0) FROM meter_outbox \
                             WHERE organization = ?1 AND period = ?2";
                let bounds = params![organization.as_bytes(), id];
                connection.query_row(query, bounds, |row| row.get(0)).map(uint)
            })
            .await
    }
}

/// The period that holds an instant; of several the one learned last.
fn period_at(
    connection: &Connection,
    organization: OrganizationId,
    at: Timestamp,
) -> rusqlite::Result<Option<(i64, Period)>> {
    let query = "SELECT id, starts_at, ends_at FROM billing_periods WHERE organization = ?1 \
                 AND starts_at <= ?2 AND ends_at > ?2 ORDER BY id DESC LIMIT 1";
    let period = |row: &Row<'_>| {
        let time = |column| row.get(column).map(Timestamp::from_micros);
        Ok((row.get(0)?, Period { start: time(1)?, end: time(2)? }))
    };
    let bounds = params![organization.as_bytes(), at.micros()];
    connection.prepare_cached(query)?.query_row(bounds, period).optional()
}

fn buckets(
    connection: &Connection,
    organization: OrganizationId,
    period: i64,
    grouping: Grouping,
) -> rusqlite::Result<Vec<UsageBucket>> {
    let group = match grouping {
        Grouping::Hour => "c.hour",
        Grouping::Day => "c.hour / 86400 * 86400",
        Grouping::Key => "c.key",
        Grouping::Route => "r.label",
    };
    let query = format!(
        "SELECT {group}, sum(c.units), sum(c.requests) FROM usage_counters c \
         JOIN routes r ON r.id = c.route WHERE c.organization = ?1 AND c.period = ?2 \
         GROUP BY 1 HAVING sum(c.requests) > 0 ORDER BY 1"
    );
    let bucket = |row: &Row<'_>| {
        let mut bucket = UsageBucket {
            start: None,
            key_id: None,
            route: None,
            units: uint(row.get(1)?),
            requests: uint(row.get(2)?),
        };
        match grouping {
            Grouping::Hour | Grouping::Day => {
                bucket.start = Some(Timestamp::from_secs(row.get(0)?));
            }
            Grouping::Key => bucket.key_id = Some(KeyId::from_bytes(row.get(0)?)),
            Grouping::Route => bucket.route = Some(row.get(0)?),
        }
        Ok(bucket)
    };
    let mut statement = connection.prepare_cached(&query)?;
    statement.query_map(params![organization.as_bytes(), period], bucket)?.collect()
}

fn receipt(row: &Row<'_>) -> rusqlite::Result<Receipt> {
    Ok(Receipt {
        id: UsageId::from_bytes(row.get(0)?),
        organization_id: OrganizationId::from_bytes(row.get(1)?),
        key_id: KeyId::from_bytes(row.get(2)?),
        route: row.get(3)?,
        units: row.get(4)?,
        request_id: row.get(5)?,
        at: Timestamp::from_micros(row.get(6)?),
    })
}

fn kept(row: &Row<'_>) -> rusqlite::Result<Kept> {
    let status: Option<u16> = row.get(2)?;
    let headers: Option<String> = row.get(3)?;
    let body: Option<Vec<u8>> = row.get(4)?;
    let answer = match (status, headers, body) {
        (Some(status), Some(headers), Some(body)) => {
            Some(KeptAnswer { status, headers: of_json(&headers, 3)?, body })
        }
        (_, _, _) => None,
    };
    Ok(Kept {
        fingerprint: Fingerprint(row.get(0)?),
        usage: UsageId::from_bytes(row.get(1)?),
        answer,
    })
}
