//! `driftlock`: the gateway on a machine of one's own, and its command line.

mod cli;
mod host;

use std::process::ExitCode;

/// A request makes some dozens of short-lived allocations, all freed on the core that made them:
/// an allocator with a heap per thread takes about half the time of the system's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::run()
}
