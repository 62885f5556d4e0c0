//! What this node is to forget: told by `LISTEN/NOTIFY`, polled for behind it (I5).
//!
//! A notification only says that there is something; what it is is read by cursor, so that nothing
//! is missed while no connection listens. The cursor is what the last reading's snapshot could not
//! see yet; what comes twice by it is told once. After each reading everything that was committed
//! before it has been told, and that is told, too.

use std::collections::HashSet;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use driftlock_domain::id::OrganizationId;
use driftlock_domain::key::KeyHash;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_postgres::AsyncMessage;

use crate::connections::Told;
use crate::error::{CallError, OpenError, full};
use crate::pool::Database;
use crate::url::DatabaseUrl;

/// How often changes are asked for when nothing was told.
const POLLED_EVERY: Duration = Duration::from_millis(500);
/// How long after a failure it is listened again.
const LISTENED_AGAIN: Duration = Duration::from_millis(500);
/// Changes are kept for an hour; who could not read them for so long forgets everything.
const REMEMBERED: Duration = Duration::from_secs(1_800);

/// What somebody changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// The key of this hash was made, changed or removed.
    Key(KeyHash),
    /// An organization was.
    Organization(OrganizationId),
    /// Too much to tell, or what is not known.
    Everything,
    /// Nothing else was committed before this instant.
    NothingElse(std::time::Instant),
}

pub(crate) async fn watch(url: DatabaseUrl, database: Database, told: Told) {
    let woken = Arc::new(Notify::new());
    tokio::spawn(listen(url, Arc::clone(&woken)));
    let mut reader = Reader { cursor: None, seen: HashSet::new(), read_at: Instant::now() };
    let mut is_away = false;
    loop {
        match reader.read(&database, &told).await {
            Ok(()) => is_away = false,
            Err(error) => {
                if !std::mem::replace(&mut is_away, true) {
                    tracing::warn!(cause = error.fault().cause, "changes cannot be read, and wait");
                }
            }
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
    async fn read(&mut self, database: &Database, told: &Told) -> Result<(), CallError> {
        let asked = Instant::now();
        let args = json!({ "cursor": self.cursor });
        let mut answer = database.call("driftlock_changes", &args).await?;
        let rows = answer["changes"].as_array();
        // Without a cursor, or with one that is too old, what changed before is not known; too
        // many changes come as none.
        if self.cursor.is_none() || rows.is_none() || self.read_at.elapsed() > REMEMBERED {
            told(Change::Everything);
        }
        let mut seen = HashSet::new();
        for row in rows.into_iter().flatten() {
            let Some(id) = row["id"].as_i64() else { continue };
            if seen.insert(id) && !self.seen.contains(&id) {
                told(change(row).unwrap_or(Change::Everything));
            }
        }
        told(Change::NothingElse(asked.into_std()));
        self.read_at = Instant::now();
        self.seen = seen;
        self.cursor = Some(answer["cursor"].take());
        Ok(())
    }
}

fn change(row: &Value) -> Option<Change> {
    let item = row["item"].as_str()?;
    match row["kind"].as_str()? {
        "key" => KeyHash::from_hex(item).map(Change::Key),
        "organization" => item.parse().ok().map(Change::Organization),
        _ => None,
    }
}

/// Listens, again and again; each notification wakes the reader.
async fn listen(url: DatabaseUrl, woken: Arc<Notify>) {
    let mut is_away = false;
    loop {
        if let Err(error) = listen_once(&url, &woken, &mut is_away).await
            && !std::mem::replace(&mut is_away, true)
        {
            tracing::warn!(%error, "nobody is told of changes at once; they are polled for");
        }
        tokio::time::sleep(LISTENED_AGAIN).await;
    }
}

async fn listen_once(
    url: &DatabaseUrl,
    woken: &Arc<Notify>,
    is_away: &mut bool,
) -> Result<(), OpenError> {
    let (client, mut connection) = url.connect().await?;
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
    client.batch_execute("listen driftlock_changes").await.map_err(OpenError::of)?;
    *is_away = false;
    match driving.await {
        Ok(Ok(())) => Err(OpenError::Away("the connection was closed".into())),
        Ok(Err(error)) => Err(OpenError::of(error)),
        Err(error) => Err(OpenError::Away(full(&error))),
    }
}
