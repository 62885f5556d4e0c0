//! A run of the cron: work that requests left unfinished, and periodic jobs.
//!
//! A run has a bounded number of subrequests (1,000), so each job works in portions, and a job over
//! all organizations records where the next run continues. If one job fails, the others still run.

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

/// Organizations whose audit logs a run checks: a subrequest each, and more where entries are
/// removed.
const LOOKED_AFTER: usize = 40;
/// Customers whose usage a run seals, at three subrequests each.
const CUSTOMERS: usize = 60;
/// Meter reports that a run sends to Stripe, at three subrequests each.
const REPORTS: usize = 100;
/// Customers whose old events a run examines, at five subrequests each.
const FORGOTTEN: usize = 10;
/// If a reconciliation has not ended after this time, the platform cut its run off.
const RECONCILED_WITHIN: Duration = Duration::from_secs(1_800);

/// Note: the last organization whose audit log was checked.
const LOOKED_AFTER_UP_TO: &str = "audit_pruned_up_to";
/// Note: the last customer whose usage was reported.
const REPORTED_UP_TO: &str = "usage_reported_up_to";
/// Notes: when the last reconciliation ended, and when one began.
const RECONCILED: &str = "reconciled_at";
const RECONCILING: &str = "reconciling_since";
/// Note: the previous run, and until when a leap of the clock forbids removing.
const LAST_RUN: &str = "clock_last_run";

/// See the module.
///
/// # Errors
/// Missing configuration or a missing binding.
pub(crate) async fn sweep(env: &Env, context: RequestContext) -> Result<(), Fault> {
    let isolate = Isolate::get(env).map_err(Fault::store)?;
    let objects = platform::objects(env)?;
    let (gateway, directory) = platform::gateway(&isolate, env, context)?;

    log_failure("checking the clock", check_clock(&directory).await);
    log_failure("shipping audit rows", directory.ship_all().await);
    log_failure("voiding settlements of unknown outcome", directory.void_due(&objects).await);
    gateway.process_due_events().await;
    log_failure("reporting usage", report(&gateway, &directory).await);
    if isolate.has_stripe {
        let every = isolate.reconciled_every;
        log_failure("reconciling with Stripe", reconcile(&gateway, &directory, every).await);
    }
    log_failure(
        "pruning audit logs and raising grace-time alerts",
        look_after(&gateway, &directory).await,
    );
    log_failure("deleting old Stripe events", gateway.forget_old_events(FORGOTTEN).await);
    Ok(())
}

/// Compares the clock with the note of the previous run. Without a note, this run removes nothing.
async fn check_clock(directory: &EdgeDirectory) -> Result<(), Fault> {
    EdgeClock::hold(true);
    let last = directory.note(LAST_RUN).await?.and_then(|text| text.parse().ok());
    let run = Run::after(last, EdgeClock.wall());
    directory.set_note(LAST_RUN, Some(&run.to_string())).await?;
    if !run.is_confirmed() {
        tracing::warn!(
            held_until = %run.held_until,
            "the clock leapt or the cron did not run: removing and sealing paused for an hour",
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

/// Reconciles if it is due. The time is noted at the end, so a run that is cut off is repeated
/// later.
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

fn log_failure(work: &str, outcome: Result<(), Fault>) {
    if let Err(fault) = outcome {
        tracing::error!(error = fault.cause, "{work} failed, will retry");
    }
}
