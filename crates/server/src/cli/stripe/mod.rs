//! `driftlock stripe`: the inbox of Stripe's events, and sample events to try it with.

mod events;
mod reconcile;
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
            Self::Reconcile(command) => command.run(),
            Self::Trigger(command) => command.run(),
        }
    }
}
