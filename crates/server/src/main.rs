//! `driftlock`: the gateway on a machine of one's own, and its command line.

mod cli;
mod host;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run()
}
