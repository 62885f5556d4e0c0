//! What this node is to forget: told by `LISTEN/NOTIFY`, polled for behind it (I5).
//!
//! A notification only says that there is something; what it is is read by cursor, so that nothing
//! is missed while no connection listens. The cursor is what the last reading's snapshot could not
//! see yet; what comes twice by it is told once.

use std::collections::HashSet;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::Pool;
use driftlock_domain::id::{KeyId, OrganizationId};
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_postgres::AsyncMessage;

use crate::connections::Told;
use crate::error::{CallError, OpenError, full};
use crate::pool::call;
use crate::url::DatabaseUrl;

/// How often changes are asked for when nothing was told.
const POLLED_EVERY: Duration = Duration::from_millis(500);
/// How long after a failure it is listened again.
const LISTENED_AGAIN: Duration = Duration::from_millis(500);
/// Changes are kept for an hour; who could not read them for so long forgets everything.
const REMEMBERED: Duration = Duration::from_secs(1_800);

/// What is to be forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// A key, and what was not found before it was made.
    Key(KeyId),
    /// An organization.
    Organization(OrganizationId),
    /// All that is remembered.
    Everything,
}

pub(crate) async fn watch(url: DatabaseUrl, pool: Pool, told: Told) {
    let woken = Arc::new(Notify::new());
    tokio::spawn(listen(url, Arc::clone(&woken)));
    let mut reader = Reader { cursor: None, seen: HashSet::new(), read_at: Instant::now() };
    loop {
        if let Err(error) = reader.read(&pool, &told).await {
            tracing::warn!(cause = error.fault().cause, "changes cannot be read, and wait");
        }
        // Either way there may be something.
        let _ = tokio::time::timeout(POLLED_EVERY, woken.notified()).await;
    }
}

struct Reader {
    cursor: Option<Value>,
    seen: HashSet<i64>,
    read_at: Instant,
}

impl Reader {
    async fn read(&mut self, pool: &Pool, told: &Told) -> Result<(), CallError> {
        let mut answer = call(pool, "driftlock_changes", &json!({ "cursor": self.cursor })).await?;
        if self.read_at.elapsed() > REMEMBERED {
            told(Change::Everything);
        }
        self.read_at = Instant::now();
        let mut seen = HashSet::new();
        for row in answer["changes"].as_array().into_iter().flatten() {
            let Some(id) = row["id"].as_i64() else { continue };
            if seen.insert(id)
                && !self.seen.contains(&id)
                && let Some(change) = change(row)
            {
                told(change);
            }
        }
        self.seen = seen;
        self.cursor = Some(answer["cursor"].take());
        Ok(())
    }
}

fn change(row: &Value) -> Option<Change> {
    let item = row["item"].as_str()?;
    match row["kind"].as_str()? {
        "key" => item.parse().ok().map(Change::Key),
        "organization" => item.parse().ok().map(Change::Organization),
        _ => None,
    }
}

/// Listens, again and again; each notification wakes the reader.
async fn listen(url: DatabaseUrl, woken: Arc<Notify>) {
    loop {
        if let Err(error) = listen_once(&url, &woken).await {
            tracing::warn!(%error, "nobody is told of changes at once; they are polled for");
        }
        tokio::time::sleep(LISTENED_AGAIN).await;
    }
}

async fn listen_once(url: &DatabaseUrl, woken: &Arc<Notify>) -> Result<(), OpenError> {
    let away = |error: tokio_postgres::Error| OpenError::Away(full(&error));
    let (client, mut connection) = url.config().connect(url.tls()?).await.map_err(away)?;
    let woken = Arc::clone(woken);
    let driving = tokio::spawn(async move {
        loop {
            match poll_fn(|context| connection.poll_message(context)).await {
                Some(Ok(AsyncMessage::Notification(_))) => woken.notify_one(),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error),
                None => return Ok(()),
            }
        }
    });
    client.batch_execute("listen driftlock_changes").await.map_err(away)?;
    match driving.await {
        Ok(Ok(())) => Err(OpenError::Away("the connection was closed".into())),
        Ok(Err(error)) => Err(away(error)),
        Err(error) => Err(OpenError::Away(error.to_string())),
    }
}
