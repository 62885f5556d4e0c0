//! Queued writes: audit rows of free requests and denials, and times when keys were used. The
//! `waitUntil` of one request writes for all requests that arrive while it waits.

use std::cell::Cell;
use std::thread::LocalKey;
use std::time::Duration;

use driftlock_domain::time::Timestamp;
use driftlock_gateway::Gateway;
use driftlock_gateway::ports::{Background, Clock};
use worker::Delay;

use crate::background::RequestContext;
use crate::clock::EdgeClock;
use crate::platform::Edge;

/// How long rows are queued.
const ROWS_AFTER: Duration = Duration::from_millis(50);
/// If a writer has not finished after this time, the platform cut it off with its request.
const ROWS_LOST_AFTER: Duration = Duration::from_secs(10);
/// How long a request waits to write counts; the platform stops its work after 30 seconds.
const COUNTS_WITHIN: Duration = Duration::from_secs(25);

type Since = Cell<Option<Timestamp>>;

thread_local! {
    static ROWS_SINCE: Since = const { Cell::new(None) };
    static COUNTS_SINCE: Since = const { Cell::new(None) };
}

/// Writes the rows that this request queued, and the counts of denials, even if this isolate
/// receives no further request.
pub(crate) fn write_later(context: &RequestContext, gateway: Gateway<Edge>) {
    if !begins(&ROWS_SINCE, ROWS_LOST_AFTER) {
        return;
    }
    context.spawn(async move {
        Delay::from(ROWS_AFTER).await;
        ROWS_SINCE.set(None);
        gateway.write_queued().await;
        if gateway.counts_due_in().is_some() && begins(&COUNTS_SINCE, COUNTS_WITHIN) {
            write_counts(&gateway).await;
            COUNTS_SINCE.set(None);
        }
    });
}

async fn write_counts(gateway: &Gateway<Edge>) {
    let began = EdgeClock.now();
    while let Some(wait) = gateway.counts_due_in() {
        if EdgeClock.now().since(began) + wait > COUNTS_WITHIN {
            // The next request of this isolate continues.
            return;
        }
        Delay::from(wait + ROWS_AFTER).await;
        gateway.write_queued().await;
    }
}

/// Claims this work; false if another request is doing it.
fn begins(since: &'static LocalKey<Since>, lost_after: Duration) -> bool {
    let now = EdgeClock.now();
    let runs = since.get().is_some_and(|since| now.since(since) < lost_after);
    if !runs {
        since.set(Some(now));
    }
    !runs
}
