//! All store ports over the functions of `migrations/postgres`, which are called over a PostgreSQL
//! connection or PostgREST. Atomic work is in those functions; this crate has their arguments and
//! results, and calls `domain` for the few decisions on what was read.
//!
//! A change that depends on an earlier read states what was read (a revision, a sum). If that has
//! changed, the read and the change are repeated, a bounded number of times. Nothing here waits or
//! reads a clock; it compiles to wasm.
#![expect(
    async_fn_in_trait,
    reason = "the trait is used generically inside this workspace, and needs no Send futures"
)]

mod args;
mod audit_log;
mod changes;
mod directory;
mod edge;
mod effect;
mod inbox;
mod ledger;
mod reports;
mod schema;
mod usage;

use driftlock_domain::denial::Fault;
use driftlock_domain::time::Timestamp;
use serde_json::{Value, json};

pub use changes::{CHANGES, Change, POLLED_EVERY, Reader};
pub use effect::{EXISTS_ALREADY, Effect, effect, is_refusal};
pub use schema::{MIGRATIONS, Migration, changed};

/// Calls the database's functions.
pub trait Call {
    /// Calls `public.<function>(args)`; returns its result, or `null`.
    ///
    /// # Errors
    /// `Conflict` if the new object exists already; `StoreRefused` if the values are refused for
    /// good; otherwise `Store`, and the call may have had its effect.
    async fn call(&self, function: &'static str, args: Value) -> Result<Value, Fault>;

    /// Settles one request; an implementation may send several together.
    ///
    /// # Errors
    /// As [`Call::call`].
    async fn settle(&self, settlement: Value) -> Result<Value, Fault> {
        let answer = self.call(SETTLE, json!({ "settlements": [settlement] })).await?;
        Ok(answer[0][1].clone())
    }
}

/// The function that settles a batch: `{"settlements": [...]}` to `[[place, outcome], ...]`.
pub const SETTLE: &str = "driftlock_settle";

/// The clock for the times of leases, settlements and idempotency records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timing {
    /// The database's clock, which all nodes share, so that differences between the nodes' clocks
    /// do not matter.
    Database,
    /// The caller's clock, for tests.
    Caller,
}

/// The store; clones are the same one if their callers are.
#[derive(Debug, Clone)]
pub struct FunctionStore<C> {
    call: C,
    timing: Timing,
}

impl<C: Call> FunctionStore<C> {
    /// A store that calls the functions over `call`.
    pub const fn new(call: C, timing: Timing) -> Self {
        Self { call, timing }
    }

    /// What calls the functions.
    pub const fn caller(&self) -> &C {
        &self.call
    }

    /// The version of the database's schema: the number of its last migration.
    ///
    /// # Errors
    /// When the database does not answer, or was never migrated.
    pub async fn version(&self) -> Result<u64, Fault> {
        let answer = self.call.call("driftlock_version", json!({})).await?;
        answer.as_u64().ok_or_else(|| Fault::store("the schema has no version"))
    }

    /// The migrations that were changed after they were applied to the database.
    ///
    /// # Errors
    /// As [`Self::version`].
    pub async fn changed_migrations(&self) -> Result<Vec<&'static str>, Fault> {
        let noted: Vec<(i32, String)> =
            args::read(self.call.call("driftlock_checksums", json!({})).await?)?;
        Ok(changed(&noted))
    }

    /// The `now` argument of a function; `None` if the database's clock is used.
    fn stamp(&self, now: Timestamp) -> Option<i64> {
        match self.timing {
            Timing::Database => None,
            Timing::Caller => Some(now.micros()),
        }
    }
}
