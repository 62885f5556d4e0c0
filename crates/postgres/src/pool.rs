//! The pool, and one call over it.
//!
//! While the database is away, calls fail at once, but for one at a time that tries: so nobody waits
//! in a queue for what cannot come, and the first answer brings everybody back.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use deadpool_postgres::{
    Hook, HookError, Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod, Runtime,
    TimeoutType,
};
use driftlock_domain::config::Durability;
use serde_json::Value;
use tokio::time::Instant;

use crate::error::{CallError, OpenError, full};
use crate::url::DatabaseUrl;

/// Connections of one node: with its batches it keeps few of them busy.
const CONNECTIONS_MAX: usize = 8;
/// How long a call waits for a connection.
const FREE_WITHIN: Duration = Duration::from_secs(3);
/// What the server allows a statement, of which waiting for a lock is a part; in milliseconds.
const STATEMENT_MS: u32 = 5_000;
/// What the client allows a call: the server has given up before, unless it is gone.
const ANSWER_WITHIN: Duration = Duration::from_secs(8);
/// How long nobody tries after a try that failed.
const REST: Duration = Duration::from_millis(200);

/// The database of one process; clones are the same one.
#[derive(Debug, Clone)]
pub(crate) struct Database {
    pool: Pool,
    standing: Arc<Mutex<Standing>>,
}

#[derive(Debug, Clone, Copy)]
enum Standing {
    /// It answered last.
    Here,
    /// It does not answer; the next try is not before this.
    Away(Instant),
}

impl Database {
    pub(crate) fn new(url: &DatabaseUrl, durability: Durability) -> Result<Self, OpenError> {
        let recycling = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let manager = Manager::from_config(url.config().clone(), url.tls()?, recycling);
        let pool = Pool::builder(manager)
            .max_size(CONNECTIONS_MAX)
            .wait_timeout(Some(FREE_WITHIN))
            .create_timeout(Some(FREE_WITHIN))
            .runtime(Runtime::Tokio1)
            .post_create(Hook::async_fn(move |client, _| {
                Box::pin(async move {
                    client.batch_execute(&session(durability)).await.map_err(HookError::Backend)
                })
            }))
            .build()
            .map_err(|error| OpenError::Away(error.to_string()))?;
        Ok(Self { pool, standing: Arc::new(Mutex::new(Standing::Here)) })
    }

    /// Calls a function of the schema, within all bounds of time.
    pub(crate) async fn call(&self, function: &str, args: &Value) -> Result<Value, CallError> {
        let client = self.client().await?;
        match tokio::time::timeout(ANSWER_WITHIN, query(&client, function, args)).await {
            Ok(answer) => {
                self.heard(answer.as_ref().err());
                answer.map_err(|error| CallError::of(&error))
            }
            Err(_) => {
                // Whoever took it next would wait behind the same silence.
                drop(Object::take(client));
                self.set(Standing::Away(Instant::now() + REST));
                Err(CallError::unknown("the database did not answer in time"))
            }
        }
    }

    async fn client(&self) -> Result<Object, CallError> {
        self.may_try()?;
        match self.pool.get().await {
            // One from the pool says nothing yet: whoever is asked over it may be silent.
            Ok(client) => Ok(client),
            // It answers, but others have all connections.
            Err(PoolError::Timeout(TimeoutType::Wait)) => {
                Err(CallError::unknown("no connection to the database came free in time"))
            }
            Err(error) => {
                self.set(Standing::Away(Instant::now() + REST));
                Err(CallError::unknown(full(&error)))
            }
        }
    }

    fn may_try(&self) -> Result<(), CallError> {
        let now = Instant::now();
        let mut standing = self.standing.lock().unwrap_or_else(PoisonError::into_inner);
        match *standing {
            Standing::Here => Ok(()),
            Standing::Away(next) if now < next => {
                Err(CallError::unknown("the database is away, and tried again soon"))
            }
            Standing::Away(_) => {
                *standing = Standing::Away(now + FREE_WITHIN);
                Ok(())
            }
        }
    }

    /// An answer came, or a connection ended without one.
    fn heard(&self, error: Option<&tokio_postgres::Error>) {
        let is_answer = error.is_none_or(|error| error.as_db_error().is_some());
        if is_answer {
            self.set(Standing::Here);
            return;
        }
        // One connection's end is not the database's: only who tried for all has failed for all.
        let mut standing = self.standing.lock().unwrap_or_else(PoisonError::into_inner);
        if let Standing::Away(next) = &mut *standing {
            *next = Instant::now() + REST;
        }
    }

    fn set(&self, standing: Standing) {
        *self.standing.lock().unwrap_or_else(PoisonError::into_inner) = standing;
    }
}

/// What holds for every statement of a connection.
fn session(durability: Durability) -> String {
    let commit = match durability {
        Durability::Fsync => "on",
        Durability::Process => "off",
    };
    format!(
        "set statement_timeout = {STATEMENT_MS}; \
         set idle_in_transaction_session_timeout = {STATEMENT_MS}; \
         set synchronous_commit = {commit}"
    )
}

async fn query(
    client: &Object,
    function: &str,
    args: &Value,
) -> Result<Value, tokio_postgres::Error> {
    let statement = client.prepare_cached(&format!("select public.{function}($1)")).await?;
    let row = client.query_one(&statement, &[args]).await?;
    Ok(row.try_get::<_, Option<Value>>(0)?.unwrap_or(Value::Null))
}
