//! `driftlock stripe`: the inbox of Stripe's events, and sample events to try it with.

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
    /// List the events that Stripe delivered, and what became of them
    Events(events::Events),
    /// Process an event again
    Replay(events::Replay),
    /// A link to Stripe's checkout, where an organization buys a plan
    Checkout(links::Checkout),
    /// A link to Stripe's customer portal
    Portal(links::Portal),
    /// List an organization's invoices, the newest first
    Invoices(links::Invoices),
    /// Say that a dispute is over, where Stripe did not
    ClearDispute(disputes::ClearDispute),
    /// List usage reports to Stripe, and how far each came
    Reports(reports::Reports),
    /// Tell Stripe once more of usage that it refused
    Retry(reports::Retry),
    /// Compare everything with Stripe, and repair what can be
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
