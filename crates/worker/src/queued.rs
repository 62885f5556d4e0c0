//! What requests leave to be written: audit rows of free requests and denials, when keys were used. One
//! request's `waitUntil` writes for all that come while it waits.

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

/// Queued rows are written after this long.
const ROWS_AFTER: Duration = Duration::from_millis(50);
/// Whoever has waited for so long was cut off with its request.
const ROWS_LOST_AFTER: Duration = Duration::from_secs(10);
/// The platform lets a request's work go on for 30 seconds: counts are waited for no longer than this.
const COUNTS_WITHIN: Duration = Duration::from_secs(25);

type Since = Cell<Option<Timestamp>>;

thread_local! {
    static ROWS_SINCE: Since = const { Cell::new(None) };
    static COUNTS_SINCE: Since = const { Cell::new(None) };
}

/// Sees to it that what this request queued is written, and denials that were counted, too, though no
/// request should come to this isolate any more.
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
            // The next denial, or any other request, begins anew.
            return;
        }
        Delay::from(wait + ROWS_AFTER).await;
        gateway.write_queued().await;
    }
}

/// Whether nobody does it already.
fn begins(since: &'static LocalKey<Since>, lost_after: Duration) -> bool {
    let now = EdgeClock.now();
    let runs = since.get().is_some_and(|since| now.since(since) < lost_after);
    if !runs {
        since.set(Some(now));
    }
    !runs
}
