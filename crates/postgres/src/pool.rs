//! The connection pool with its circuit breaker.
//!
//! While the database does not answer, the circuit is open: calls fail at once, except one at a
//! time that tries. So calls do not wait for a missing database, and the first answer closes the
//! circuit.

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

/// Connections of one node. Few suffice, since settlements go in batches.
const CONNECTIONS_MAX: usize = 8;
/// The maximum time that a call waits for a connection.
const FREE_WITHIN: Duration = Duration::from_secs(3);
/// The server's timeout of a statement, including waits for locks, in milliseconds.
const STATEMENT_MS: u32 = 5_000;
/// The client's timeout of a call. It is longer than the server's, so it ends only calls to a
/// server that is gone.
const ANSWER_WITHIN: Duration = Duration::from_secs(8);
/// How long all calls fail after a failed try.
const PAUSE: Duration = Duration::from_millis(200);

/// The database of one process; clones are the same one.
#[derive(Debug, Clone)]
pub(crate) struct Database {
    pool: Pool,
    circuit: Arc<Mutex<Circuit>>,
}

#[derive(Debug, Clone, Copy)]
enum Circuit {
    /// The database answered last: calls are sent.
    Closed,
    /// The database does not answer: calls fail until this instant, then one call tries.
    Open(Instant),
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
        Ok(Self { pool, circuit: Arc::new(Mutex::new(Circuit::Closed)) })
    }

    /// Calls a function of the schema; bounded in time.
    pub(crate) async fn call(&self, function: &str, args: &Value) -> Result<Value, CallError> {
        let client = self.client().await?;
        match tokio::time::timeout(ANSWER_WITHIN, query(&client, function, args)).await {
            Ok(answer) => {
                self.note_answer(answer.as_ref().err());
                answer.map_err(|error| CallError::of(&error))
            }
            Err(_) => {
                // Close this connection: the next call over it would also get no answer.
                drop(Object::take(client));
                self.set(Circuit::Open(Instant::now() + PAUSE));
                Err(CallError::unknown("the database did not answer in time"))
            }
        }
    }

    async fn client(&self) -> Result<Object, CallError> {
        self.may_try()?;
        match self.pool.get().await {
            // A connection from the pool does not prove that the database answers.
            Ok(client) => Ok(client),
            // The database may answer; all connections are in use.
            Err(PoolError::Timeout(TimeoutType::Wait)) => {
                Err(CallError::unknown("no connection to the database became free in time"))
            }
            Err(error) => {
                self.set(Circuit::Open(Instant::now() + PAUSE));
                Err(CallError::unknown(full(&error)))
            }
        }
    }

    fn may_try(&self) -> Result<(), CallError> {
        let now = Instant::now();
        let mut circuit = self.circuit.lock().unwrap_or_else(PoisonError::into_inner);
        match *circuit {
            Circuit::Closed => Ok(()),
            Circuit::Open(next) if now < next => {
                Err(CallError::unknown("the database does not answer; it is tried again soon"))
            }
            Circuit::Open(_) => {
                *circuit = Circuit::Open(now + FREE_WITHIN);
                Ok(())
            }
        }
    }

    /// Updates the circuit after an answer, or after a connection ended without one.
    fn note_answer(&self, error: Option<&tokio_postgres::Error>) {
        let is_answer = error.is_none_or(|error| error.as_db_error().is_some());
        if is_answer {
            self.set(Circuit::Closed);
            return;
        }
        // The end of one connection does not open the circuit. If the circuit is open, this call
        // was the one that tried, so the others wait again.
        let mut circuit = self.circuit.lock().unwrap_or_else(PoisonError::into_inner);
        if let Circuit::Open(next) = &mut *circuit {
            *next = Instant::now() + PAUSE;
        }
    }

    fn set(&self, circuit: Circuit) {
        *self.circuit.lock().unwrap_or_else(PoisonError::into_inner) = circuit;
    }
}

/// The settings of a connection.
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
