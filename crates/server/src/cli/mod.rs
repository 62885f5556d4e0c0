//! The command line. Commands that administer are clients of the admin API, so that they work with
//! every host. Only `serve`, `dev`, `detector`, `check` and `migrate` need no running gateway.

mod alerts;
mod api;
mod audit;
mod check;
mod detector;
mod dev;
mod examine;
mod invoice;
mod key;
mod migrate;
mod org;
mod output;
mod private;
mod receipt;
mod serve;
mod store;
mod stripe;
mod usage;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::host::log;

#[derive(Parser)]
#[command(name = "driftlock", version, about = "The DriftLock API gateway")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Try it out: start a gateway, the reference backend, a demo organization and key
    Dev(dev::Dev),
    /// Run the gateway
    Serve(serve::Serve),
    /// Check the configuration and environment, and report every mistake
    Check(check::Check),
    /// Upgrade the store's schema
    Migrate(migrate::Migrate),
    /// Organizations
    #[command(subcommand)]
    Org(org::Org),
    /// API keys
    #[command(subcommand)]
    Key(key::Key),
    /// Usage, quota and cost of a billing period
    Usage(usage::Usage),
    /// Alerts of an organization: quota thresholds, failed payments
    Alerts(alerts::Alerts),
    /// Look up a metered request by its receipt
    Receipt(receipt::Receipt),
    /// The audit log of an organization
    #[command(subcommand)]
    Audit(audit::Audit),
    /// Stripe's events
    #[command(subcommand)]
    Stripe(stripe::Stripe),
    /// Run only the reference backend
    Detector(detector::Detector),
}

/// Runs the command that the arguments name.
pub(crate) fn run() -> ExitCode {
    log::start();
    let outcome = match Cli::parse().command {
        Command::Dev(command) => command.run(),
        Command::Serve(command) => command.run(),
        Command::Check(command) => command.run(),
        Command::Migrate(command) => command.run(),
        Command::Org(command) => command.run(),
        Command::Key(command) => command.run(),
        Command::Usage(command) => command.run(),
        Command::Alerts(command) => command.run(),
        Command::Receipt(command) => command.run(),
        Command::Audit(command) => command.run(),
        Command::Stripe(command) => command.run(),
        Command::Detector(command) => command.run(),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            // A reader that closes the pipe early (`| head`) is no failure.
            if error.root_cause().downcast_ref::<std::io::Error>().is_some_and(is_broken_pipe) {
                return ExitCode::SUCCESS;
            }
            eprintln!("{}", log::without_secrets(&format!("error: {error:#}")));
            ExitCode::FAILURE
        }
    }
}

fn is_broken_pipe(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::BrokenPipe
}
