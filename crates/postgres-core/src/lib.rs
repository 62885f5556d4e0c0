//! All ports over the functions of `migrations/postgres`, whoever calls them: a connection, or
//! PostgREST. What must be atomic is in those functions; here are their arguments and answers, and
//! the few decisions that `domain` makes of what was read.
//!
//! A change that follows from a reading names what it read (a revision, a sum) and is made anew
//! when that is no longer so, a bounded number of times. Nothing here waits by itself or reads a
//! clock; it compiles to wasm.
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

/// The way to the database's functions.
pub trait Call {
    /// Calls `public.<function>(args)`; its answer, `null` for none.
    ///
    /// # Errors
    /// `Conflict` when something of the kind exists, `StoreRefused` when the values are refused for
    /// good; `Store` otherwise: then it may have happened.
    async fn call(&self, function: &'static str, args: Value) -> Result<Value, Fault>;

    /// Settles one; an implementation may send it with others.
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

/// Whose clock dates what is leased, settled and kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timing {
    /// The database's, which all nodes share: however their own clocks differ, leases end in order.
    Database,
    /// The caller's: time is an argument, as tests want it.
    Caller,
}

/// The store; clones are the same one if their callers are.
#[derive(Debug, Clone)]
pub struct FunctionStore<C> {
    call: C,
    timing: Timing,
}

impl<C: Call> FunctionStore<C> {
    /// A store over a way to the functions.
    pub const fn new(call: C, timing: Timing) -> Self {
        Self { call, timing }
    }

    /// The way to the functions.
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

    /// The files that were changed after they were applied to the database.
    ///
    /// # Errors
    /// As [`Self::version`].
    pub async fn changed_migrations(&self) -> Result<Vec<&'static str>, Fault> {
        let noted: Vec<(i32, String)> =
            args::read(self.call.call("driftlock_checksums", json!({})).await?)?;
        Ok(changed(&noted))
    }

    /// `now` as functions take it that date by themselves.
    fn stamp(&self, now: Timestamp) -> Option<i64> {
        match self.timing {
            Timing::Database => None,
            Timing::Caller => Some(now.micros()),
        }
    }
}
