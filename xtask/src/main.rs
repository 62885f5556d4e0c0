//! The project's tasks, run as `cargo xtask <task>`.
//!
//! One door for people and for CI: `.ci/run` calls `cargo xtask test` and nothing else, so that
//! what passes on a laptop is what passes there. Tasks install the tools they need at pinned
//! versions into `target/tools`, never into the user's home.

#![expect(
    clippy::print_stdout,
    reason = "the report on standard output is what this program is for"
)]

mod bench;
mod cases;
mod deny;
mod fuzz;
mod graph;
mod prove;
mod sizes;
mod steps;
mod system;
mod test;
mod tidy;
mod toolchain;
mod worker;
mod workspace;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use workspace::Workspace;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Tasks of the DriftLock gateway")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Everything CI checks: format, lints, tidy, tests, wasm, the Worker, dependencies
    Test(TestArgs),
    /// The project's own rules: file sizes, purity of `domain`, what documents name, plain words
    Tidy,
    /// Check that the shared crates compile to wasm
    Wasm,
    /// What becomes of malformed requests: the gateway, nginx and HAProxy side by side
    Cases,
    /// Run every fuzz target for some minutes and say what was found
    Fuzz(FuzzArgs),
    /// Build the Cloudflare Worker and run its tests under Miniflare
    Worker(WorkerArgs),
    /// Measure what a request costs, against nginx in the same run
    Bench(BenchArgs),
    /// Run a measurement that is too long for the tests and write its record to `proofs/`
    Prove(ProveArgs),
    /// Print the dependencies between the workspace's crates
    Graph(GraphArgs),
    /// Print the sizes of the Rust files: median, 90th percentile, largest
    Sizes,
}

#[derive(Args)]
struct TestArgs {
    /// Leave out the Worker and the dependency check
    #[arg(long)]
    quick: bool,
}

#[derive(Args)]
struct FuzzArgs {
    /// How long each target runs
    #[arg(long, default_value_t = 10)]
    minutes: u64,
    /// The same in seconds
    #[arg(long, conflicts_with = "minutes")]
    seconds: Option<u64>,
    /// How many run at a time
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// Which ones; all unless named
    targets: Vec<String>,
}

#[derive(Args)]
struct WorkerArgs {
    /// Build only
    #[arg(long)]
    build: bool,
    #[command(subcommand)]
    measure: Option<WorkerMeasure>,
}

#[derive(Subcommand)]
enum WorkerMeasure {
    /// Compressed size, start-up, subrequests, revocation; fails when one is beyond its bound
    Size,
    /// Throughput, latency and CPU on workerd, beside a plain proxy and a TypeScript Worker; fails
    /// when one is beyond its bound
    Bench,
}

#[derive(Args)]
struct BenchArgs {
    #[command(subcommand)]
    subject: BenchSubject,
}

#[derive(Subcommand)]
enum BenchSubject {
    /// CPU time per request: nginx as a bare proxy, a free GET, a metered POST
    Cpu(CpuArgs),
    /// A gateway with its rate limits in Redis, beside one without: CPU time and latency
    Redis(CpuArgs),
    /// Stripe's deliveries: durably kept per second, CPU time each, time until the effect
    Webhooks,
    /// A fleet's store: round trips, throughput beside SQLite, a full database beside an empty one
    Fleet,
}

#[derive(Args)]
struct CpuArgs {
    /// Rounds, of which the median counts
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// How long a round loads each server, in seconds
    #[arg(long, default_value_t = 3)]
    seconds: u32,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct ProveArgs {
    /// Which one; without a name all are listed with their age in commits
    name: Option<String>,
    /// The seed of its random choices
    #[arg(long, default_value_t = prove::SEED)]
    seed: u64,
}

#[derive(Args)]
struct GraphArgs {
    /// As a Mermaid diagram, for Markdown
    #[arg(long)]
    mermaid: bool,
}

fn main() -> ExitCode {
    match run(Cli::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> Result<()> {
    let workspace = Workspace::locate()?;
    match task {
        Task::Test(TestArgs { quick: true }) => test::run(&workspace, test::Extent::Quick),
        Task::Test(TestArgs { quick: false }) => test::run(&workspace, test::Extent::Full),
        Task::Tidy => tidy::run(&workspace),
        Task::Wasm => toolchain::check_shared_crates(&workspace),
        Task::Worker(WorkerArgs { measure: Some(WorkerMeasure::Size), .. }) => {
            worker::measure(&workspace, "size")
        }
        Task::Worker(WorkerArgs { measure: Some(WorkerMeasure::Bench), .. }) => {
            system::ensure(&workspace)?;
            bench::ensure(&workspace)?;
            worker::measure(&workspace, "run")
        }
        Task::Worker(WorkerArgs { build: true, .. }) => worker::build(&workspace),
        Task::Worker(WorkerArgs { build: false, .. }) => worker::test(&workspace),
        Task::Graph(GraphArgs { mermaid: true }) => graph::print(&workspace, graph::Style::Mermaid),
        Task::Graph(GraphArgs { mermaid: false }) => graph::print(&workspace, graph::Style::Text),
        Task::Bench(BenchArgs {
            subject: BenchSubject::Cpu(CpuArgs { rounds, seconds, json }),
        }) => {
            let form = if json { bench::Form::Json } else { bench::Form::Table };
            bench::cpu(&workspace, bench::Extent { rounds, seconds }, form)
        }
        Task::Bench(BenchArgs {
            subject: BenchSubject::Redis(CpuArgs { rounds, seconds, json }),
        }) => {
            let form = if json { bench::Form::Json } else { bench::Form::Table };
            bench::shared_limits(&workspace, bench::Extent { rounds, seconds }, form)
        }
        Task::Bench(BenchArgs { subject: BenchSubject::Webhooks }) => {
            bench::tests(&workspace, "webhook_cost")
        }
        Task::Bench(BenchArgs { subject: BenchSubject::Fleet }) => {
            bench::tests(&workspace, "fleet_cost")
        }
        Task::Fuzz(FuzzArgs { minutes, seconds, jobs, targets }) => {
            let seconds = seconds.unwrap_or(minutes * 60);
            fuzz::run(&workspace, &fuzz::Extent { seconds, jobs, targets })
        }
        Task::Prove(ProveArgs { name: Some(name), seed }) => prove::run(&workspace, &name, seed),
        Task::Prove(ProveArgs { name: None, .. }) => prove::print_ages(&workspace),
        Task::Cases => cases::print(&workspace),
        Task::Sizes => sizes::print(&workspace),
    }
}
