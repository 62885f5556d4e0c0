//! Leases and settlement. Nodes lease chunks of units, so that they admit requests without a call.

use std::time::Duration;

use driftlock_domain::audit::AuditRecord;
use driftlock_domain::denial::{Fault, FaultKind};
use driftlock_domain::entitlement::Terms;
use driftlock_domain::id::{NodeId, OrganizationId, UsageId};
use driftlock_domain::lease::{LeaseAsk, LeaseGrant};
use driftlock_domain::ledger_host::LedgerKind;
use driftlock_domain::period::PeriodId;
use driftlock_domain::time::Timestamp;
use driftlock_domain::usage::{Settled, Settlement};
use driftlock_gateway::ports::Ledger;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::args::{answer, int, read, record, uuid};
use crate::{Call, FunctionStore};

/// The lifetime of a lease. The units of a crashed node are free again after it.
pub(crate) const LEASE_TTL: Duration = Duration::from_secs(2);

/// A lease, or the ledger host that meters the organization instead.
#[derive(Deserialize)]
#[serde(untagged)]
enum Leased {
    Granted(Granted),
    Elsewhere { held_by: LedgerKind },
}

#[derive(Deserialize)]
struct Granted {
    period: i64,
    reserved: Option<u64>,
    used: u64,
    /// Microseconds.
    ttl: u64,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Outcome {
    Committed { at: i64, period: i64, lease: Option<u64> },
    Repeated { since: i64, period: i64 },
    Not(NotSettled),
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum NotSettled {
    Refused,
    Unleased,
}

impl<C: Call> Ledger for FunctionStore<C> {
    async fn lease(
        &self,
        organization: OrganizationId,
        node: NodeId,
        ask: &LeaseAsk,
        now: Timestamp,
    ) -> Result<LeaseGrant, Fault> {
        let terms = ask.terms;
        let args = json!({
            "organization": uuid!(organization), "node": uuid!(node), "now": self.stamp(now),
            "start": terms.period.start.micros(), "end": terms.period.end.micros(),
            "included": int(terms.included), "cap": terms.cap.map(int),
            "base_micros": int(terms.price.base_micros),
            "overage_micros": terms.price.overage_micros.map(int),
            "number": int(ask.number), "keep": int(ask.keep), "want": int(ask.want),
            "ttl": int(LEASE_TTL.as_micros().try_into().unwrap_or(u64::MAX)),
        });
        let granted: Leased = read(self.call.call("driftlock_lease", args).await?)?;
        let granted = match granted {
            Leased::Granted(granted) => granted,
            Leased::Elsewhere { held_by } => {
                let cause = format!("the organization's units are counted by {held_by}");
                return Err(Fault::new(FaultKind::WrongLedgerHost, cause));
            }
        };
        Ok(LeaseGrant {
            period: PeriodId(granted.period),
            terms,
            reserved: granted.reserved,
            used: granted.used,
            ttl: Duration::from_micros(granted.ttl),
            retry_after: Duration::ZERO,
        })
    }

    async fn settle(&self, settlement: Settlement, now: Timestamp) -> Result<Settled, Fault> {
        self.settle_one(&settlement, Value::Null, now).await
    }

    async fn void(&self, organization: OrganizationId, usage: UsageId) -> Result<(), Fault> {
        let args = json!({
            "organization": uuid!(organization), "usage": uuid!(usage),
            "audit": record(&voided(usage)),
        });
        match self.call.call("driftlock_void", args).await? {
            Value::Null => Ok(()),
            _ => {
                let cause = format!("{usage} is in a sealed bucket");
                Err(Fault::new(FaultKind::Conflict, cause))
            }
        }
    }
}

impl<C: Call> FunctionStore<C> {
    /// Settles a request that was acknowledged during an outage of the store. It counts once and
    /// regardless of the cap.
    ///
    /// # Errors
    /// As [`Ledger::settle`].
    pub async fn settle_late(
        &self,
        settlement: &Settlement,
        terms: Terms,
        now: Timestamp,
    ) -> Result<Settled, Fault> {
        let late = json!({
            "start": terms.period.start.micros(), "end": terms.period.end.micros(),
            "included": int(terms.included),
        });
        self.settle_one(settlement, late, now).await
    }

    async fn settle_one(
        &self,
        settlement: &Settlement,
        late: Value,
        now: Timestamp,
    ) -> Result<Settled, Fault> {
        let claim = settlement.claim.as_ref();
        let one = json!({
            "usage": uuid!(settlement.usage), "organization": uuid!(settlement.organization),
            "key": uuid!(settlement.key), "route": settlement.route, "units": settlement.units,
            "node": uuid!(settlement.node), "request_id": settlement.request_id,
            "claim": claim.map(|claim| hex::encode(claim.key.0)),
            "fingerprint": claim.map(|claim| hex::encode(claim.fingerprint.0)),
            "answer": settlement.answer.as_deref().map(answer).transpose()?,
            "audit": record(&settlement.audit), "now": self.stamp(now), "late": late,
        });
        match read(self.call.settle(one).await?)? {
            Outcome::Committed { at, period, lease } => Ok(Settled::Committed {
                at: Timestamp::from_micros(at),
                period: PeriodId(period),
                lease,
            }),
            Outcome::Repeated { since, period } => Ok(Settled::Repeated {
                at: Timestamp::from_micros(since),
                period: PeriodId(period),
            }),
            Outcome::Not(NotSettled::Refused) => Ok(Settled::Refused),
            Outcome::Not(NotSettled::Unleased) => {
                Err(Fault::store("a settlement for which no units were leased"))
            }
        }
    }
}

/// The audit record of a void. The database sets its time to the settlement's.
fn voided(usage: UsageId) -> AuditRecord {
    AuditRecord {
        at: Timestamp::default(),
        actor: "system".into(),
        action: "usage.void".into(),
        resource: usage.to_string().into(),
        outcome: "ok".into(),
        request_id: "".into(),
        ip: "".into(),
        details: r#"{"reason":"the settlement's outcome was unknown to the client"}"#.into(),
    }
}
