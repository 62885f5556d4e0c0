//! `driftlock stripe`: the event inbox, links and invoices, usage reports, reconciliation, and
//! sample events to try billing with.

mod disputes;
mod events;
mod links;
mod reconcile;
mod reports;
mod trigger;

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;

#[derive(Subcommand)]
pub(super) enum Stripe {
    /// List the events that Stripe delivered, with their states
    Events(events::Events),
    /// Process an event again
    Replay(events::Replay),
    /// Print a link to Stripe's checkout, where an organization buys a plan
    Checkout(links::Checkout),
    /// Print a link to Stripe's customer portal
    Portal(links::Portal),
    /// List an organization's invoices, the newest first
    Invoices(links::Invoices),
    /// Clear a dispute by hand, if Stripe's event of its end never came
    ClearDispute(disputes::ClearDispute),
    /// List usage reports to Stripe, with their states
    Reports(reports::Reports),
    /// Send usage reports again that Stripe refused
    Retry(reports::Retry),
    /// Compare billing states and usage with Stripe, and repair billing states
    Reconcile(reconcile::Reconcile),
    /// Sign and send sample events to a gateway, one or a whole life cycle
    Trigger(trigger::Trigger),
}

impl Stripe {
    pub(super) fn run(self) -> Result<ExitCode> {
        match self {
            Self::Events(command) => command.run(),
            Self::Replay(command) => command.run(),
            Self::Checkout(command) => command.run(),
            Self::Portal(command) => command.run(),
            Self::Invoices(command) => command.run(),
            Self::ClearDispute(command) => command.run(),
            Self::Reports(command) => command.run(),
            Self::Retry(command) => command.run(),
            Self::Reconcile(command) => command.run(),
            Self::Trigger(command) => command.run(),
        }
    }
}
