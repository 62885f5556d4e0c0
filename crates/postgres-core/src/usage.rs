//! Queries of settled usage: sums, receipts, idempotency records.

use std::time::Duration;

use driftlock_domain::denial::Fault;
use driftlock_domain::entitlement::FrozenTerms;
use driftlock_domain::id::{OrganizationId, UsageId};
use driftlock_domain::idempotency::{
    Claim, Claimed, Fingerprint, IdempotencyKey, Kept, KeptAnswer,
};
use driftlock_domain::period::Period;
use driftlock_domain::receipt::Receipt;
use driftlock_domain::time::Timestamp;
use driftlock_domain::usage::{Grouping, UsageBucket, UsageSummary};
use driftlock_gateway::ports::UsageRecords;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::args::{bytes, exact, read, uuid};
use crate::{Call, FunctionStore};

/// How long usage events, and with them receipts and closed periods, are kept.
const USAGE_DAYS: u32 = 400;

#[derive(Deserialize)]
struct Sums {
    start: i64,
    end: i64,
    terms: Option<FrozenTerms>,
    buckets: Vec<(Value, u64, u64)>,
}

#[derive(Deserialize)]
struct Record {
    fingerprint: String,
    usage: UsageId,
    status: Option<u16>,
    headers: Option<Vec<(String, Vec<u8>)>>,
    body: Option<String>,
}

/// The result of a claim that was not granted.
#[derive(Deserialize)]
#[serde(untagged)]
enum Found {
    InFlight { in_flight: UsageId, fingerprint: String },
    Kept(Record),
}

impl<C: Call> UsageRecords for FunctionStore<C> {
    async fn usage(
        &self,
        organization: OrganizationId,
        at: Timestamp,
        in_force: Period,
        grouping: Grouping,
    ) -> Result<Option<UsageSummary>, Fault> {
        let args = json!({
            "organization": uuid!(organization), "at": at.micros(), "grouping": grouping,
            "start": in_force.start.micros(), "end": in_force.end.micros(),
        });
        let sums: Option<Sums> = read(self.call.call("driftlock_usage", args).await?)?;
        let Some(Sums { start, end, terms, buckets }) = sums else { return Ok(None) };
        let buckets: Vec<UsageBucket> =
            buckets.into_iter().map(|row| bucket(grouping, row)).collect::<Result<_, _>>()?;
        let (start, end) = (Timestamp::from_micros(start), Timestamp::from_micros(end));
        let units = buckets.iter().map(|bucket| bucket.units).sum();
        Ok(Some(UsageSummary { period: Period { start, end }, terms, units, buckets }))
    }

    async fn receipt(&self, usage: UsageId) -> Result<Option<Receipt>, Fault> {
        read(self.call.call("driftlock_receipt", json!({ "usage": uuid!(usage) })).await?)
    }

    async fn kept(
        &self,
        _organization: OrganizationId,
        key: &IdempotencyKey,
        now: Timestamp,
    ) -> Result<Option<Kept>, Fault> {
        let args = json!({ "key": hex::encode(key.0), "now": self.stamp(now) });
        let record: Option<Record> = read(self.call.call("driftlock_kept", args).await?)?;
        record.map(kept).transpose()
    }

    async fn claim(
        &self,
        _organization: OrganizationId,
        claim: &Claim,
        usage: UsageId,
        lifetime: Duration,
        now: Timestamp,
    ) -> Result<Claimed, Fault> {
        let args = json!({
            "key": hex::encode(claim.key.0), "fingerprint": hex::encode(claim.fingerprint.0),
            "usage": uuid!(usage), "now": self.stamp(now),
            "lifetime": i64::try_from(lifetime.as_micros()).unwrap_or(i64::MAX),
        });
        match read(self.call.call("driftlock_claim_key", args).await?)? {
            None => Ok(Claimed::Own),
            Some(Found::Kept(record)) => kept(record).map(Claimed::Kept),
            Some(Found::InFlight { in_flight, fingerprint }) => {
                Ok(Claimed::InFlight(in_flight, Fingerprint(exact(&fingerprint)?)))
            }
        }
    }

    async fn unclaim(
        &self,
        _organization: OrganizationId,
        key: &IdempotencyKey,
        usage: UsageId,
    ) -> Result<(), Fault> {
        let args = json!({ "key": hex::encode(key.0), "usage": uuid!(usage) });
        self.call.call("driftlock_free_key", args).await.map(drop)
    }

    async fn purge_kept(&self, now: Timestamp) -> Result<u64, Fault> {
        let args = json!({ "now": self.stamp(now), "usage_days": USAGE_DAYS });
        read(self.call.call("driftlock_purge", args).await?)
    }
}

fn bucket(grouping: Grouping, row: (Value, u64, u64)) -> Result<UsageBucket, Fault> {
    let (place, units, requests) = row;
    let mut bucket = UsageBucket { start: None, key_id: None, route: None, units, requests };
    match grouping {
        Grouping::Hour | Grouping::Day => {
            bucket.start = Some(Timestamp::from_secs(read(place)?));
        }
        Grouping::Key => bucket.key_id = Some(read(place)?),
        Grouping::Route => bucket.route = Some(read(place)?),
    }
    Ok(bucket)
}

fn kept(record: Record) -> Result<Kept, Fault> {
    let Record { fingerprint, usage, status, headers, body } = record;
    let answer = match (status, headers, body) {
        (Some(status), Some(headers), Some(body)) => {
            Some(KeptAnswer { status, headers, body: bytes(&body)? })
        }
        (_, _, _) => None,
    };
    Ok(Kept { fingerprint: Fingerprint(exact(&fingerprint)?), usage, answer })
}
