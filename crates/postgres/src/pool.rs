//! The pool, and one call over it.

use std::time::Duration;

use deadpool_postgres::{
    Hook, HookError, Manager, ManagerConfig, Object, Pool, RecyclingMethod, Runtime,
};
use serde_json::Value;

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

pub(crate) fn make(url: &DatabaseUrl) -> Result<Pool, OpenError> {
    let recycling = ManagerConfig { recycling_method: RecyclingMethod::Fast };
    let manager = Manager::from_config(url.config().clone(), url.tls()?, recycling);
    Pool::builder(manager)
        .max_size(CONNECTIONS_MAX)
        .wait_timeout(Some(FREE_WITHIN))
        .create_timeout(Some(FREE_WITHIN))
        .runtime(Runtime::Tokio1)
        .post_create(Hook::async_fn(|client, _| {
            Box::pin(async move {
                let limits = format!(
                    "set statement_timeout = {STATEMENT_MS}; \
                     set idle_in_transaction_session_timeout = {STATEMENT_MS}"
                );
                client.batch_execute(&limits).await.map_err(HookError::Backend)
            })
        }))
        .build()
        .map_err(|error| OpenError::Away(error.to_string()))
}

/// Calls a function of the schema, within all bounds of time.
pub(crate) async fn call(pool: &Pool, function: &str, args: &Value) -> Result<Value, CallError> {
    let client = pool.get().await.map_err(|error| CallError::unknown(full(&error)))?;
    match tokio::time::timeout(ANSWER_WITHIN, query(&client, function, args)).await {
        Ok(answer) => answer.map_err(|error| CallError::of(&error)),
        Err(_) => {
            // Whoever took it next would wait behind the same silence.
            drop(Object::take(client));
            Err(CallError::unknown("the database did not answer in time"))
        }
    }
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
