//! The cron's run: what requests left undone is taken up, and what comes round is done.
//!
//! A run has a bounded number of subrequests (1,000), so each kind of work is done in portions, and
//! whatever goes over all organizations notes where it goes on. One kind that fails keeps no other from
//! being done.

use std::time::Duration;

use driftlock_domain::denial::Fault;
use driftlock_domain::id::OrganizationId;
use driftlock_domain::time::Timestamp;
use driftlock_domain::trusted_time::Run;
use driftlock_gateway::Gateway;
use driftlock_gateway::ports::Clock;
use worker::Env;

use crate::background::RequestContext;
use crate::clock::EdgeClock;
use crate::directory::EdgeDirectory;
use crate::isolate::Isolate;
use crate::platform::{self, Edge};

/// Organizations whose audit logs a run looks at: a subrequest each, and more where entries go.
const LOOKED_AFTER: usize = 40;
/// Customers whose usage a run seals, at three subrequests each.
const CUSTOMERS: usize = 60;
/// Reports of theirs that it tells Stripe of, at three subrequests each.
const REPORTS: usize = 100;
/// Customers whose old events a run looks at, at five subrequests each.
const FORGOTTEN: usize = 10;
/// Whoever compares everything with Stripe and has not ended by then was cut off.
const RECONCILED_WITHIN: Duration = Duration::from_secs(1_800);

/// The last organization that was looked after.
const LOOKED_AFTER_UP_TO: &str = "audit_pruned_up_to";
/// The last customer whose usage was reported.
const REPORTED_UP_TO: &str = "usage_reported_up_to";
/// When everything was compared with Stripe, and when somebody began to.
const RECONCILED: &str = "reconciled_at";
const RECONCILING: &str = "reconciling_since";
/// The run before, and until when nothing is removed since the clock leapt.
const LAST_RUN: &str = "clock_last_run";

/// See the module.
///
/// # Errors
/// When the isolate lacks what it needs to begin.
pub(crate) async fn sweep(env: &Env, context: RequestContext) -> Result<(), Fault> {
    let isolate = Isolate::get(env).map_err(Fault::store)?;
    let objects = platform::objects(env)?;
    let (gateway, directory) = platform::gateway(&isolate, env, context)?;

    log("checking the clock", check_clock(&directory).await);
    log("bringing audit rows to their chains", directory.ship_all().await);
    log("voiding what nobody was answered", directory.void_due(&objects).await);
    gateway.process_due_events().await;
    log("reporting usage", report(&gateway, &directory).await);
    if isolate.has_stripe {
        let every = isolate.reconciled_every;
        log("comparing with Stripe", reconcile(&gateway, &directory, every).await);
    }
    log("looking after organizations", look_after(&gateway, &directory).await);
    log("forgetting Stripe's old events", gateway.forget_old_events(FORGOTTEN).await);
    Ok(())
}

/// Without a note of the run before nothing is removed in this one.
async fn check_clock(directory: &EdgeDirectory) -> Result<(), Fault> {
    EdgeClock::hold(true);
    let last = directory.note(LAST_RUN).await?.and_then(|text| text.parse().ok());
    let run = Run::after(last, EdgeClock.wall());
    directory.set_note(LAST_RUN, Some(&run.to_string())).await?;
    if !run.is_confirmed() {
        tracing::warn!(
            held_until = %run.held_until,
            "the clock leapt or the cron did not run: nothing is removed or sealed for an hour",
        );
    }
    EdgeClock::hold(!run.is_confirmed());
    Ok(())
}

async fn report(gateway: &Gateway<Edge>, directory: &EdgeDirectory) -> Result<(), Fault> {
    let after = cursor(directory, REPORTED_UP_TO).await?;
    let last = gateway.report_portion(after, CUSTOMERS, REPORTS).await?;
    if last == after {
        return Ok(());
    }
    set_cursor(directory, REPORTED_UP_TO, last).await
}

/// It counts as done when it is: a run that is cut off leaves it to a later one.
async fn reconcile(
    gateway: &Gateway<Edge>,
    directory: &EdgeDirectory,
    every: Duration,
) -> Result<(), Fault> {
    let now = EdgeClock.now();
    let last = directory.note(RECONCILED).await?.and_then(|text| text.parse().ok());
    if last.is_some_and(|last| now < Timestamp::from_micros(last).plus(every))
        || !directory.claim(RECONCILING, RECONCILED_WITHIN, now).await?
    {
        return Ok(());
    }
    if gateway.reconcile_and_log().await {
        let now = EdgeClock.now().micros().to_string();
        directory.set_note(RECONCILED, Some(&now)).await?;
    }
    Ok(())
}

async fn look_after(gateway: &Gateway<Edge>, directory: &EdgeDirectory) -> Result<(), Fault> {
    let after = cursor(directory, LOOKED_AFTER_UP_TO).await?;
    let last = gateway.maintain_organizations(after, LOOKED_AFTER).await?;
    set_cursor(directory, LOOKED_AFTER_UP_TO, last).await
}

async fn cursor(directory: &EdgeDirectory, name: &str) -> Result<Option<OrganizationId>, Fault> {
    Ok(directory.note(name).await?.and_then(|text| text.parse().ok()))
}

async fn set_cursor(
    directory: &EdgeDirectory,
    name: &str,
    last: Option<OrganizationId>,
) -> Result<(), Fault> {
    let last = last.map(|id| id.to_string());
    directory.set_note(name, last.as_deref()).await
}

fn log(work: &str, outcome: Result<(), Fault>) {
    if let Err(fault) = outcome {
        tracing::error!(cause = fault.cause, "{work} failed, and comes round again");
    }
}
