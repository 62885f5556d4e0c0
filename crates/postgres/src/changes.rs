//! Watches changes by other nodes, which invalidate this node's cache (I5).
//!
//! A notification (`LISTEN/NOTIFY`) only wakes the reader. The reader reads the changes by cursor,
//! and also polls, so that it misses none while the listening connection is down.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::{Duration, Instant};

use driftlock_postgres_core::{CHANGES, POLLED_EVERY, Reader};
use tokio::sync::Notify;
use tokio_postgres::AsyncMessage;

use crate::connections::OnChange;
use crate::error::{CallError, OpenError, full};
use crate::pool::Database;
use crate::url::DatabaseUrl;

/// The wait before listening again after a failure.
const LISTENED_AGAIN: Duration = Duration::from_millis(500);

pub(crate) async fn watch(url: DatabaseUrl, database: Database, on_change: OnChange) {
    let woken = Arc::new(Notify::new());
    tokio::spawn(listen(url, Arc::clone(&woken)));
    let mut reader = Reader::new(Instant::now());
    let mut is_away = false;
    loop {
        match read(&mut reader, &database, &on_change).await {
            Ok(()) => is_away = false,
            Err(error) => {
                if !std::mem::replace(&mut is_away, true) {
                    tracing::warn!(
                        error = error.fault().cause,
                        "could not read changes; will retry"
                    );
                }
            }
        }
        // Read again after a notification or a timeout.
        let _ = tokio::time::timeout(POLLED_EVERY, woken.notified()).await;
    }
}

/// Reads the changes once, and passes them on.
async fn read(
    reader: &mut Reader,
    database: &Database,
    on_change: &OnChange,
) -> Result<(), CallError> {
    let asked = Instant::now();
    let answer = database.call(CHANGES, &reader.question()).await?;
    reader.take(answer, asked, Instant::now(), on_change);
    Ok(())
}

/// Listens for ever; each notification wakes the reader.
async fn listen(url: DatabaseUrl, woken: Arc<Notify>) {
    let mut is_away = false;
    loop {
        if let Err(error) = listen_once(&url, &woken, &mut is_away).await
            && !std::mem::replace(&mut is_away, true)
        {
            tracing::warn!(%error, "lost the LISTEN connection to PostgreSQL, polling for changes");
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
